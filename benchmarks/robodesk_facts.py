"""Facts about RoboDesk that need no learning: what random actions reach, and how far MuJoCo drifts.

    python benchmarks/robodesk_facts.py random --json results/bench/robodesk-random.json
    python benchmarks/robodesk_facts.py drift --json results/bench/robodesk-drift.json
    uv run --no-sync --with mujoco==3.17.0 python benchmarks/robodesk_facts.py drift --json ...

``drift`` plays one fixed sequence of actions and adds the places it passes, under the name of the
MuJoCo that is installed; two versions in one file are compared.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from sensei.envs.robodesk import RoboDesk
from sensei.envs.robodesk_physics import FREE, JOINTS, Desk
from sensei.envs.robodesk_scene import mujoco
from sensei.run.files import write_json

MARKS = (1, 2, 5, 10, 50, 100, 300)
"""Repeats (20 ms each) after which places are compared."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is measured."""

    what: tyro.conf.Positional[Literal["random", "drift"]]
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
        result = known | {"places": known.get("places", {}) | {mujoco().__version__: play()}}
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


def play() -> dict[str, list[float]]:
    """Return where hand and objects are after each of ``MARKS`` repeats of a fixed sequence."""
    desk = Desk("fast")
    desk.reset(None)
    actions = np.random.default_rng(0).uniform(-1, 1, (max(MARKS) // 10, 5)).repeat(10, 0)
    seen = {}
    for done, action in enumerate(actions, start=1):
        desk.act(action)
        if done in MARKS:
            joints = [desk.position(name) for name in JOINTS if name not in FREE]
            places = np.concatenate([desk.hand, *(desk.place(name) for name in FREE)])
            seen[str(done)] = [*places.tolist(), *joints]
    return seen


def differences(places: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
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
