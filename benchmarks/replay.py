"""Time the replay: python benchmarks/replay.py --gb 8 --json results/bench/replay.json

Fills a store of 64 × 64 × 3 pictures on the disk past its cap, watching the memory, then draws
batches of 16 × 64: first with none of the files in the page cache, so that every picture comes from
the disk; then with as many of them there as fit, which in a store larger than the memory is a part;
then from the memory alone. In turns with the first, the same bytes are read from the files alone,
which tells what the disk gives at that moment.

The pictures are noise, which cannot be packed, or with ``--env`` those of an environment under
random actions. What fits is what a run sees, and needs a store larger than the machine's memory:
--gb 26 for 25 GB.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tyro

from environments import held_actions
from sensei.data.episodes import EpisodeStore, Fields
from sensei.data.replay import Replay
from sensei.envs import EnvConfig
from sensei.envs.contract import row_fields
from sensei.envs.pool import EnvPool
from sensei.envs.shard import Rows
from sensei.run import machine
from sensei.types import ActionSpec, EnvSpec, ObsSpec

Place = tuple[Path, int, int]
"""File, first byte, bytes."""

NOISE = EnvSpec(ObsSpec((64, 64, 3)), ActionSpec((6,)))
STREAMS, BATCH, LENGTH = 8, 16, 64
RECORDED = 1024
"""Rows a stream that are recorded of an environment and written again and again: only a few rows
are packed together, so the store is as large as of new ones."""
TURNS = 5
"""Times that replay and plain reads take each other's place."""
FLUSH_EVERY = 1_000
"""Rows of all streams between two flushes; a run flushes at every checkpoint."""


@dataclasses.dataclass(frozen=True)
class Args:
    """How much is written and drawn."""

    gb: float = 8.0
    """The store's cap; a quarter more is written."""
    env: str | None = None
    """Whose pictures; noise if None."""
    cold_batches: int = 200
    """Batches drawn from the disk; together they should be well below the cap."""
    warm_batches: int = 1_000
    """Batches drawn from windows that are in memory."""
    dir: Path = Path(tempfile.gettempdir())
    """Where the store is made; it is deleted again. It must be a disk, not a tmpfs."""
    json: Path | None = None
    """Write the figures here too."""


