"""Files under an episode store: preallocated shards and the index, written to survive a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sensei.types import SenseiError

VERSION = 3
"""Format of the folder: 3 has packed shards too; 2 had them packed by another library."""
_READS = (1, VERSION)
ALIGN = 64
"""Fields begin on cache lines."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each field of ``[num_envs, shard_steps, *shape]`` lies in a shard file.

    One file holds all fields, one after the other: an open shard then costs one file descriptor.
    """

    fields: dict[str, tuple[tuple[int, ...], np.dtype]]
    num_envs: int
    shard_steps: int

    def offsets(self) -> dict[str, int]:
        """Return the byte at which each field begins."""
        offsets, end = {}, 0
        for name in self.fields:
            offsets[name] = end
            end += self._room(name)
        return offsets

    def pieces(self, start: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Split rows at the shards' ends: number of the shard, first row in it, number of rows."""
        end = start + length
        while start < end:
            number, begin = divmod(start, self.shard_steps)
            count = min(self.shard_steps - begin, end - start)
            yield number, begin, count
            start += count

    def check(self, rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the fields of one row of every stream as arrays, or say what does not fit."""
        if rows.keys() != self.fields.keys():
            odd = ", ".join(sorted(rows.keys() ^ self.fields.keys()))
            raise SenseiError(f"missing or unknown fields in a row ({odd}): give the store's own")
        arrays = {name: np.asarray(rows[name]) for name in self.fields}
        for name, (shape, dtype) in self.fields.items():
            got, want = arrays[name], (self.num_envs, *shape)
            if got.shape != want or got.dtype != dtype:
                raise SenseiError(
                    f"field {name} is {got.dtype}{list(got.shape)}, the store holds "
                    f"{dtype}{list(want)}: convert it"
                )
        return arrays

    def describe(self) -> dict[str, Any]:
        """Return the layout as JSON-able values, which suffice to read a plain shard."""
        return {
            "num_envs": self.num_envs,
            "shard_steps": self.shard_steps,
            "fields": {k: [list(shape), dtype.name] for k, (shape, dtype) in self.fields.items()},
            "offsets": self.offsets(),
        }

    @classmethod
    def parse(cls, index: Mapping[str, Any]) -> Layout:
        """Read what ``describe`` wrote."""
        fields = {k: (tuple(s), np.dtype(d)) for k, (s, d) in index["fields"].items()}
        return cls(fields, index["num_envs"], index["shard_steps"])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one stream."""
        return sum(map(self.field_bytes, self.fields))

    def field_bytes(self, name: str) -> int:
        """Bytes of one field of one row of one stream."""
        shape, dtype = self.fields[name]
        return int(np.prod(shape)) * dtype.itemsize

    @property
    def shard_bytes(self) -> int:
        """Bytes of one shard file."""
        return sum(map(self._room, self.fields))

    def _room(self, name: str) -> int:
        """Bytes that a field takes in a shard file."""
        return -(-self.num_envs * self.shard_steps * self.field_bytes(name) // ALIGN) * ALIGN


class Shard:
    """A memory-mapped file of rows and a view of each field in it."""

    def __init__(self, path: Path, layout: Layout, mode: Literal["r", "r+"]) -> None:
        """Map an existing file; ``mode`` is ``r`` or ``r+``."""
        self.check_size(path, layout.shard_bytes)
        self.path = path
        access = mmap.ACCESS_READ if mode == "r" else mmap.ACCESS_WRITE
        with open(path, f"{mode}b") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=access)
        base = np.frombuffer(self.map, np.uint8)
        self.offsets = layout.offsets()
        self.views: dict[str, np.ndarray] = {}
        for name, offset in self.offsets.items():
            shape, dtype = layout.fields[name]
            full = (layout.num_envs, layout.shard_steps, *shape)
            size = int(np.prod(full)) * dtype.itemsize
            self.views[name] = base[offset : offset + size].view(dtype).reshape(full)

    def check_size(self, path: Path, expected: int) -> None:
        """Raise an error unless the file is as long as its fields."""
        size = path.stat().st_size
        if size != expected:
            raise damaged(path.parent, f"{path.name} has {size} bytes, expected {expected}")

    def read(self, name: str, env: int, begin: int, out: np.ndarray) -> None:
        """Fill ``out``, [T, ...], with a field of one stream from row ``begin`` on."""
        out[:] = self.views[name][env, begin : begin + len(out)]

    def regions(self, env: int, begin: int, count: int) -> Iterator[tuple[int, int]]:
        """Tell where in the file some rows lie: first byte and bytes, a part for each field."""
        for name, offset in self.offsets.items():
            each, row = self.views[name].strides[:2]
            yield offset + env * each + begin * row, count * row

    def announce(self, env: int, begin: int, count: int) -> None:
        """Have the kernel fetch some rows that will be read; do not wait.

        A page fault waits for the disk and reads megabytes around the page, also for a field of a
        few bytes; this reads the rows alone, and those of many windows at a time.
        """
        if not hasattr(mmap, "MADV_WILLNEED"):  # Windows
            return
        for start, size in self.regions(env, begin, count):
            aligned = start // mmap.PAGESIZE * mmap.PAGESIZE
            self.map.madvise(mmap.MADV_WILLNEED, aligned, start + size - aligned)

    def flush(self) -> None:
        """Write what changed to the disk."""
        self.map.flush()


def create_shard(path: Path, layout: Layout) -> Shard:
    """Allocate a shard on the disk and map it.

    The whole file is reserved first: a full disk is then an error here, where nothing is lost yet,
    and not a SIGBUS at some later write into the map.
    """
    draft = path.with_suffix(".tmp")
    with disk_errors(path), open(draft, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, layout.shard_bytes)
    os.replace(draft, path)
    sync_folder(path.parent)
    return Shard(path, layout, "r+")


@contextlib.contextmanager
def disk_errors(path: Path):
    """Turn a full disk into one line with a remedy; a half-made draft is removed."""
    try:
        yield
    except OSError as error:
        path.with_suffix(".tmp").unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise SenseiError(
            f"no space left for {path}: free some space or lower the store's max_gb, "
            "then give the same command again"
        ) from error


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file so that a crash leaves either the old or the new one."""
    draft = path.with_suffix(".tmp")
    with disk_errors(path), open(draft, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_index(folder: Path) -> dict[str, Any]:
    """Read a store's index.json, or say in one line why it cannot be used."""
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SenseiError(
            f"{folder} holds no episodes (no index.json): collect some first"
        ) from None
    except (ValueError, OSError) as error:
        raise damaged(folder, f"index.json: {error}") from error
    if not isinstance(index, dict) or "version" not in index:
        raise damaged(folder, "index.json has no version")
    if index["version"] not in _READS:
        raise SenseiError(
            f"{folder} was written by another version of sensei (format {index['version']}, this "
            f"one reads {' and '.join(map(str, _READS))}): use that one, or run the stage again"
        )
    return index


def damaged(folder: Path, what: str) -> SenseiError:
    """Make the error for a store that cannot be trusted."""
    return SenseiError(
        f"the episodes in {folder} are damaged ({what}): restore the folder, or delete it and run "
        "the stage again"
    )
