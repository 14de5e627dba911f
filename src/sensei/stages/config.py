"""How long and how hard each stage works: one small dataclass a stage, importable without JAX."""

from __future__ import annotations

import dataclasses
from typing import Literal

from sensei.types import UsageError

Method = Literal["sensei", "p2e", "vlm", "fixed", "dreamer", "rnd", "random"]


@dataclasses.dataclass(frozen=True)
class CollectConfig:
    """How D_init is made."""

    policy: Literal["p2e", "random"] = "p2e"
    """Plan2Explore (published), or random actions, which cost almost nothing."""
    env_steps: int = 500_000
    """Environment steps over all environments."""
    label_frames: int = 50_000
    """Label frames wanted from these steps, kept with equal probability a step."""
    action_repeat: int = 1
    """Random policy only: how long, on average, one random action is held."""


@dataclasses.dataclass(frozen=True)
class AnnotateConfig:
    """Which pairs are asked, and how many. Who answers is ``annotator``."""

    pairs: int = 100_000
    """Pairs asked per generation."""
    sampler: Literal["uniform", "recent", "contrast", "uncertain"] = "uniform"
    """uniform · recent: favours late episodes · uncertain: on which a quick R_ψ disagrees with
    itself · contrast: one good, one bad; uses privileged information and the report says so."""
    rounds: int | None = None
    """In how many rounds the pairs are asked, each doubling their number; None = as many as
    ``sampler uncertain`` and ``stop_gain`` need, else 1."""
    stop_gain: float | None = None
    """Stop when a doubling of the labels raises R_ψ's validation accuracy by less; None = never."""

    def __post_init__(self) -> None:
        """Reject rounds between which nothing, or everything, would be decided."""
        if self.stop_gain is not None and not 0.0 < self.stop_gain < 1.0:
            raise UsageError(
                f"annotate.stop_gain is {self.stop_gain}: give a share between 0 and 1, say 0.005"
            )
        if self.rounds is None:
            return
        if self.learns_between and self.rounds < 2:
            raise UsageError(
                f"annotate.rounds is {self.rounds}: give 2 or more, something is to be learned "
                "between two"
            )
        if not self.learns_between and self.rounds != 1:
            raise UsageError(
                f"annotate.rounds is {self.rounds}, but nothing is decided between rounds: give "
                "--annotate.sampler uncertain or --annotate.stop-gain 0.005 too"
            )

    @property
    def learns_between(self) -> bool:
        """Whether something is learned from one round for the next."""
        return self.sampler == "uncertain" or self.stop_gain is not None


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Bradley–Terry training of the R_ψ ensemble."""

    members: int = 5
    """Networks in the ensemble."""
    epochs: int = 50
    """Passes over the labels at most; the best validation loss is kept."""
    patience: int = 8
    """Epochs without a better validation loss before training stops."""
    batch: int = 32
    """Pairs in a batch."""
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    damping: float = 0.0
    """κ: the reward is mean − κ · standard deviation over the members."""


@dataclasses.dataclass(frozen=True)
class ExploreConfig:
    """How long and by which method the agent explores."""

    method: Method = "sensei"
    env_steps: int = 500_000
    """Environment steps over all environments."""
    train_ratio: float = 512.0
    """Replayed steps per environment step."""
    prefill: int = 2_000
    """Environment steps by random actions before the first update."""
    keep_collected: bool = False
    """Train on the collected episodes too. They are paid for already, and hold what random actions
    found; the paper starts from an empty replay."""
    offline_updates: int = 0
    """Updates from the collected episodes before the first environment step."""
    replay_gb: float = 12.0
    """Largest size of the replay on disk, in GB; the oldest steps go first."""
    save_every: int = 5_000
    """Environment steps between checkpoints."""
    label_frames: int = 20_000
    """Label frames kept for a next generation."""

    def __post_init__(self) -> None:
        """Reject updates from nothing."""
        if self.offline_updates and not self.keep_collected:
            raise UsageError(
                f"explore.offline_updates is {self.offline_updates} but there is nothing to make "
                "them from: give --explore.keep-collected, or --explore.offline-updates 0"
            )


@dataclasses.dataclass(frozen=True)
class SolveConfig:
    """A fresh task actor-critic on the world model that exploration left."""

    task: str = "task"
    """``task`` is the environment's own reward; any other name is one of ``info["rewards"]``."""
    more_tasks: tuple[str, ...] = ()
    """Further tasks, each solved on its own from the same exploration."""
    env_steps: int = 500_000
    """Environment steps of each task; 0 solves in imagination alone."""
    train_ratio: float = 512.0
    keep_replay: bool = True
    """Start from exploration's replay, or from an empty one."""
    offline_updates: int = 0
    """Updates before the first environment step."""
    save_every: int = 5_000

    def __post_init__(self) -> None:
        """Reject what would learn nothing, from nothing, or twice."""
        if len(set(self.tasks)) < len(self.tasks):
            raise UsageError(
                f"--task names one task twice ({' '.join(self.tasks)}): give each once"
            )
        if self.offline_updates and not self.keep_replay:
            raise UsageError(
                f"solve.offline_updates is {self.offline_updates} but solve.keep_replay is false: "
                "keep the replay, or give --solve.offline-updates 0"
            )
        if not self.env_steps and not self.offline_updates:
            raise UsageError(
                "solve.env_steps is 0 and so is solve.offline_updates: give one of them, or "
                "nothing is learned"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task in order."""
        return (self.task, *self.more_tasks)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How the solved policy is measured."""

    episodes: int = 10
    """Episodes with sampled actions, and as many with the mode of the policy."""
    videos: int = 2
    """Episodes kept as video."""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What the page shows."""

    frames: int = 12
    """Best and worst frames by R_ψ that are shown."""
