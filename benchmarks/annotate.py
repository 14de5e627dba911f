"""How fast answers are fetched and stored, and whether the memory stays flat.

    python benchmarks/annotate.py [--pairs 10000] [--wire decisions] [--out results/bench]

A local server in a process of its own answers at once (no thinking), so that what is measured is
the client, the label store and the server's HTTP; a real model is slower than all of them. Pictures
have the size and the noise of MiniHack label frames. Writes annotate.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.data.records import Frame
from sensei.run import machine

SERVER = """
import sys
from sensei.testing.server import FakeVLM
with FakeVLM(lambda a, b: 0.73, offers=("decisions", "systemone", "chat")) as server:
    print(server.base_url, flush=True)
    sys.stdin.read()
"""
FRAMES, TILES, TILE = 1000, 12, 16
"""Pictures of 12 × 12 tiles of 16 pixels, each tile one of a few patterns: about 11 kB as PNG."""


def main() -> None:
    """Measure and write."""
    arguments = _arguments()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve() as url,
        LabelStore(Path(folder) / "labels.sqlite") as store,
    ):
        size = fill(store, arguments.pairs)
        config = AnnotatorConfig(
            kind="vlm",
            base_url=url,
            prompt="generic",
            wire=arguments.wire,
            concurrency=arguments.concurrency,
        )
        annotator = build_annotator(config)
        with memory() as samples:
            began = time.process_time()
            summary = annotate(store, annotator, config)
            cpu = time.process_time() - began
        assert summary.labelled == len(store.labels()) == arguments.pairs
    half = len(samples) // 2
    found = {
        "pairs": arguments.pairs,
        "wire": arguments.wire,
        "concurrency": arguments.concurrency,
        "picture_bytes": size,
        "seconds": round(summary.seconds, 2),
        "queries_per_second": round(summary.asked / summary.seconds, 1),
        "client_cpu_ms_per_query": round(1e3 * cpu / summary.asked, 2),
        "server_cpu_ms_per_query": round(1e3 * _children_cpu() / summary.asked, 2),
        "rss_mb_second_half_growth": round(samples[-1] - samples[half], 1),
        "rss_mb_each_second": [round(sample, 1) for sample in samples],
        "machine": {"cores": machine.usable_cores(), **machine.versions()},
    }
    text = json.dumps(found, indent=1)
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "annotate.json").write_text(text + "\n")


def fill(store: LabelStore, pairs: int) -> int:
    """Store frames and pairs; return the mean size of a picture in bytes."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (8, TILE, TILE, 3), np.uint8)
    patterns[:, 4:] = patterns[:, :1]
    sizes = []
    for episode in range(FRAMES // 10):
        tiles = patterns[rng.integers(len(patterns), size=(10, TILES, TILES))]
        images = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(10, TILES * TILE, TILES * TILE, 3)
        frames = [
            Frame("collect", 0, 0, episode, 10 * episode + i, encode_png(image))
            for i, image in enumerate(images)
        ]
        sizes += [len(frame.picture) for frame in frames]
        store.add_frames(frames)
    draw(store, "uniform", pairs, rng)
    return int(np.mean(sizes))


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Run the server in another process; yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def memory() -> Iterator[list[float]]:
    """Sample this process' resident memory, MB, each second."""
    samples, done = [_rss_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            samples.append(_rss_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        samples.append(_rss_mb())


def _rss_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _children_cpu() -> float:
    """CPU seconds of the processes that have ended: the server, its start included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument(
        "--wire", choices=("decisions", "systemone", "logprobs", "json"), default="decisions"
    )
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
