"""Time environments: python benchmarks/environments.py --json results/bench/environments.json

Agent steps a second under random actions through the pool that training uses: picture, resets and
all, nothing learned beside it. The processor's time a step, which other work on the machine hardly
changes, is that of one environment in this process, with all threads; environments in JAX step as
one batch in this process and give steps a processor second. And how long RoboDesk
takes to draw its scene, fast and as shipped, in turns, so that other work slows both alike.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from sensei.envs import PRESETS, EnvConfig
from sensei.envs.pool import EnvPool
from sensei.run import machine
from sensei.run.files import write_json
from sensei.types import SenseiError

IN_JAX = ("craftax-classic", "craftax", "navix")
"""Presets that a worker process steps as one batch."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is timed."""

    envs: tuple[str, ...] = ()
    """Presets, ``gym:ID`` or ``module:callable``; every installed preset without."""
    seconds: float = 10.0
    """Time given to each environment and number of processes; 0 measures the processor's time only,
    as on a machine that has other work."""
    frames: int = 4
    """Stock frames of RoboDesk; 0 leaves that comparison out."""
    json: Path | None = None
    """Write the figures here; other environments' figures in that file stay."""


def main(args: Args) -> None:
    """Print and save the figures."""
    result = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    result |= {"cores": machine.usable_cores(), "machine": platform.machine()}
    speeds = result.setdefault("steps_per_second", {})
    batches = result.setdefault("batches", {})
    for name in args.envs or PRESETS:
        found = batches if name in IN_JAX else speeds
        try:
            if name in IN_JAX:
                found[name] = in_batches(name, args.seconds)
            else:
                found[name] = found.get(name, {}) | in_turn(name, args.seconds)
        except SenseiError as error:
            print(f"{name}: left out: {error}")
            continue
        print(f"{name}: {found[name]}", flush=True)
    if args.frames and "robodesk" in speeds:
        result["robodesk_frame"] = compare_frames(args.frames)
        print(result["robodesk_frame"])
    if args.json:
        write_json(args.json, result)


def in_turn(name: str, seconds: float) -> dict[str, float]:
    """Return the figures of one environment in each of one and two processes."""
    rates = {"load_average_before": round(os.getloadavg()[0], 1)} if seconds else {}
    for count in (1, 2) if seconds else ():
        config = EnvConfig(name, num_envs=count, processes=count)
        rates[f"{count}_process{'es' if count > 1 else ''}"] = speed(config, seconds)[0]
    return rates | {"processor_ms_a_step": processor_milliseconds(name)}


def in_batches(name: str, seconds: float) -> dict[str, Any]:
    """Return agent steps a second, and a processor second, of batches of three sizes."""
    result: dict[str, Any] = {"load_average_before": round(os.getloadavg()[0], 1)}
    for count in (1, 16, 64):
        wall, processor = speed(EnvConfig(name, num_envs=count, processes=0), seconds)
        result[f"{count}_copies"] = {"a_second": wall, "a_processor_second": processor}
    return result


def processor_milliseconds(name: str, steps: int = 500) -> float:
    """Return the processor's time a step, of all threads, in milliseconds."""
    with EnvPool(EnvConfig(name, num_envs=1, processes=0), seed=0) as pool:
        actions = held_actions(pool)
        pool.step(next(actions))
        begin = time.process_time()
        for _ in range(steps):
            pool.step(next(actions))
        return round(1e3 * (time.process_time() - begin) / steps, 2)


def speed(config: EnvConfig, seconds: float) -> tuple[float, float]:
    """Return agent steps a second and a second of this process, random actions held for 4 steps."""
    with EnvPool(config, seed=0) as pool:
        actions = held_actions(pool)
        for _ in range(2):  # a reset and a step: what has to be compiled is
            pool.step(next(actions))
        begin, used, steps = time.perf_counter(), time.process_time(), 0
        while (elapsed := time.perf_counter() - begin) < seconds:
            pool.step(next(actions))
            steps += config.num_envs
        used = time.process_time() - used
    return round(steps / elapsed, 1), round(steps / used, 1)


def held_actions(pool: EnvPool) -> Any:
    """Yield random action vectors (N, A)."""
    rng, spec = np.random.default_rng(0), pool.spec.action
    while True:
        blocks = [np.eye(n)[rng.integers(n, size=pool.num_envs)] for n in spec.discrete]
        blocks.append(rng.uniform(-1, 1, (pool.num_envs, spec.continuous)))
        action = np.concatenate(blocks, axis=1).astype(np.float32)
        for _ in range(4):
            yield action


def compare_frames(count: int) -> dict[str, Any]:
    """Time the agent's fast picture and the shipped rendering of the same moments, in turns."""
    from sensei.envs.robodesk import RoboDesk
    from sensei.envs.robodesk_camera import VIEWS, backend, painter

    env = RoboDesk(noise=False)
    env.reset(seed=0)
    fast, full = painter("fast", 64), painter("full", 64)
    seconds: dict[str, list[float]] = {"fast_64": [], "stock_64": [], "fast_224": []}
    for turn in range(count + 1):
        env.step(np.ones(5, np.float32))
        for name, draw in {
            "fast_64": lambda: fast.draw(env.desk.data, VIEWS["right"], 64),
            "fast_224": lambda: fast.draw(env.desk.data, VIEWS["right"], 224),
            # Drawn at 64 pixels and not reduced: the cheapest form of the shipped scene.
            "stock_64": lambda: full._snap(env.desk.data, VIEWS["right"], 64),
        }.items():
            begin = time.perf_counter()
            draw()
            if turn:  # the first frame of each prepares things
                seconds[name].append(time.perf_counter() - begin)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "backend": backend(),
        "milliseconds": {name: round(1e3 * value, 2) for name, value in middle.items()},
        "times_faster_64": round(middle["stock_64"] / middle["fast_64"], 1),
        "what": f"median of {count} frames, 64x64 picture of the agent against the shipped scene"
        " drawn at 64x64 by the same program in the same run",
    }


if __name__ == "__main__":
    main(tyro.cli(Args))
