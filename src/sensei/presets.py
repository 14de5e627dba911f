"""Runs by name: environment × budget × size × method, as plain Python values.

A preset owns every hyper-parameter that depends on its environment, a budget owns how long each
stage works. Published numbers: SENSEI (arXiv 2503.01584), its appendices on MiniHack
and RoboDesk.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, Literal, cast, get_args

from sensei.annotate.annotator import AnnotatorConfig
from sensei.core.config import SIZES, AgentConfig
from sensei.envs.config import EnvConfig
from sensei.fields import nearest, updated, with_dotted
from sensei.ranges import check_ranges
from sensei.run.workspace import Workspace
from sensei.stages.config import (
    AnnotateConfig,
    CollectConfig,
    DistillConfig,
    EvaluateConfig,
    ExploreConfig,
    Method,
    PpoConfig,
    ReportConfig,
    SolveConfig,
    check_online,
)
from sensei.types import UsageError

Budget = Literal["smoke", "quick", "day", "paper"]

USES_REWARD: frozenset[str] = frozenset({"sensei", "vlm", "fixed"})
"""Methods with a semantic channel; the others need no labels."""

LEARNS_NO_POLICY: frozenset[str] = frozenset({"random", "ppo"})
"""Methods after which a task's policy can only begin untrained."""

NO_ENVIRONMENT = "imported"
"""Name of the environment of a run that was made from labels alone."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run; saved as ``config.yaml`` and re-runnable from it."""

    dir: str = "runs/keychest-quick"
    """Folder of the run."""
    seed: int = 0
    """Seed of environments, replay, networks and pairs."""
    generations: int = 1
    """Rounds of annotate → distill → explore; the second asks about what the first found."""
    env: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    agent: AgentConfig = dataclasses.field(default_factory=AgentConfig)
    collect: CollectConfig = dataclasses.field(default_factory=CollectConfig)
    annotate: AnnotateConfig = dataclasses.field(default_factory=AnnotateConfig)
    annotator: AnnotatorConfig = dataclasses.field(default_factory=AnnotatorConfig)
    distill: DistillConfig = dataclasses.field(default_factory=DistillConfig)
    explore: ExploreConfig = dataclasses.field(default_factory=ExploreConfig)
    solve: SolveConfig = dataclasses.field(default_factory=SolveConfig)
    ppo: PpoConfig = dataclasses.field(default_factory=PpoConfig)
    evaluate: EvaluateConfig = dataclasses.field(default_factory=EvaluateConfig)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        """Reject numbers with which nothing works, and what could only be ignored."""
        check_ranges(self)
        if self.generations > 1 and self.explore.method not in USES_REWARD:
            raise UsageError(
                f"generations is {self.generations}, but method {self.explore.method!r} uses no "
                "labels: give --generations 1, or another --method"
            )

        if self.solve.policy == "explorer" and self.explore.method in LEARNS_NO_POLICY:
            raise UsageError(
                f"solve.policy is 'explorer', but method {self.explore.method!r} learns no policy "
                "while it explores: give --solve.policy fresh, or another --method"
            )
        if self.solve.potential and not self.uses_reward:
            raise UsageError(
                f"solve.potential is {self.solve.potential}, but method {self.explore.method!r} "
                "has no R_ψ: give --solve.potential 0, or another --method"
            )
        if self.explore.online_every:
            kinds = (self.annotator.kind, *self.annotator.members)
            check_online(self.explore, self.distill, self.uses_reward, kinds)

    @property
    def uses_reward(self) -> bool:
        """Whether exploration needs R_ψ, and so labels."""
        return self.explore.method in USES_REWARD


def check_picture(config: RunConfig) -> None:
    """Reject a picture that cannot be cut as core/vision.py does.

    Not when a configuration is made: a file may ask for squares that only a flag's picture fits.
    """
    unit = config.agent.squares * config.agent.size.patch
    if config.env.image_size % unit:
        raise UsageError(
            f"env.image_size is {config.env.image_size}: give a multiple of {unit} "
            "(agent.squares × agent.size.patch)"
        )


@dataclasses.dataclass(frozen=True)
class Preset:
    """An environment with the hyper-parameters that belong to it."""

    about: str
    env: EnvConfig
    agent: AgentConfig
    paper_size: str | None = None
    """Networks of the paper's runs, where they are not the budget's own."""
    own: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Fields, by budget and dotted name, whose values are this environment's own."""
    rewarded: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """The same, for methods with R_ψ only: what the others could make nothing of."""


_KEYROOM = AgentConfig(quantile=0.90, explore=(0.30, 1.0), go=(1.0, 0.10))
"""KeyRoom-S15 column of the paper's hyper-parameters, and ours where things are found and used."""


