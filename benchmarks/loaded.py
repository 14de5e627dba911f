"""Time an update by where it was compiled, or by its precision.

    python benchmarks/loaded.py --json results/bench/loaded-xs.json
    python benchmarks/loaded.py --ways elsewhere bfloat16 --json results/bench/precision-xs.json

Each way is a process that holds the same update: `here` compiled it, `elsewhere` loaded what
another had compiled, `bfloat16` as well, with products in that precision. They are timed in turns,
so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import tyro

from peer_sensei import SIZE, build
from sensei.core.training import train_step
from sensei.run import machine
from sensei.run.elsewhere import Elsewhere

Way = Literal["here", "elsewhere", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Args:
    """What is timed, and how often."""

    ways: tuple[Way, ...] = ("here", "elsewhere")
    size: Literal["xs", "s"] = "xs"
    updates: int = 15
    """Timed updates of each, after two of warm-up."""
    json: Path | None = None
    """Write the figures here too."""


def main(args: Args) -> None:
    """Print and save the seconds of each."""
    result: dict[str, Any] = {
        "size": args.size,
        "cpu": machine.hardware()["cpu"],
        "cores": machine.usable_cores(),
        "load": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as folder:
        pipes = [started(way, args.size, folder) for way in args.ways]
        timed = [[asked(pipe) for pipe in pipes] for _ in range(args.updates)]
    for pipe in pipes:
        pipe.close()
    taken = zip(args.ways, zip(*timed, strict=True), strict=True)
    result["updates"] = {way: summary(seconds) for way, seconds in taken}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def started(way: Way, size: str, folder: str) -> Connection:
    """Start one process and wait until it has made two updates."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, way, size, folder), daemon=True).start()
    theirs.close()
    asked(ours), asked(ours)
    print(f"{way}: ready", flush=True)
    return ours


def asked(pipe: Connection) -> tuple[float, float]:
    """Let a process make an update: its seconds, and its processor's."""
    pipe.send("update")
    return pipe.recv()


def serve(pipe: Connection, way: Way, size: str, folder: str) -> None:
    """Compile, then make an update whenever asked."""
    if way != "here":
        jax.config.update("jax_compilation_cache_dir", folder)
    preset = next(preset for preset, name in SIZE.items() if name == size)
    program = build("sensei", preset, compiled(way))
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        began, busy = time.perf_counter(), time.process_time()
        program.step()
        pipe.send((time.perf_counter() - began, time.process_time() - busy))


def compiled(way: Way) -> Callable:
    """The training step, compiled by this process or by another; never by this one instead."""
    step = train_step.__wrapped__
    if way == "here":
        return eqx.filter_jit(step, donate="all-except-first")
    return Elsewhere(in_bfloat16 if way == "bfloat16" else step, not_elsewhere)


def in_bfloat16(fixed: tuple, state: Any) -> Any:
    """The training step with products in bfloat16."""
    setup, *rest = fixed
    config = dataclasses.replace(setup.config, precision="bfloat16")
    return train_step.__wrapped__((dataclasses.replace(setup, config=config), *rest), state)


def not_elsewhere(*_: Any) -> Any:
    """Stand for compiling here."""
    raise SystemExit("the other process did not compile; the warning above says why")


def summary(timed: tuple[tuple[float, float], ...]) -> dict[str, float]:
    """Medians and the best of (seconds, processor's seconds)."""
    seconds, busy = zip(*timed, strict=True)
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
        "processor_seconds_median": statistics.median(busy),
        "processor_seconds_min": min(busy),
    }


if __name__ == "__main__":
    main(tyro.cli(Args))