def main(args: Args) -> None:
    """Print and save one measurement."""
    folder = Path(tempfile.mkdtemp(prefix="replay-", dir=args.dir))
    try:
        fields, rows = record(args.env) if args.env else noise()
        store = EpisodeStore(folder / "episodes", fields, STREAMS, args.gb)
        growth = fill(store, rows, 1.25 * args.gb)
        store.close()
        evicted = evict(store.folder)
        cold = draw_cold(store.folder, args.cold_batches)
        replay = Replay([EpisodeStore.open(store.folder, read_only=True)])
        steady = draw_steady(replay, args.warm_batches)
        draw_again(replay, 10)
        warm = draw_again(replay, args.warm_batches)
    finally:
        shutil.rmtree(folder)
    result = {
        "pictures": args.env or "noise",
        "cap_gb": args.gb,
        "memory_gb": machine.memory_gb(),
        "cpu": machine.hardware()["cpu"],
        "load": os.getloadavg()[0],
        "batch": [BATCH, LENGTH],
        "evicted_gb": evicted,
        "cold": cold,
        "steady": steady,
        "warm": warm,
        "growth": growth,
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def noise() -> tuple[Fields, Iterator[Rows]]:
    """The fields of a store and rows of noise without end."""
    fields, rng = row_fields(NOISE), np.random.default_rng(0)
    rows = {name: np.zeros((STREAMS, *shape), dtype) for name, (shape, dtype) in fields.items()}
    shape = rows["image"].shape

    def changing() -> Iterator[Rows]:
        while True:
            rows["image"] = np.frombuffer(rng.bytes(math.prod(shape)), np.uint8).reshape(shape)
            yield rows

    return fields, changing()


def record(name: str) -> tuple[Fields, Iterator[Rows]]:
    """The fields of a store for an environment, and rows of it without end."""
    with EnvPool(EnvConfig(name, num_envs=STREAMS), seed=0) as pool:
        actions = held_actions(pool)
        rows = [pool.step(next(actions))[0] for _ in range(RECORDED)]
        return row_fields(pool.spec), itertools.cycle(rows)


def fill(store: EpisodeStore, rows: Iterator[Rows], gb: float) -> list[dict[str, float]]:
    """Append ``gb`` of rows; return disk and memory twenty times on the way."""
    records = []
    total = int(gb * 1e9 / (STREAMS * store.layout.row_bytes))
    began, records_every = time.perf_counter(), max(1, total // 20)
    for step in range(1, total + 1):
        store.append(next(rows))
        if step % FLUSH_EVERY == 0:
            store.flush()
        if step % records_every == 0:
            written = step * STREAMS * store.layout.row_bytes / 1e9
            seconds = time.perf_counter() - began
            records.append({"written_gb": written, "seconds": seconds, **sizes(store.folder)})
    store.flush()
    return records


def sizes(folder: Path) -> dict[str, float]:
    """GB on the disk, and of this process: its own memory, and pages of mapped files."""
    status = Path("/proc/self/status").read_text()
    resident = {kind: float(kb) / 1e6 for kind, kb in re.findall(r"Rss(\w+):\s+(\d+)", status)}
    disk = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
    return {"disk_gb": disk, "own_gb": resident["Anon"], "mapped_gb": resident["File"]}


def evict(folder: Path) -> float:
    """Drop the pages of a closed store from the page cache; return the GB of its files."""
    total = 0
    os.sync()  # a page that is not yet on the disk stays
    for path in folder.glob("shard-*"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        total += path.stat().st_size
    return total / 1e9


def draw_cold(folder: Path, batches: int) -> dict[str, float]:
    """Draw batches from the disk, in turns with plain reads of the same windows."""
    parts, rates, each = [], [], batches // TURNS
    for turn in range(TURNS):
        evict(folder)
        store = EpisodeStore.open(folder, read_only=True)
        parts.append(draw(Replay([store]), np.random.default_rng([1, turn]), each))
        batches = places(store, np.random.default_rng([1, turn]), each)
        store.close()  # a mapped page is not dropped
        evict(folder)
        rates.append(read_plainly(batches))
    seconds = sum(each / rate for rate in rates)
    return merged(parts) | {"disk_batches_per_second": each * TURNS / seconds}


def places(store: EpisodeStore, rng: np.random.Generator, batches: int) -> list[list[Place]]:
    """Tell what replay would read of the files for some batches."""
    out = []
    for _ in range(batches):
        rng.multinomial(BATCH, [1.0])  # replay chooses among its stores first
        envs = rng.integers(STREAMS, size=BATCH).tolist()
        starts = rng.integers(store.oldest, store.steps - LENGTH + 1, size=BATCH).tolist()
        out.append(
            [
                (shard.path, offset, size)
                for env, start in zip(envs, starts, strict=True)
                for number, first, count in store.layout.pieces(start, LENGTH)
                for shard in [store._shards[number]]
                for offset, size in shard.regions(env, first, count)
                if size
            ]
        )
    return out


def read_plainly(batches: list[list[Place]]) -> float:
    """Read the bytes of some batches; return the batches a second.

    As in replay, the kernel is told of a whole batch, then one part after another is waited for.
    """
    paths = {path for batch in batches for path, _, _ in batch}
    files = {path: os.open(path, os.O_RDONLY) for path in paths}
    began = time.perf_counter()
    for batch in batches:
        for path, offset, size in batch:
            os.posix_fadvise(files[path], offset, size, os.POSIX_FADV_WILLNEED)
        for path, offset, size in batch:
            assert len(os.pread(files[path], size, offset)) == size
    seconds = time.perf_counter() - began
    for file in files.values():
        os.close(file)
    return len(batches) / seconds


def draw(replay: Replay, rng: np.random.Generator, batches: int) -> dict[str, float]:
    """Draw random batches; return their rate and the processor's time for one."""
    began, busy, read = time.perf_counter(), time.process_time(), bytes_read()
    for _ in range(batches):
        replay.sample(rng, BATCH, LENGTH)
    seconds = time.perf_counter() - began
    return {
        "batches": batches,
        "batches_per_second": batches / seconds,
        "cpu_ms_per_batch": 1e3 * (time.process_time() - busy) / batches,
        "read_from_disk_gb": (bytes_read() - read) / 1e9,
    }


def draw_steady(replay: Replay, batches: int) -> dict[str, float]:
    """Draw as many rows as the store holds, so that the cache has settled; then measure."""
    rng = np.random.default_rng(3)
    draw(replay, rng, replay.rows // (BATCH * LENGTH))
    return merged([draw(replay, rng, batches // TURNS) for _ in range(TURNS)])


def draw_again(replay: Replay, batches: int) -> dict[str, float]:
    """Draw the ten batches of one seed over and over: after the first round from memory."""
    rounds = max(1, batches // 10)
    return merged([draw(replay, np.random.default_rng(2), 10) for _ in range(rounds)])


def merged(parts: list[dict[str, float]]) -> dict[str, float]:
    """Several measurements of equally many batches as one."""
    batches = sum(part["batches"] for part in parts)
    return {
        "batches": batches,
        "batches_per_second": batches
        / sum(part["batches"] / part["batches_per_second"] for part in parts),
        "cpu_ms_per_batch": sum(part["cpu_ms_per_batch"] for part in parts) / len(parts),
        "read_from_disk_gb": sum(part["read_from_disk_gb"] for part in parts),
    }


def bytes_read() -> int:
    """Bytes that this process had fetched from a disk so far."""
    match = re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    main(tyro.cli(Args))
