"""What a run needs that is missing, and what it will take: steps, updates, hours, GB, queries."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

from sensei.annotate.annotator import AnnotatorConfig, prices_of, resolve
from sensei.annotate.build import member_config
from sensei.annotate.wire import Usage
from sensei.core.config import SIZES, AgentConfig
from sensei.presets import RunConfig
from sensei.run import machine
from sensei.run.progress import duration
from sensei.types import EnvSpec, SenseiError


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one size of the networks costs with 64 × 64 pictures (benchmarks/costs.py)."""

    parameters: int
    kept: float
    """MB that are there whatever the batch: agent, optimiser, slow critics, gradients."""
    replayed: tuple[float, float]
    """Of each replayed step: MFLOP, and MB of the batch and of intermediate results."""
    imagined: tuple[float, float]
    """The same of each trajectory of 15 imagined steps."""


COSTS = {
    "xs": Cost(2_223_123, 35.0, (20.5, 0.62), (51.4, 0.28)),
    "s": Cost(14_670_707, 212.0, (89.3, 1.08), (429.5, 1.05)),
    "m": Cost(39_194_899, 715.0, (222.9, 1.41), (1124.9, 1.65)),
    "l": Cost(93_706_931, 1673.0, (508.3, 1.80), (2644.0, 2.39)),
}

UTILISATION = 0.3
"""Share of a processor's matrix product rate that an update reaches: .24 in the loop of ``quick``
(results/bench/loop.json), .37 to .62 with larger batches and networks (train_step-*.json)."""

PROCESS_GB = 0.66
"""What a process holds beside its update. With it the peaks of xs, s and m are met within 5 %
(results/bench/train_step-xs.json, -s.json, growth.json)."""

HELD = 3
"""How often the heap holds an update's intermediate results, at most. Within twelve updates of xs
on two busy cores once, twice or three times: 1.7, 2.6 or 3.5 GB (by hand). Memory for the next
update can be taken before the last one's is given back, and small things settle in what is free."""

ENV_STEPS_PER_SECOND = {
    "keychest": 5158.0,
    "keyroom": 6057.0,
    "robodesk": 329.0,
    "crafter": 1043.0,
    "keyquest": 2959.0,
    "tiny": 5232.0,
}
"""Measured with two processes on two CPU cores (results/bench/environments.json)."""

OTHER_ENV_STEPS_PER_SECOND = 1_000.0
"""Assumed of every other environment."""

STARTUP_SECONDS = 60.0
"""Assumed time of each learning stage for compiling and starting its environments."""

PROCESS_GB_PER_WORKER = 0.1
"""A MiniHack process takes 70 MB (measured); others are assumed to be like it."""

LABEL_PICTURE_BYTES = 6_000
"""Assumed size of one label frame as PNG, both resolutions together."""

TOKENS_IN, TOKENS_OUT = 1_200, 12
"""Assumed tokens of one query: two pictures at low detail with the prompt, and the answer."""

