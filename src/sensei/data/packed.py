"""Full shards, packed: pictures as LZ4 blocks of a few rows each, the small fields as they are.

KeyChest's rows take a thirtieth of their bytes so, RoboDesk's a sixth (docs/performance.md). A
packed shard is never written again; a run that goes on in the middle of one, because it was killed
between a flush and its checkpoint, unpacks it first.

Two libraries write and read the same blocks: lz4 alone searches long enough to find a picture in
the one before, cramjam alone unpacks into memory that is already there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cramjam
import lz4.block
import numpy as np

from sensei.data.shards import (
    Layout,
    Shard,
    create_shard,
    damaged,
    disk_errors,
    sync_folder,
)

BLOCK_ROWS = 16
"""Rows of one stream that are packed together; part of the folder's format. One alone takes five
times the bytes in KeyChest; of 32, a window of 32 rows would on average unpack 63, not 47."""
SUFFIX = ".lz4"
EFFORT = 5
"""LZ4's level of the search: KeyChest's pictures take half the bytes of level 2, packed at two
thirds of its speed; level 9 saves a fifth more at two fifths of it (docs/performance.md)."""
PICTURE_BYTES = 1024
"""A uint8 field with rows of at least so many bytes is packed; smaller ones are read faster than
unpacked."""
WORTH = 0.25
"""A shard whose pictures would take more than this share of their bytes, as noise does, stays as it
is: it would be slow to unpack as well."""


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """Where things lie in a packed shard: the small fields, where each block begins, the blocks.

    Blocks are ordered by field, stream and row.
    """

    whole: Layout

    @functools.cached_property
    def pictures(self) -> list[str]:
        """The fields that are packed."""
        fields = self.whole.fields.items()
        return [
            name
            for name, (_, dtype) in fields
            if dtype == np.uint8 and self.whole.field_bytes(name) >= PICTURE_BYTES
        ]

    @functools.cached_property
    def small(self) -> Layout:
        """The fields that are not, laid out as in a shard that has no others."""
        fields = {k: v for k, v in self.whole.fields.items() if k not in self.pictures}
        return dataclasses.replace(self.whole, fields=fields)

    @property
    def per_stream(self) -> int:
        """Blocks of one field of one stream."""
        return -(-self.whole.shard_steps // BLOCK_ROWS)

    @property
    def table(self) -> slice:
        """The bytes that tell where each block begins, and at last where the file ends: int64."""
        begin = self.small.shard_bytes
        places = len(self.pictures) * self.whole.num_envs * self.per_stream + 1
        return slice(begin, begin + places * np.dtype(np.int64).itemsize)

    def block(self, name: str, env: int, row: int) -> int:
        """Number of the block that holds a row of a stream."""
        stream = self.pictures.index(name) * self.whole.num_envs + env
        return stream * self.per_stream + row // BLOCK_ROWS


class PackedShard(Shard):
    """A memory-mapped packed file, a view of each small field in it, and where its blocks begin."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Map what ``pack`` made of a shard of this layout."""
        self.packed = PackedLayout(layout)
        super().__init__(path, self.packed.small, "r")
        self.begins = np.frombuffer(self.map[self.packed.table], np.int64)
        if self.begins[-1] != len(self.map):
            raise damaged(path.parent, f"{path.name} does not end where it says")

    def check_size(self, path: Path, expected: int) -> None:
        """Raise an error if the file is too short for the fields and the table."""
        if path.stat().st_size < self.packed.table.stop:
            raise damaged(path.parent, f"{path.name} has only {path.stat().st_size} bytes")

    def read(self, name: str, env: int, begin: int, out: np.ndarray) -> None:
        """Fill ``out``, [T, ...], contiguous, with a field of one stream from row ``begin`` on."""
        if name not in self.packed.pictures:
            return super().read(name, env, begin, out)
        end = begin + len(out)
        for first in range(begin - begin % BLOCK_ROWS, end, BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, self.packed.whole.shard_steps)
            start, stop = max(first, begin), min(last, end)
            part, block = out[start - begin : stop - begin], self.packed.block(name, env, first)
            if len(part) == last - first:
                self._unpack(block, part)
            else:
                rows = np.empty((last - first, *part.shape[1:]), np.uint8)
                self._unpack(block, rows)
                part[:] = rows[start - first : stop - first]

    def regions(self, env: int, begin: int, count: int) -> Iterator[tuple[int, int]]:
        """Tell where in the file some rows lie: first byte and bytes, a part for each field."""
        yield from super().regions(env, begin, count)
        for name in self.packed.pictures:
            start = int(self.begins[self.packed.block(name, env, begin)])
            stop = int(self.begins[self.packed.block(name, env, begin + count - 1) + 1])
            yield start, stop - start

    def _unpack(self, block: int, rows: np.ndarray) -> None:
        """Fill ``rows`` with all of a block."""
        packed = self.map[self.begins[block] : self.begins[block + 1]]
        try:
            size = cramjam.lz4.decompress_block_into(packed, rows.data, output_len=rows.nbytes)
        except cramjam.DecompressionError as error:
            raise damaged(self.path.parent, f"{self.path.name}: {error}") from error
        if size != rows.nbytes:
            raise damaged(self.path.parent, f"{self.path.name}: block {block} is too short")


def open_shard(plain: Path, layout: Layout, mode: Literal["r", "r+"]) -> Shard:
    """Map a shard's packed file, else the plain one at ``plain``.

    Where both are, a crash came between making the one and removing the other; the packed one is
    whole, the plain one may not be.
    """
    packed = plain.with_suffix(SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        return PackedShard(packed, layout)
    with contextlib.suppress(FileNotFoundError):
        return Shard(plain, layout, mode)
    return PackedShard(packed, layout)  # a writer may have packed it between the two looks


def pack(shard: Shard, layout: Layout) -> Shard:
    """Replace a full shard's file by a packed one if that is worth it; return what is there."""
    packed = PackedLayout(layout)
    most = WORTH * sum(shard.views[name].nbytes for name in packed.pictures)
    blocks, size = [], 0
    for block in _blocks(shard, packed):
        blocks.append(block)
        size += len(block)
        if size > most:
            break
    if not blocks or size > most:
        return shard
    path = shard.path.with_suffix(SUFFIX)
    draft = path.with_suffix(".tmp")
    with disk_errors(path), open(draft, "wb") as file:
        for name, offset in packed.small.offsets().items():
            file.seek(offset)
            file.write(shard.views[name].tobytes())
        file.seek(packed.table.start)
        begins = np.cumsum([packed.table.stop, *map(len, blocks)])
        file.write(begins.astype(np.int64).tobytes())
        file.writelines(blocks)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_folder(path.parent)
    shard.path.unlink()
    return PackedShard(path, layout)


def _blocks(shard: Shard, packed: PackedLayout) -> Iterator[bytes]:
    for name in packed.pictures:
        for stream in shard.views[name]:
            for row in range(0, len(stream), BLOCK_ROWS):
                rows = stream[row : row + BLOCK_ROWS]
                yield lz4.block.compress(
                    rows, mode="high_compression", compression=EFFORT, store_size=False
                )


def unpack(shard: PackedShard) -> Shard:
    """Replace a packed shard's file by a plain one, which can be written."""
    layout = shard.packed.whole
    plain = create_shard(shard.path.with_suffix(".bin"), layout)
    for name, view in plain.views.items():
        for env in range(layout.num_envs):
            shard.read(name, env, 0, view[env])
    plain.flush()
    shard.path.unlink()
    return plain
