"""Facts about RoboDesk that need no learning: what random actions reach, and how far MuJoCo drifts.

    python benchmarks/robodesk_facts.py random --json results/bench/robodesk-random.json
    python benchmarks/robodesk_facts.py drift --json results/bench/robodesk-drift.json
    uv run --no-sync --with mujoco==3.17.0 python benchmarks/robodesk_facts.py drift --json ...
    python benchmarks/robodesk_facts.py original --json results/bench/robodesk-drift.json

``drift`` plays one fixed sequence of actions and adds the places it passes, under the name of the
MuJoCo that is installed; every two in one file are compared. ``original`` does so with the class of
the package robodesk itself, in an environment where pip has installed all that it needs (gym,
dm-control) and mujoco==3.17.0 (dm-control 1.0.50 does not load with 4.0.0).
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import tyro

from sensei.envs.robodesk import RoboDesk
from sensei.envs.robodesk_physics import FREE, JOINTS, Desk
from sensei.envs.robodesk_scene import mujoco
from sensei.run.files import write_json

MARKS = (1, 2, 5, 10, 50, 100, 300)
"""Repeats (20 ms each) after which places are compared."""

Places = dict[str, list[float]]
"""After each mark: hand, ball, upright and flat block (x, y, z each), drawer, slide, buttons."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is measured."""

    what: tyro.conf.Positional[Literal["random", "drift", "original"]]
    json: Path
    steps: int = 10_000
    """Agent steps of random actions, for each way of holding them."""


class Undrawn(RoboDesk):
    """RoboDesk in the dark: counting needs no picture."""

    def _draw(self, camera: str, side: int) -> np.ndarray:
        return np.zeros((side, side, 3), np.uint8)


def main(args: Args) -> None:
    """Measure and save."""
    known = json.loads(args.json.read_text()) if args.json.exists() else {}
    if args.what == "random":
        result = {f"held {n} steps": count(args.steps, n) for n in (1, 4, 10, 30)}
    else:
        version = mujoco().__version__
        found = (
            {version: play()} if args.what == "drift" else {f"robodesk's, {version}": original()}
        )
        result = known | {"places": known.get("places", {}) | found}
        result["largest_difference"] = differences(result["places"])
    write_json(args.json, result)
    print(json.dumps({k: v for k, v in result.items() if k != "places"}, indent=2))


def count(steps: int, held: int) -> dict[str, Any]:
    """Add up events and successes of ``steps`` agent steps, each action held for ``held``."""
    env, rng = Undrawn(), np.random.default_rng(0)
    events: dict[str, int] = dict.fromkeys(env.events, 0)
    done = dict.fromkeys(env.tasks, 0)
    ended = True
    for step in range(steps):
        if ended:
            env.reset(seed=step)
        if step % held == 0:
            action = rng.uniform(-1, 1, 5)
        _, _, _, ended, info = env.step(action)
        for name, number in info["events"].items():
            events[name] += number
        for name, value in info["rewards"].items():
            done[name] += int(value)
    moved = sum(events[f"{name}_moved"] for name in JOINTS)
    return {"agent_steps": steps, "interactions": moved, "events": events, "steps_done": done}


def play() -> Places:
    """Return where hand and objects are after each of ``MARKS`` repeats of a fixed sequence."""
    desk = Desk("fast")
    desk.reset(None)

    def places() -> np.ndarray:
        joints = [desk.position(name) for name in JOINTS if name not in FREE]
        return np.concatenate([desk.hand, *(desk.place(name) for name in FREE), joints])

    return _marks(desk.act, places)


def original() -> Places:
    """The same of the package's own environment, undrawn, its start noise at the middle."""
    module = importlib.import_module("robodesk.robodesk")
    halves = {"random": lambda: 0.5, "uniform": lambda low, high: (low + high) / 2}
    undrawn = mock.patch.object(module.RoboDesk, "render", return_value=None)
    with undrawn, mock.patch.multiple(module.np.random, **halves):
        env = module.RoboDesk()
        env.reset()
        now = env.physics.named.data

        def places() -> np.ndarray:
            joints = [n if n.endswith("button") else f"{n}_joint" for n in JOINTS if n not in FREE]
            bodies = [now.xpos[name] for name in FREE]
            slid = [now.qpos[name] for name in joints]
            return np.concatenate([now.site_xpos["end_effector"], *bodies, *slid])

        return _marks(env.step, places)


def _marks(act: Callable[[np.ndarray], object], places: Callable[[], np.ndarray]) -> Places:
    actions = np.random.default_rng(0).uniform(-1, 1, (max(MARKS) // 10, 5)).repeat(10, 0)
    seen = {}
    for done, action in enumerate(actions, start=1):
        act(action)
        if done in MARKS:
            seen[str(done)] = places().tolist()
    return seen


def differences(places: dict[str, Places]) -> dict[str, dict[str, float]]:
    """Compare every two versions: the largest difference in metres after each mark."""
    return {
        f"{one} and {other}": {
            mark: float(np.abs(np.subtract(places[one][mark], places[other][mark])).max())
            for mark in places[one]
        }
        for one, other in itertools.combinations(sorted(places), 2)
    }


if __name__ == "__main__":
    main(tyro.cli(Args))