EXTRAS = {
    "keychest": "minihack",
    "keyroom": "minihack",
    "keyroom-s5": "minihack",
    "minihack": "minihack",
    "robodesk": "robodesk",
    "keyquest": "gameboy",
    "pokemon": "gameboy",
    "crafter": "crafter",
    "craftax": "jaxenvs",
    "craftax-classic": "jaxenvs",
}
_MODULES = {
    "minihack": ("nle", "minihack"),
    "gameboy": ("pyboy",),
    "robodesk": ("mujoco", "robodesk"),
    "crafter": ("crafter", "numba"),
    "jaxenvs": ("craftax",),
    "vlm": ("openai",),
    "text": ("tokenizers",),
    "ppo": ("stable_baselines3",),
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run will take from its beginning, by the measurements and assumptions named above."""

    env_steps: int
    updates: int
    hours: float
    disk_gb: float
    """Before the replay is packed, which most environments' pictures can be (data/packed.py)."""
    memory_gb: float
    queries: int
    """Questions to everybody who is asked: a mixture's members and a second annotator, too."""
    dollars: float | None
    """None where no price is known, which includes annotators that cost nothing."""

    def __str__(self) -> str:
        words = (
            f"{self.env_steps:,} env steps, {self.updates:,} updates, {self.queries:,} queries, "
            f"up to {self.disk_gb:.1f} GB on disk, {self.memory_gb:.1f} GB of memory, "
            f"about {duration(3600 * self.hours)} on {machine.usable_cores()} CPU cores like these"
        )
        return words if self.dollars is None else f"{words}, about {self.dollars:.2f} $"


def estimate(config: RunConfig) -> Estimate:
    """Add up what every stage of ``config`` will take."""
    ppo = config.explore.method == "ppo"
    rounds = config.generations if config.uses_reward else 0 if ppo else 1
    batch = config.agent.batch * config.agent.length
    tasks = len(config.solve.tasks)
    steps = rounds * config.explore.env_steps + tasks * config.solve.env_steps
    learned = rounds * max(0, config.explore.env_steps - config.explore.prefill)
    updates = learned * config.explore.train_ratio / batch + config.explore.offline_updates
    updates += tasks * config.solve.offline_updates
    # PPO's updates take a few per cent of ours, its time is that of the environments.
    updates += 0 if ppo else tasks * config.solve.env_steps * config.solve.train_ratio / batch
    questions = frames = 0
    if config.uses_reward or config.explore.keep_collected:
        steps += config.collect.env_steps
        frames = config.collect.label_frames + rounds * config.explore.label_frames
        if config.collect.policy == "p2e":
            updates += config.collect.env_steps * config.explore.train_ratio / batch
    if config.uses_reward:
        online = config.explore.online_rounds * config.explore.online_pairs
        questions = rounds * (config.annotate.pairs + online) * config.annotator.repeats
        questions *= 2 if config.annotator.orders == "both" else 1
    asked = [(who, round(share * questions)) for who, share in _asked(config.annotator)]
    speed = ENV_STEPS_PER_SECOND.get(config.env.name, OTHER_ENV_STEPS_PER_SECOND)
    rate = UTILISATION * machine.matrix_gflops()
    seconds = steps / speed + updates * update_gflop(config.agent) / rate
    return Estimate(
        env_steps=steps,
        updates=round(updates),
        hours=(seconds + (2 + rounds) * STARTUP_SECONDS) / 3600,
        disk_gb=_disk_gb(config, frames),
        memory_gb=update_gb(config.agent) + PROCESS_GB_PER_WORKER * config.env.processes,
        queries=sum(queries for _, queries in asked),
        dollars=_dollars(asked),
    )


def problems(config: RunConfig) -> list[str]:
    """List what stands in the way of ``config``, each with the command that mends it."""
    return [*_missing_extras(config), *_disk_problems(config), *_memory_problems(config)]


def annotator_lines(spec: EnvSpec, config: RunConfig) -> tuple[list[str], list[str]]:
    """Say who will label, or what stands in the way of it."""
    if not config.uses_reward:
        return [f"annotator: none, {config.explore.method} needs no labels"], []
    try:
        annotator = resolve(config.annotator, spec.has_oracle, config.env.name)
    except SenseiError as error:
        return [], [str(error)]
    return [f"annotator: {annotator.kind}"], []


def facts() -> list[str]:
    """List the machine and the versions, one line each."""
    versions = machine.versions()
    return [
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"{machine.usable_cores()} CPU cores, {machine.memory_gb():.0f} GB memory",
    ]


def update_gflop(agent: AgentConfig) -> float:
    """GFLOP of one update of the whole method; plainer methods need less."""
    return _amount(agent, 0) / 1e3


def update_gb(agent: AgentConfig, held: int = HELD) -> float:
    """Peak memory of a process that makes updates, in GB, where the heap holds results so often."""
    return PROCESS_GB + (_cost(agent).kept + held * _amount(agent, 1)) / 1e3


def _amount(agent: AgentConfig, which: int) -> float:
    cost, steps = _cost(agent), agent.batch * agent.length
    trajectories = agent.batch * -(-agent.length // agent.imagine_every) * agent.horizon / 15
    return cost.replayed[which] * steps + cost.imagined[which] * trajectories


def _cost(agent: AgentConfig) -> Cost:
    """The cost of a size; one of the user's own counts as the nearest."""
    return COSTS[min(SIZES, key=lambda name: abs(SIZES[name].deter - agent.size.deter))]


def _disk_gb(config: RunConfig, frames: int) -> float:
    # A row is the image and a few hundred bytes of vector, action, reward and events.
    row = 3 * config.env.image_size**2 + 400
    collected = config.collect.env_steps if config.uses_reward else 0
    cap = config.explore.replay_gb
    stored = [min(cap, steps * row / 1e9) for steps in (collected, config.explore.env_steps)]
    return sum(stored) + frames * LABEL_PICTURE_BYTES / 1e9


def _asked(config: AnnotatorConfig) -> list[tuple[AnnotatorConfig, float]]:
    """Everybody who is asked, members of a mixture one by one, and about which share of the pairs.

    Raises:
        UsageError: a member or the second annotator cannot be read.
    """
    asked = [(config, 1.0)]
    if config.kind == "mixed":
        members = (member_config(config, who, "annotator.members") for who in config.members)
        asked = [(member, 1.0) for member, _ in members]
    if config.second:
        second, _ = member_config(config, config.second, "annotator.second")
        asked.append((second, config.second_share))
    return asked


def _dollars(asked: list[tuple[AnnotatorConfig, int]]) -> float | None:
    """Add up what the models among them cost; ``auto`` counts as one where it has a price."""
    costs = []
    for who, queries in asked:
        if who.kind == "vlm" or (who.kind == "auto" and who.price_in is not None):
            price = prices_of(who).of(Usage(TOKENS_IN, TOKENS_OUT))
            costs.append(None if price is None else queries * price)
    if not costs or None in costs:
        return None
    return sum(cost for cost in costs if cost is not None)


def _missing_extras(config: RunConfig) -> list[str]:
    name = config.env.name.partition(":")[0]
    wanted = [EXTRAS[name]] if name in EXTRAS else []
    if config.uses_reward:
        kinds = {who.kind for who, _ in _asked(config.annotator)}
        wanted += sorted(kinds & {"vlm", "text"})
    if config.explore.method == "ppo":
        wanted.append("ppo")
    return [
        f"the extra {extra!r} is not installed: pip install 'sensei-rl[{extra}]'"
        for extra in wanted
        if any(importlib.util.find_spec(module) is None for module in _MODULES[extra])
    ]


def _disk_problems(config: RunConfig) -> list[str]:
    folder = Path(config.dir).absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free, needed = shutil.disk_usage(place).free / 1e9, estimate(config).disk_gb
    found = [] if os.access(place, os.W_OK) else [f"{place} is not writable: give another --dir"]
    if free < needed:
        found.append(
            f"{place} has {free:.1f} GB free and the run needs {needed:.1f}: free some, give "
            "another --dir, or a smaller --explore.replay-gb"
        )
    return found


def _memory_problems(config: RunConfig) -> list[str]:
    needed = estimate(config).memory_gb
    if machine.memory_gb() >= needed:
        return []
    return [
        f"{machine.memory_gb():.1f} GB memory, about {needed:.1f} needed: use a larger machine, a "
        "smaller --size or a smaller --agent.batch"
    ]
