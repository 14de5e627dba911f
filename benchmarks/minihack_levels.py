"""Time MiniHack's levels: python benchmarks/minihack_levels.py --json results/bench/minihack.json

Steps per second of processor time in one process, random actions, picture and resets and all:
unlike the clock on the wall, that hardly changes with what else the machine does. ``--figure FILE``
draws what the agent and the annotator see.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from sensei.envs import EnvConfig, make_adapter, make_env
from sensei.run.files import write_json

CASES = {
    "keychest": {},
    "keychest, view 9": {"view": 9},
    "keychest, view map": {"view": "map"},
    "keyroom": {},
    "keyroom-s5": {},
    "minihack:MiniHack-MultiRoomChest-N4-v0": {},
    "minihack:MiniHack-Room-5x5-v0": {},
    "minihack:MiniHack-KeyRoom-S15-v0": {},
    "minihack:MiniHack-Eat-v0": {},
}
SHOWN = (
    "keychest",
    "keyroom",
    "minihack:MiniHack-MultiRoomChest-N4-v0",
    "minihack:MiniHack-River-v0",
)
SIDE = 168
"""Pixels of a picture in the figure."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is made."""

    seconds: float = 4.0
    """Processor time given to each case."""
    json: Path | None = None
    """Write the speeds here."""
    figure: Path | None = None
    """Draw this instead of timing."""


def main(args: Args) -> None:
    """Print and save the speeds, or draw the figure."""
    if args.figure:
        draw(args.figure)
        return
    load = os.getloadavg()[0]
    speeds = {}
    for name, options in CASES.items():
        speeds[name] = speed(name.partition(",")[0], options, args.seconds)
        print(f"{name}: {speeds[name]} steps per CPU second", flush=True)
    if args.json:
        write_json(args.json, {"load_average_before": load, "steps_per_cpu_second": speeds})


def speed(name: str, options: dict[str, object], seconds: float) -> float:
    """Return agent steps per second of processor time, through the adapter of training."""
    env = make_adapter(EnvConfig(name, options=options))
    choices = np.eye(env.spec.action.size, dtype=np.float32)
    rng = np.random.default_rng(0)
    env.reset(0)
    begin, steps = time.process_time(), 0
    while (elapsed := time.process_time() - begin) < seconds:
        steps += 1
        if env.step(choices[rng.integers(len(choices))])["is_last"]:
            env.reset(steps)
    env.close()
    return round(steps / elapsed, 1)


def draw(path: Path) -> None:
    """Show each level as the agent sees it, as the annotator does, and as a page of the map."""
    rows = []
    for name in SHOWN:
        pictures = []
        for options in ({}, {"view": "map"}):
            env = make_env(name, **options)
            observation, _ = env.reset(seed=4)
            pictures += [observation["image"], env.render_label()]
            env.close()
        rows.append(np.hstack([_framed(picture) for picture in pictures]))
    Image.fromarray(np.vstack(rows)).save(path, optimize=True)


def _framed(picture: np.ndarray) -> np.ndarray:
    big = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.pad(np.asarray(big), ((4, 4), (4, 4), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main(tyro.cli(Args))
