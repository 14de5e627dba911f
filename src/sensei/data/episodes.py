"""Everything the environments returned, on disk: append, sample windows, rewind to a checkpoint.

Row ``t`` of stream ``env`` is complete when written (see ``sensei.types``), so a window is a slice.
The store is a folder with ``index.json`` and numbered shard files; whatever the index does not
mention does not exist, so a crash between two flushes loses rows and never corrupts any. A flush
packs the shards that are full.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sensei.data.boundaries import EpisodeRef, find_episodes
from sensei.data.packed import PackedShard, open_shard, pack, unpack
from sensei.data.shards import (
    VERSION,
    Layout,
    Shard,
    create_shard,
    damaged,
    disk_errors,
    read_index,
    write_json,
)
from sensei.types import SenseiError, UsageError

DTYPES = ("uint8", "float32", "bool", "int32")
MAX_SHARDS = 256
"""An open shard is one file descriptor, and 1024 is a common limit for a process."""
MIN_SHARDS = 4

Fields = Mapping[str, tuple[tuple[int, ...], Any]]


class EpisodeStore:
    """Append-only, memory-mapped rows of ``num_envs`` parallel streams."""

    def __init__(
        self,
        folder: Path | str,
        fields: Fields,
        num_envs: int,
        max_gb: float,
        shard_steps: int = 1024,
    ) -> None:
        """Create an empty store.

        Args:
            folder: created if needed; must not hold a store (use ``open`` for that).
            fields: shape and dtype (uint8, float32, bool or int32) of one row of each field.
            num_envs: N, the number of streams.
            max_gb: gigabytes of rows kept, as they are before packing; beyond them the oldest
                shard is forgotten.
            shard_steps: wanted rows per stream in a file; adapted so that the cap is made of 4 to
                256 files.
        """
        folder = Path(folder)
        if (folder / "index.json").exists():
            raise SenseiError(f"{folder} already holds episodes: open it, or choose another folder")
        if not fields:
            raise UsageError("an episode store needs at least one field")
        for name, (_, dtype) in fields.items():
            if np.dtype(dtype).name not in DTYPES:
                raise UsageError(f"field {name} is {np.dtype(dtype)}; use one of {DTYPES}")
        typed = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in fields.items()}
        capacity = int(max_gb * 1e9 / (num_envs * Layout(typed, num_envs, 1).row_bytes))
        if capacity < MIN_SHARDS:
            raise UsageError(f"max_gb is {max_gb}: too small for even {MIN_SHARDS} rows; raise it")
        steps = min(max(shard_steps, -(-capacity // MAX_SHARDS)), capacity // MIN_SHARDS)
        with disk_errors(folder / "index.json"):
            folder.mkdir(parents=True, exist_ok=True)
        self._setup(folder, Layout(typed, num_envs, steps), max_gb, steps=0, read_only=False)
        self._write_index()

    @classmethod
    def open(
        cls, folder: Path | str, *, read_only: bool = False, max_gb: float | None = None
    ) -> EpisodeStore:
        """Open a store as of its last flush.

        Args:
            folder: what ``EpisodeStore(folder, …)`` made.
            read_only: look only; needed beside a process that writes.
            max_gb: a new cap; None keeps the old one.

        Raises:
            SenseiError: there is no store, or its files are damaged.
        """
        folder = Path(folder)
        index = read_index(folder)
        try:
            layout = Layout.parse(index)
            cap = index["max_gb"] if max_gb is None else max_gb
            steps = index["steps"]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder, f"{error!r}") from error
        store = cls.__new__(cls)
        store._setup(folder, layout, cap, steps, read_only)
        store._load_shards()
        return store

    def _setup(
        self, folder: Path, layout: Layout, max_gb: float, steps: int, read_only: bool
    ) -> None:
        self.folder, self.layout, self.max_gb = folder, layout, max_gb
        self.read_only = read_only
        self._steps = steps
        self._max_shards = max(MIN_SHARDS, int(max_gb * 1e9 // layout.shard_bytes))
        self._shards: dict[int, Shard] = {}
        self._first = 0  # the first shard still on disk
        self._keep = 0  # what a checkpoint may still need begins at this row
        self._dirty: set[int] = set()

    @property
    def num_envs(self) -> int:
        """N, the number of streams."""
        return self.layout.num_envs

    @property
    def steps(self) -> int:
        """Rows per stream ever written."""
        return self._steps

    @property
    def oldest(self) -> int:
        """First row still held: a function of ``steps`` alone, so a resumed run sees the same."""
        size = self.layout.shard_steps
        held = -(-self._steps // size) - self._max_shards
        return min(max(held, self._first, 0) * size, self._steps)

    def append(self, rows: Mapping[str, Any]) -> None:
        """Add one row to every stream: each field is [N, ...] of its declared dtype.

        Raises:
            SenseiError: a field is missing, unknown or of another shape or dtype; the disk is full.
        """
        number, offset = divmod(self._steps, self.layout.shard_steps)
        arrays = self.layout.check(rows)
        views = self._writable(number).views
        for name, array in arrays.items():
            views[name][:, offset] = array
        self._steps += 1

    def window(self, env: int, start: int, length: int) -> dict[str, np.ndarray]:
        """Copy rows ``start`` to ``start + length`` of one stream: each field [T, ...]."""
        if not (0 <= env < self.num_envs and self.oldest <= start <= start + length <= self._steps):
            raise SenseiError(
                f"window env={env} rows {start}:{start + length} is outside the store's "
                f"{self.num_envs} streams, rows {self.oldest}:{self._steps}"
            )
        out = {
            name: np.empty((length, *shape), dtype)
            for name, (shape, dtype) in self.layout.fields.items()
        }
        self._copy(env, start, out)
        return out

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> dict[str, np.ndarray]:
        """Draw windows uniformly over (stream, start): each field [B, T, ...].

        Windows may span shards and episodes; only rows ``oldest`` to ``steps`` are ever read.

        Raises:
            SenseiError: fewer than ``length`` rows are held.
        """
        out = {
            name: np.empty((batch, length, *shape), dtype)
            for name, (shape, dtype) in self.layout.fields.items()
        }
        self.sample_into(rng, out)
        return out

    def sample_into(self, rng: np.random.Generator, out: dict[str, np.ndarray]) -> None:
        """Fill arrays that have the shapes ``sample`` would return; draws the same windows."""
        batch, length = next(iter(out.values())).shape[:2]
        oldest, last = self.oldest, self._steps - length
        if last < oldest:
            raise SenseiError(
                f"{self.folder} holds {self._steps - oldest} rows a stream, fewer than the "
                f"{length} of a window: collect more or shorten the sequences"
            )
        envs = rng.integers(self.num_envs, size=batch)
        starts = rng.integers(oldest, last + 1, size=batch)
        places = list(zip(envs.tolist(), starts.tolist(), strict=True))
        for env, start in places:
            for number, begin, count in self.layout.pieces(start, length):
                self._shards[number].announce(env, begin, count)
        for b, (env, start) in enumerate(places):
            self._copy(env, start, {name: array[b] for name, array in out.items()})

    def column(self, field: str) -> np.ndarray:
        """Copy one small field of all held rows, [N, steps - oldest, ...]."""
        shape, dtype = self.layout.fields[field]
        out = np.empty((self.num_envs, self._steps - self.oldest, *shape), dtype)
        for env in range(self.num_envs):
            self._copy(env, self.oldest, {field: out[env]})
        return out

    def episodes(self) -> list[EpisodeRef]:
        """List the episodes whose beginning is held, by stream and time, running ones included."""
        return find_episodes(self.column("is_first"), self.column("is_last"), self.oldest)

    def truncate(self, steps: int) -> None:
        """Forget the rows beyond a checkpoint's cursor. Doing it twice changes nothing.

        Raises:
            SenseiError: the store holds fewer rows than that, or no longer holds them.
        """
        self._require_writable()
        if not 0 <= steps <= self._steps:
            raise SenseiError(
                f"{self.folder} holds {self._steps} rows, the checkpoint {steps}: its rows are "
                "lost; resume from an older checkpoint or start the stage again with --force"
            )
        size = self.layout.shard_steps
        if 0 < steps <= self._first * size:
            raise SenseiError(
                f"{self.folder} no longer holds row {steps - 1} of the checkpoint: raise max_gb or "
                "start the stage again with --force"
            )
        self._steps = steps
        self._write_index()  # first the index: rows it does not mention may go
        for number in [n for n in self._shards if n * size >= steps]:
            self._delete(number)
        if steps == 0:
            self._first = 0
        self._keep = 0

    def flush(self) -> None:
        """Make all rows durable; call it just before a checkpoint that names ``steps``.

        Shards beyond the cap are deleted one flush late, so that the checkpoint before this flush
        can still be resumed exactly if the process dies before the new one is written.
        """
        with disk_errors(self.folder / "index.json"):
            for number in sorted(self._dirty):
                self._flush_shard(number)
        self._dirty.clear()
        self._write_index()
        for number in [n for n in self._shards if (n + 1) * self.layout.shard_steps <= self._keep]:
            self._delete(number)
        self._first = min(self._shards, default=0)
        self._keep = self.oldest

    def close(self) -> None:
        """Release the maps. Unflushed rows are lost to ``open``."""
        self._shards.clear()
        self._dirty.clear()

    def _copy(self, env: int, start: int, out: dict[str, np.ndarray]) -> None:
        """Fill [T, ...] arrays from rows ``start`` on; a slice per field and shard touched."""
        done = 0
        for number, begin, count in self.layout.pieces(start, len(next(iter(out.values())))):
            shard = self._shards[number]
            for name, array in out.items():
                shard.read(name, env, begin, array[done : done + count])
            done += count

    def _writable(self, number: int) -> Shard:
        self._require_writable()
        shard = self._shards.get(number)
        if shard is None:
            shard = create_shard(self._path(number), self.layout)
        elif isinstance(shard, PackedShard):
            shard = unpack(shard)
        self._shards[number] = shard
        self._dirty.add(number)
        return shard

    def _flush_shard(self, number: int) -> None:
        """Make a shard that was written to durable, and smaller where it is full."""
        shard = self._shards[number]
        shard.flush()
        if (number + 1) * self.layout.shard_steps <= self._steps:
            self._shards[number] = pack(shard, self.layout)

    def _require_writable(self) -> None:
        if self.read_only:
            raise SenseiError(f"{self.folder} was opened read-only; open it for writing")

    def _delete(self, number: int) -> None:
        self._dirty.discard(number)
        self._shards.pop(number).path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:06d}.bin"

    def _write_index(self) -> None:
        self._require_writable()
        index = {"version": VERSION, "steps": self._steps, "max_gb": self.max_gb}
        write_json(self.folder / "index.json", index | self.layout.describe())

    def _load_shards(self) -> None:
        """Map the shards that the index vouches for; a writer deletes the others."""
        wanted = -(-self._steps // self.layout.shard_steps)
        mode = "r" if self.read_only else "r+"
        paths = list(self.folder.glob("shard-*"))
        for number in sorted({int(path.stem.removeprefix("shard-")) for path in paths}):
            if number < wanted:
                with contextlib.suppress(FileNotFoundError):  # a writer may just have let it go
                    self._shards[number] = open_shard(self._path(number), self.layout, mode)
        if not self.read_only:
            for path in set(paths) - {shard.path for shard in self._shards.values()}:
                path.unlink()
        self._first = min(self._shards, default=wanted)
        missing = set(range(self._first, wanted)) - self._shards.keys()
        if missing or (wanted and not self._shards):
            number = min(missing, default=wanted - 1)
            raise damaged(self.folder, f"{self._path(number).name} is missing")
