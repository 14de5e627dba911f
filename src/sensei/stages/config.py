"""How long and how hard each stage works: one small dataclass a stage, importable without JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

from sensei.types import UsageError

Method = Literal["sensei", "p2e", "vlm", "fixed", "dreamer", "rnd", "random", "ppo"]
EXPLORING: tuple[Method, ...] = ("sensei", "p2e", "vlm", "fixed", "dreamer", "rnd", "random")
"""Methods that explore first; ``ppo`` only solves a task, to be compared with."""


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
    epsilon: float = 0.0
    """Chance, each time the policy chooses, that a random action is held instead (temporally
    extended ε-greedy); 0 (published): the policy alone explores. 0.3 takes an explored policy
    further than any other value tried (results/keyroom/ways-to-act-seed11.json). ``random`` does
    nothing else."""
    epsilon_repeat: int = 2
    """Mean steps for which that action is held."""
    keep_collected: bool = False
    """Train on the collected episodes too. They are paid for already, and hold what random actions
    found; the paper starts from an empty replay."""
    offline_updates: int = 0
    """Updates from the collected episodes before the first environment step."""
    rise_share: float = 0.0
    """Share of each batch that is windows through a rise of R_ψ, drawn by how rare it is; 0
    (published): all of it is uniform. Methods without R_ψ have none."""
    replay_gb: float = 12.0
    """Largest size of the replay, in GB before packing; the oldest steps go first."""
    save_every: int = 5_000
    """Environment steps between checkpoints."""
    label_frames: int = 20_000
    """Label frames kept for a next generation, and for questions while exploring."""
    online_every: int = 0
    """Environment steps after which exploration asks about its own label frames, those pairs of
    which R_ψ is least sure, and R_ψ learns from the answers; 0 = it does not."""
    online_pairs: int = 100
    """Pairs asked each time."""

    def __post_init__(self) -> None:
        """Reject updates from nothing, questions about nothing, and chances that are none."""
        check_interludes("explore", self.epsilon, self.epsilon_repeat)
        if not 0.0 <= self.rise_share < 1.0:
            raise UsageError(
                f"explore.rise_share is {self.rise_share}: give 0 or more, and less than 1, say 0.5"
            )
        if self.online_every < 0 or self.online_pairs < 1:
            raise UsageError(
                f"explore.online_every is {self.online_every} and explore.online_pairs "
                f"{self.online_pairs}: give 0 or more steps, and 1 or more pairs"
            )
        if self.online_every and not self.label_frames:
            raise UsageError(
                f"explore.online_every is {self.online_every} but no frames are kept to ask about: "
                "give --explore.label-frames 2000, or --explore.online-every 0"
            )
        if self.offline_updates and not self.keep_collected:
            raise UsageError(
                f"explore.offline_updates is {self.offline_updates} but there is nothing to make "
                "them from: give --explore.keep-collected, or --explore.offline-updates 0"
            )

    @property
    def online_rounds(self) -> int:
        """How often exploration asks; not so late that the answers could not be used any more."""
        if not self.online_every:
            return 0
        return max(0, -(-self.env_steps // self.online_every) - 2)


def check_online(
    explore: ExploreConfig, distill: DistillConfig, uses_reward: bool, annotators: Iterable[str]
) -> None:
    """Reject questions while exploring that nobody would answer, or that would change nothing.

    Raises:
        UsageError: there is no R_ψ, it has no members to disagree, or a person would be asked.
    """
    why = ""
    if not uses_reward:
        why = f"method {explore.method!r} uses no labels: give another --method"
    elif distill.members < 2:
        why = f"distill.members is {distill.members}, which cannot disagree: give 5"
    elif any(name.startswith("human") for name in annotators):
        why = "a person would have to wait at the terminal: give --generations 2 instead"
    if why:
        raise UsageError(
            f"explore.online_every is {explore.online_every}, but {why}, or "
            "--explore.online-every 0"
        )


def check_interludes(stage: str, epsilon: float, repeat: int) -> None:
    """Reject a chance that is none, or certain, and a random action held for no step."""
    if not 0.0 <= epsilon < 1.0 or repeat < 1:
        raise UsageError(
            f"{stage}.epsilon is {epsilon} and {stage}.epsilon_repeat {repeat}: give 0 or more and "
            "less than 1, say 0.3, and 1 or more steps"
        )


@dataclasses.dataclass(frozen=True)
class SolveConfig:
    """An actor-critic for a task, on the world model that exploration left."""

    task: str = "task"
    """``task`` is the environment's own reward; any other name is one of ``info["rewards"]``."""
    more_tasks: tuple[str, ...] = ()
    """Further tasks, each solved on its own from the same exploration."""
    env_steps: int = 500_000
    """Environment steps of each task; 0 solves in imagination alone."""
    train_ratio: float = 512.0
    keep_replay: bool = True
    """Start from exploration's replay, or from an empty one."""
    own_weight: float = 1.0
    """How often one of the task's own steps is replayed for each one that exploration left and
    ``keep_replay`` keeps; 1 (published): as often. What the task is about is rare in the others."""
    offline_updates: int = 0
    """Updates before the first environment step."""
    policy: Literal["fresh", "explorer"] = "fresh"
    """What a task's policy begins as: untrained (published), or as a copy of exploration's."""
    epsilon: float = 0.0
    """As ``explore.epsilon``, while the task is learned; where it is given, the policy is evaluated
    with such interludes as well. PPO has none."""
    epsilon_repeat: int = 2
    """As ``explore.epsilon_repeat``."""
    entropy: float | None = None
    """As ``agent.entropy``, while the task is learned; None: that one. PPO has ``ppo.entropy``."""
    potential: float = 0.0
    """w: the task's reward is shaped by R_ψ as a potential, r + w · (γ R_ψ(s′) − R_ψ(s)): what is
    interesting is worth reaching, not staying at, and no best policy changes (Ng, Harada & Russell
    1999). ``channel/…`` metrics count it, returns of episodes do not. For methods with R_ψ only; 0
    (published): not at all."""
    save_every: int = 5_000

    def __post_init__(self) -> None:
        """Reject what would learn nothing, from nothing, or twice, and chances that are none."""
        check_interludes("solve", self.epsilon, self.epsilon_repeat)
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
class PpoConfig:
    """How ``--method ppo`` solves a task; ours are the library's values but for what is said."""

    learning_rate: float = 3e-4
    rollout: int = 128
    """Steps of each environment between two updates. The library's 2,048 are made for one."""
    batch: int = 128
    """Steps in a minibatch; it should divide rollout × env.num_envs."""
    epochs: int = 4
    """Passes over the steps in an update; the library's 10 are made for few steps."""
    discount: float = 1.0 - 1.0 / 333.0
    """γ, that of every other method."""
    trace: float = 0.95
    """λ of the advantage."""
    clip: float = 0.2
    entropy: float = 0.01
    """Weight of the policy's entropy; the library has none, and rewards here are sparse."""


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How the solved policy is measured."""

    episodes: int = 10
    """Episodes with sampled actions, as many with the mode of the policy and, where the task was
    learned with random actions held between, with sampled ones and these."""
    videos: int = 2
    """Episodes kept as video."""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What the page shows."""

    frames: int = 12
    """Best and worst frames by R_ψ that are shown."""
