"""Play an environment by chance for a moment, to find out what no declaration says."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from jaxtyping import Float32

from sensei.envs.config import EnvConfig
from sensei.envs.pool import EnvPool
from sensei.types import ActionSpec, EnvSpec

STEPS, SECONDS = 500, 3.0
"""A trial ends after this many steps or this long, whichever comes first."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a trial has shown."""

    spec: EnvSpec
    lines: list[str]
    """What was found and done, and what happened, for the user."""
    problems: list[str]


def try_out(config: EnvConfig, seed: int) -> Trial:
    """Build one copy in a process of its own and take random actions.

    Raises
    ------
    SenseiError
        When the environment cannot be made or returns what it does not declare.
    """
    one = dataclasses.replace(config, num_envs=1, processes=1)
    rng = np.random.default_rng(seed)
    with EnvPool(one, seed) as pool:
        spec = pool.spec
        wants = np.array([spec.has_label_picture or spec.obs.image is not None])
        _, labels = pool.step(_chance(spec.action, rng), wants)
        happened = np.zeros(len(spec.events), np.int64)
        steps, seconds, ends, began = 0, 0.0, [], time.perf_counter()
        while steps < STEPS and seconds < SECONDS:
            rows, _ = pool.step(_chance(spec.action, rng))
            happened += rows["events"][0]
            steps += 1
            ends += [steps] if rows["is_last"][0] else []
            seconds = time.perf_counter() - began
        lines = [*pool.found, f"tried: {steps} random steps, {steps / seconds:,.0f} a second"]
        lines.append(_episodes(ends))
        if labels[0] is not None:
            height, width, _ = labels[0].image.shape
            lines.append(f"label picture: {height}×{width}")
        if spec.events:
            counts = [f"{n} {c}" for n, c in zip(spec.events, happened, strict=True) if c]
            lines.append(f"events in the trial: {', '.join(counts) or 'none'}")
        failed = f"the environment failed {pool.restarts} times in {steps} steps: repair it"
        return Trial(spec, lines, [failed] if pool.restarts else [])


def _episodes(ends: list[int]) -> str:
    if not ends:
        return "episodes: none ended; if none ever does, give --env.time-limit"
    lengths = np.diff([0, *ends])
    return f"episodes: {len(ends)} ended, after {lengths.min()} to {lengths.max()} steps"


def _chance(spec: ActionSpec, rng: np.random.Generator) -> Float32[np.ndarray, "1 a"]:
    blocks = [np.eye(size)[rng.integers(size)] for size in spec.discrete]
    parts = [*blocks, rng.uniform(-1.0, 1.0, spec.continuous)]
    return np.concatenate(parts, dtype=np.float32)[None]