def _in_jax(name: str) -> EnvConfig:
    """16 copies that step as one batch on the device, in the learner's own process. The first step
    is compiled, and Craftax's first start draws its textures: minutes each where cores are busy."""
    return EnvConfig(name, num_envs=16, processes=0, timeout_s=600.0)


_RARE_KEY: dict[str, Any] = {
    "collect.env_steps": 300_000,
    "collect.label_frames": 20_000,
    "annotate.pairs": 30_000,
    "explore.replay_gb": 4.0,
    "explore.keep_collected": True,
    "explore.offline_updates": 500,
    "explore.rise_share": 0.5,
    "solve.own_weight": 10.0,
}
"""Where what matters is rarely seen and hardly ever done, and random steps and labels cost nothing.
With 5,000 pairs R_ψ orders nearly all frames rightly and yet gives a key in sight two fifths of
what it gives a chest in sight, which the oracle grades alike; with 30,000 it gives as much
(results/labels/keychest-grades.json). 300,000 random steps pick up 200 keys, enough to learn from
without learning them by heart. The task's own steps are few beside them; ten times as many of each
left more of its episodes solved (results/keychest/own-weight-*.json), a first choice."""

_TILES: dict[str, Any] = {"env.image_size": 60, "env.options.image_size": 60, "agent.squares": 5}
"""A square for each of the 5×5 tiles: in KeyChest half the error a pixel after 400 updates
(results/tuning/tiles-60.json, tiles-64.json)."""

_SEARCHES: dict[str, Any] = {
    "explore.epsilon": 0.3,
    "solve.epsilon": 0.1,
    "solve.epsilon_repeat": 8,
}
"""With such interludes an explored policy reaches nearly twice as many keys and five times as many
doors (results/keyroom/ways-to-act-seed11.json), a solved one more than twice as many exits
(ways-to-act-solved-seed12.json)."""

_MORE_STEPS: dict[str, Any] = {
    "explore.env_steps": 40_000,
    "explore.train_ratio": 16.0,
    "solve.env_steps": 40_000,
    "solve.train_ratio": 16.0,
    "solve.entropy": 3e-4,
}
"""As many updates as ``quick`` has in exploration, over twice the steps: what is found grows with
the steps, hardly with the updates (results/keyroom/explore-seed12.json, explore-seed13.json).
The task has eight times the steps: with KeyRoom's picture and saliency, KeyChest's policy unlearns
for 10,000 what only its world model believes, then solves it (tiles-solve-seed31.json in
results/keychest). The published entropy lets a task's policy begin sooner
(results/keyroom/solve-entropy-seed13.json)."""

_DRAWS_KEYS: dict[str, Any] = {"agent.saliency_scale": 40.0, "explore.offline_updates": 1_000}
"""After 600 updates two fifths of the error where R_ψ looks (results/tuning/saliency.json). Without
it 4,559 updates had drawn no key (results/keyroom/pick-ups-seed11.json). Both numbers are a first
choice."""

