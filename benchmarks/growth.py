"""Measure how cost grows: python benchmarks/growth.py --json OUT.json --figure docs/growth.png

One dial at a time is turned away from xs, 16 sequences of 64 steps: what an update takes against
batch, length, size and ensemble members, what environments and the replay give against their
number and size, and what a label frame costs. Every training step is compiled and timed in a
process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
from PIL import Image

from sensei.run import machine

DIALS: dict[str, dict[str, tuple[Any, ...]]] = {
    "batch": {"batch": (4, 16, 32)},
    "length": {"length": (32, 64, 128)},
    "ensemble members": {"members": (4, 8, 16)},
    "size": {"size": ("xs", "s", "m")},
}
"""What is turned; the sizes are measured with 4 sequences, so that the largest is still quick."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Where the figures go."""

    env: str = "keychest"
    """The environment whose copies are counted."""
    seconds: float = 4.0
    """Time given to each number of environments."""
    json: Path | None = None
    """Write the figures here."""
    figure: Path | None = None
    """Draw them here."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One training step."""

    size: str = "xs"
    batch: int = 16
    length: int = 64
    members: int = 8


def main(args: Args) -> None:
    """Print and save every curve, and draw them."""
    result: dict[str, Any] = {
        "cpu": machine.hardware()["cpu"],
        "cores": machine.usable_cores(),
        "load": os.getloadavg()[0],
        "training": training(),
    }
    result["environments"] = environments(args.env, args.seconds)
    result["replay"] = replay((0.1, 0.5, 2.0))
    result["label frames"] = label_frames((1_000, 2_000, 4_000))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    if args.figure:
        draw(result, args.figure)


def training() -> dict[str, list[dict[str, Any]]]:
    """What an update takes, dial by dial; a point that two dials share is measured once."""
    known: dict[Point, dict[str, Any]] = {}
    curves: dict[str, list[dict[str, Any]]] = {}
    for name, dial in DIALS.items():
        for field, values in dial.items():
            base = Point(batch=4) if name == "size" else Point()
            for value in values:
                point = dataclasses.replace(base, **{field: value})
                if point not in known:
                    known[point] = apart(point)
                    print(f"{point}: {known[point]}", flush=True)
                curves.setdefault(name, []).append({"at": value, **known[point]})
    return curves


def apart(point: Point) -> dict[str, Any]:
    """Time one training step in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(train, point).result()


def train(point: Point) -> dict[str, Any]:
    """Run benchmarks/train_step.py for one point; seconds, memory and parameters."""
    import train_step
    from sensei.core.config import SIZES

    SIZES[point.size] = dataclasses.replace(SIZES[point.size], members=point.members)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "step.json"
        args = train_step.Args(size=point.size, batch=point.batch, length=point.length, steps=3)
        train_step.main(dataclasses.replace(args, json=out))
        found = json.loads(out.read_text())
    kept = ("seconds_median", "processor_seconds_median", "gflop")
    kept += ("peak_memory_gb", "compile_seconds")
    return {name: found[name] for name in kept} | {"parameters": sum(found["parameters"].values())}


def environments(name: str, seconds: float) -> list[dict[str, float]]:
    """Agent steps a second of all copies together, on two processes."""
    from environments import held_actions
    from sensei.envs import EnvConfig
    from sensei.envs.pool import EnvPool

    found = []
    for copies in (2, 4, 8, 16):
        with EnvPool(EnvConfig(name, num_envs=copies, processes=2), seed=0) as pool:
            actions = held_actions(pool)
            pool.step(next(actions))
            begin, steps = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - begin) < seconds:
                pool.step(next(actions))
                steps += copies
        found.append({"at": copies, "steps_per_second": steps / elapsed})
        print(found[-1], flush=True)
    return found


def replay(sizes: Iterable[float]) -> list[dict[str, float]]:
    """Batches a second from stores of some GB that lie in memory."""
    from replay import SPEC, STREAMS, draw, fill
    from sensei.data.episodes import EpisodeStore
    from sensei.data.replay import Replay
    from sensei.envs.contract import row_fields

    found = []
    for gb in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = EpisodeStore(Path(folder) / "episodes", row_fields(SPEC), STREAMS, gb)
            fill(store, gb)
            drawn = draw(Replay([store]), np.random.default_rng(0), 200)
            store.close()
        found.append({"at": gb, **drawn})
        print(found[-1], flush=True)
    return found


def label_frames(counts: Iterable[int]) -> list[dict[str, float]]:
    """Milliseconds and bytes of keeping one more label frame when so many are kept."""
    from sensei.data.images import encode_png
    from sensei.data.label_store import LabelStore
    from sensei.data.records import Frame

    rng, found, stored = np.random.default_rng(0), [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStore(Path(folder) / "labels.sqlite") as labels,
    ):
        for count in counts:
            begin, first = time.perf_counter(), stored
            while stored < count:
                frames = [
                    Frame("collect", 1, 0, step // 100, step, encode_png(blocks(rng, 224)))
                    for step in range(stored, stored + 100)
                ]
                stored += labels.add_frames(frames)
            each = 1e3 * (time.perf_counter() - begin) / (stored - first)
            size = sum(file.stat().st_size for file in Path(folder).iterdir())
            found.append({"at": count, "ms_per_frame": each, "file_mb": size / 1e6})
            print(found[-1], flush=True)
    return found


def blocks(rng: np.random.Generator, side: int) -> np.ndarray:
    """A picture of 14 × 14 flat squares, which compresses about as well as a game's."""
    colours = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
    return np.asarray(colours.resize((side, side), Image.Resampling.NEAREST))


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw what an update takes in two rows, and everything else in the third."""
    figure, axes = plt.subplots(3, 4, figsize=(11, 7), layout="constrained")
    training = result["training"]
    for column, (name, points) in enumerate(training.items()):
        curve(axes[0, column], points, "processor_seconds_median", name)
        curve(axes[1, column], points, "peak_memory_gb", name)
    axes[0, 0].set_ylabel("processor s an update")
    axes[1, 0].set_ylabel("peak memory, GB")
    for row in axes[:2]:  # the same base in three dials; the sizes have a base of their own
        top = max(ax.get_ylim()[1] for ax in row[:3])
        for ax in row[:3]:
            ax.set_ylim(0, top)
    rest = (
        ("environments", "steps_per_second", "copies of the environment", "steps a second"),
        ("replay", "batches_per_second", "replay in memory, GB", "batches a second"),
        ("label frames", "ms_per_frame", "label frames kept", "ms to keep one more"),
        ("label frames", "file_mb", "label frames kept", "file, MB"),
    )
    for ax, (name, key, at, unit) in zip(axes[2], rest, strict=True):
        curve(ax, result[name], key, at)
        ax.set_ylabel(unit)
    figure.savefig(path, dpi=110)


def curve(ax: Any, points: list[dict[str, Any]], key: str, name: str) -> None:
    """Draw one number against a dial, both from zero; a size counts by its parameters."""
    words = isinstance(points[0]["at"], str)
    at = [point["parameters"] / 1e6 if words else point["at"] for point in points]
    ax.plot(at, [point[key] for point in points], "o-", color="tab:blue")
    ax.set_xticks(at, [f"{x:.0f}" if words else f"{x:,g}" for x in at])
    if words:
        name += f" {', '.join(point['at'] for point in points)}: million parameters"
    ax.set(xlabel=name, xlim=(0, None), ylim=(0, 1.1 * max(point[key] for point in points)))
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(tyro.cli(Args))