PRESETS: dict[str, Preset] = {
    "keychest": Preset(
        "MiniHack: find the key in one room, open the chest in another",
        EnvConfig(name="keychest"),
        # KeyChest column of the paper's hyper-parameters.
        AgentConfig(quantile=0.90, explore=(0.25, 1.0), go=(1.0, 0.05)),
        own={"quick": _SEARCHES | _MORE_STEPS},
        rewarded={"quick": _RARE_KEY},
    ),
    "keyroom": Preset(
        "MiniHack KeyRoom-S15: find the key, unlock the door, reach the stairs",
        EnvConfig(name="keyroom"),
        _KEYROOM,
        own={"quick": _TILES | _SEARCHES | _MORE_STEPS},
        rewarded={"quick": _RARE_KEY | _DRAWS_KEYS},
    ),
    "keyroom-s5": Preset(
        "MiniHack KeyRoom-S5: the same in a 5×5 room; random actions solve a quarter of it",
        EnvConfig(name="keyroom-s5"),
        # Ours; KeyRoom-S15's weights.
        AgentConfig(quantile=0.90, explore=(0.30, 1.0), go=(1.0, 0.10)),
    ),
    "robodesk": Preset(
        "a robot arm over a desk with a drawer, a slide, buttons, a ball and blocks",
        EnvConfig(name="robodesk"),
        # RoboDesk column of the paper's hyper-parameters.
        AgentConfig(quantile=0.75, explore=(0.10, 1.0), go=(1.0, 0.0)),
        paper_size="m",
        own={"paper": {"explore.env_steps": 1_000_000, "annotate.pairs": 200_000}},
    ),
    "keyquest": Preset(
        "a free Game Boy game: find the key, unlock the door, open the chest behind it",
        EnvConfig(name="keyquest"),
        _KEYROOM,
    ),
    "pokemon": Preset(
        "Pokémon Red with your own cartridge image (SENSEI_POKEMON_ROM), up to the first gym",
        EnvConfig(name="pokemon", num_envs=1, processes=1),
        # Pokémon column of the paper's hyper-parameters; the task channel weighs 1 in both.
        AgentConfig(quantile=0.60, explore=(0.025, 0.5), go=(0.5, 0.1), task_weight=1.0),
    ),
    "crafter": Preset("gather, craft and survive: 22 achievements", EnvConfig("crafter"), _KEYROOM),
    "craftax-classic": Preset("Crafter anew", _in_jax("craftax-classic"), _KEYROOM),
    "craftax": Preset("nine floors, 67 achievements", _in_jax("craftax"), _KEYROOM),
    "navix": Preset("MiniGrid's levels (env.options.level)", _in_jax("navix"), _KEYROOM),
    "tiny": Preset(
        "a built-in grid that needs no extra and learns in minutes",
        EnvConfig(name="tiny", image_size=16),
        # Ours; KeyChest's weights, because the task has the same shape.
        AgentConfig(quantile=0.90, explore=(0.25, 1.0), go=(1.0, 0.05)),
    ),
}


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How long each stage works."""

    size: str
    agent: dict[str, int | float]
    collect: CollectConfig
    annotate: AnnotateConfig
    distill: DistillConfig
    explore: ExploreConfig
    solve: SolveConfig
    evaluate: EvaluateConfig


_TWO_CORES: dict[str, int | float | bool] = {
    "length": 32,
    "imagine_every": 4,
    "learning_rate": 3e-3,
    "actor_rate": 0.05,
    "dynamics_scale": 10.0,
    "vector_scale": 10.0,
    "semantic_scale": 10.0,
    "centre_rewards": True,
    "entropy": 3e-3,
    "warmup": 200,
    "gate_decay": 0.9,
}
"""On two cores a run makes thousands of updates where the paper's makes hundreds of thousands: so
shorter sequences and imagination from every fourth state buy more of them, and the learning rate is
higher. With vectors and R_ψ weighed 10, 400 updates predict R_ψ on held-out steps with a
correlation of .95, with the published 1 and 0 of .15: a key is a few pixels of a picture
(results/tuning/world-model.json). With a rate of 3e-3 and ten times the weight on the dynamics,
what 16 steps of dreaming predict correlates with what happened by .75, with 1e-3 and 1 by .61
(dreams.json there). The actor learns more slowly than the critics, whose first errors would close
it; this, the centred rewards and the entropy are a first choice. The gate's threshold follows in 10
updates, not in 100: in a run of 1,000 updates the predicted reward falls faster than that, and a
late threshold is one that nothing ever reaches."""

_PLANS: dict[str, _Plan] = {
    # Proves that every stage works: three minutes on two cores, nothing is learned.
    "smoke": _Plan(
        size="xs",
        agent={**_TWO_CORES, "batch": 8, "horizon": 10},
        collect=CollectConfig("random", env_steps=2_000, label_frames=300, action_repeat=4),
        annotate=AnnotateConfig(pairs=300),
        distill=DistillConfig(members=2, epochs=3),
        explore=ExploreConfig(
            env_steps=1_600,
            train_ratio=16.0,
            prefill=400,
            replay_gb=0.5,
            save_every=800,
            label_frames=200,
        ),
        solve=SolveConfig(env_steps=800, train_ratio=16.0, save_every=800),
        evaluate=EvaluateConfig(episodes=2, videos=1),
    ),
    # The first thing a person sees: twenty minutes on two cores; KeyChest and KeyRoom have more
    # steps. Random actions held for four steps reach far more of the map than Plan2Explore could in
    # the same time. After 100,000 steps of exploration two of three seeds solve KeyChest from its
    # policy in 10,000 steps, from an untrained one none (results/keychest/solve-summary.json).
    "quick": _Plan(
        size="xs",
        agent=_TWO_CORES,
        collect=CollectConfig("random", env_steps=60_000, label_frames=4_000, action_repeat=4),
        annotate=AnnotateConfig(pairs=5_000),
        distill=DistillConfig(epochs=15),
        explore=ExploreConfig(
            env_steps=20_000,
            train_ratio=32.0,
            prefill=2_000,
            replay_gb=2.0,
            save_every=2_000,
            label_frames=2_000,
        ),
        solve=SolveConfig(env_steps=5_000, train_ratio=32.0, save_every=1_000, policy="explorer"),
        evaluate=EvaluateConfig(episodes=10, videos=2),
    ),
    # One day on two cores.
    "day": _Plan(
        size="xs",
        agent=_TWO_CORES,
        collect=CollectConfig("random", env_steps=250_000, label_frames=20_000, action_repeat=4),
        annotate=AnnotateConfig(pairs=30_000),
        distill=DistillConfig(),
        explore=ExploreConfig(env_steps=250_000, train_ratio=128.0, replay_gb=8.0),
        solve=SolveConfig(env_steps=100_000, train_ratio=128.0, policy="explorer"),
        evaluate=EvaluateConfig(episodes=50, videos=4),
    ),
    # The published numbers: D_init by Plan2Explore 500K, 100K pairs, 500K of exploration, replay
    # of 1e6 steps (12 GB of 64×64 pictures), train ratio 512. KeyChest is solved by .45M steps.
    "paper": _Plan(
        size="s",
        agent={},
        collect=CollectConfig("p2e", env_steps=500_000, label_frames=50_000),
        annotate=AnnotateConfig(pairs=100_000),
        distill=DistillConfig(),
        explore=ExploreConfig(env_steps=500_000, train_ratio=512.0, prefill=2_000, replay_gb=12.0),
        solve=SolveConfig(env_steps=500_000, train_ratio=512.0),
        evaluate=EvaluateConfig(episodes=100, videos=4),
    ),
}


def preset(
    name: str = "keychest",
    budget: str = "quick",
    size: str | None = None,
    method: str = "sensei",
) -> RunConfig:
    """Return the configuration of a named run.

    Args:
        name: a preset, ``minihack:ID``, or the user's own: ``gym:ID`` or ``module:callable``.
        budget: how long it may take: smoke, quick, day or paper.
        size: of the networks: xs, s, m or l; the budget's own when None.
        method: of exploration.

    Raises:
        UsageError: one of the names is not known; the nearest one is given.
    """
    plan = _PLANS[_known("--budget", budget, _PLANS)]
    known = _environment(name)
    plan_size = (budget == "paper" and known.paper_size) or plan.size
    size = _known("--size", size or plan_size, SIZES)
    method = _known("--method", method, get_args(Method))
    policy = "fresh" if method in LEARNS_NO_POLICY else plan.solve.policy
    config = RunConfig(
        dir=run_dir(name, budget, size if size != plan_size else "", method),
        env=known.env,
        agent=dataclasses.replace(known.agent, size=SIZES[size], **plan.agent),
        collect=plan.collect,
        annotate=plan.annotate,
        distill=plan.distill,
        explore=dataclasses.replace(plan.explore, method=cast(Method, method)),
        solve=dataclasses.replace(plan.solve, policy=policy),
        evaluate=plan.evaluate,
    )
    rewarded = known.rewarded if config.uses_reward else {}
    return with_dotted(config, known.own.get(budget, {}) | rewarded.get(budget, {}))


def saved_config(workspace: Workspace) -> RunConfig:
    """Return the configuration of a run.

    Raises:
        UsageError: there is no run, or another version of sensei wrote it.
    """
    plain = workspace.config()
    try:
        return updated(RunConfig(), plain)
    except UsageError as error:
        raise UsageError(
            f"{workspace.config_path}: {error}; where another version of sensei wrote it, "
            f"use that one ({workspace.manifest_path.name} names it)"
        ) from error


def run_dir(name: str, budget: str, size: str = "", method: str = "sensei", seed: int = 0) -> str:
    """Return the folder a run gets without ``--dir``: its name, and what is not the default."""
    parts = [re.sub(r"[^\w.]+", "-", name).strip("-"), budget, size]
    parts += ["" if method == "sensei" else method, f"seed{seed}" if seed else ""]
    return "runs/" + "-".join(part for part in parts if part)


def _environment(name: str) -> Preset:
    if name in PRESETS:
        return PRESETS[name]
    if ":" in name or name == NO_ENVIRONMENT:
        # One that is not ours starts from KeyChest's weights, the paper's middle values.
        return Preset("your own", EnvConfig(name=name), PRESETS["keychest"].agent)
    near = nearest(name, PRESETS)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(PRESETS)};"
    raise UsageError(
        f"no preset {name!r}: {hint} your own environment is gym:ID or module:callable"
    )


def _known(flag: str, value: str, known: Iterable[str]) -> str:
    names = list(known)
    if value in names:
        return value
    near = nearest(value, names)
    hint = f"did you mean {near!r}?" if near else f"give one of {', '.join(names)}"
    raise UsageError(f"{flag} is {value!r}: {hint}")
