"""What steps a few environments, and the arrays that their rows are written into."""

from __future__ import annotations

import dataclasses
import mmap
import os
import tempfile
import traceback
from typing import Any

import numpy as np

from sensei.envs import make_adapter
from sensei.envs.batch_shard import BatchShard
from sensei.envs.config import EnvConfig
from sensei.envs.contract import Adapter, LabelView, Row, row_fields
from sensei.types import EnvSpec, SenseiError

Rows = dict[str, np.ndarray]
"""Rows of several environments: every array has the environments on its first axis."""
_ALIGN = 64
"""Bytes that every array in shared memory is aligned to."""


class WorkerDied(Exception):
    """A worker crashed, raised or did not answer; the message is the cause in one line."""


@dataclasses.dataclass(frozen=True)
class Command:
    """What each environment of a worker does next."""

    seeds: list[int | None]
    """Reset with this seed, or None: step."""
    actions: list[np.ndarray]
    """(t, A) actions after the reset, if any; exactly one action for a step."""
    want_label: list[bool]


class Shard:
    """A few environments stepped one after the other; rows are written into given arrays."""

    def __init__(self, adapters: list[Adapter], indices: range) -> None:
        """Hold the environments ``indices`` of the pool."""
        self.indices, self.adapters = indices, adapters
        self.spec = adapters[0].spec

    def run(self, command: Command, rows: Rows) -> list[LabelView | None]:
        """Carry out a command: write each environment's last row, return the labels wanted."""
        labels: list[LabelView | None] = []
        for i, (adapter, index) in enumerate(zip(self.adapters, self.indices, strict=True)):
            row = _advance(adapter, command.seeds[i], command.actions[i])
            for name, value in row.items():
                rows[name][index] = value
            labels.append(adapter.label_frame() if command.want_label[i] else None)
        return labels

    def close(self) -> None:
        """Close every environment."""
        for adapter in self.adapters:
            adapter.close()


def make_shard(config: EnvConfig, seed: int, indices: range) -> Shard | BatchShard:
    """Build the environments ``indices`` of the pool, as a batch where they can step as one."""
    first = make_adapter(config, seed + indices[0])
    # A wrapper around the environment would be left out of a batch, and so would its render().
    if hasattr(first.env, "make_batch") and not config.options.get("render"):
        return BatchShard(first, indices)
    others = [make_adapter(config, seed + index) for index in indices[1:]]
    return Shard([first, *others], indices)


def _advance(adapter: Any, seed: int | None, actions: np.ndarray) -> Row:
    """Reset if asked, then take the actions; stops early where the episode ends."""
    row = adapter.reset(seed) if seed is not None else None
    for action in actions:
        if row is not None and row["is_last"]:
            break
        row = adapter.step(action)
    assert row is not None
    return row


def memory_size(spec: EnvSpec, num_envs: int) -> int:
    """Return the bytes that the rows of all environments take in shared memory."""
    return _layout(spec, num_envs)[1]


def map_rows(spec: EnvSpec, num_envs: int, buffer: Any) -> Rows:
    """Lay the arrays of all environments' rows over a writable buffer."""
    offsets, _ = _layout(spec, num_envs)
    return {
        name: np.ndarray((num_envs, *shape), dtype, buffer, offsets[name])
        for name, (shape, dtype) in row_fields(spec).items()
    }


def _layout(spec: EnvSpec, num_envs: int) -> tuple[dict[str, int], int]:
    offsets: dict[str, int] = {}
    at = 0
    for name, (shape, dtype) in row_fields(spec).items():
        offsets[name] = at
        size = num_envs * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        at += -(-size // _ALIGN) * _ALIGN
    return offsets, max(at, _ALIGN)


class SharedRows:
    """Anonymous memory that worker processes map by an inherited file descriptor."""

    def __init__(self) -> None:
        """Open an empty memory file; ``allocate`` gives it its size."""
        # An empty file can be inherited before the sizes of the observations are known.
        self.fd = os.memfd_create("sensei") if hasattr(os, "memfd_create") else _unlinked_file()
        self._map: mmap.mmap | None = None

    def allocate(self, spec: EnvSpec, num_envs: int) -> Rows:
        """Size the memory and return its arrays."""
        size = memory_size(spec, num_envs)
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        return map_rows(spec, num_envs, self._map)

    def close(self) -> None:
        """Close the file; the memory lives as long as the arrays laid over it."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def _unlinked_file() -> int:
    """Open a file without a name, where the system has no memory files."""
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd


class LocalWorker:
    """Steps its environments in this process, when it is asked for the result."""

    def __init__(self, config: EnvConfig, seed: int, indices: range) -> None:
        """Remember what to build; ``ready`` builds it."""
        self.indices = indices
        self._make = lambda: make_shard(config, seed, indices)
        self._shard: Shard | BatchShard | None = None
        self._rows: Rows = {}
        self._command: Command | None = None

    def launch(self) -> None:
        """Throw the environments away."""
        self.close()

    def ready(self) -> EnvSpec:
        """Build the environments and return what they look like."""
        self._shard = shard = _guarded(self._make)
        return shard.spec

    def attach(self, rows: Rows) -> None:
        """Write rows into these arrays from now on."""
        self._rows = rows

    def submit(self, command: Command) -> None:
        """Take a command."""
        self._command = command

    def collect(self, timeout_s: float) -> list[LabelView | None]:
        """Carry the command out. A hang here hangs the caller: ``timeout_s`` has no effect."""
        shard, command = self._shard, self._command
        assert shard is not None and command is not None
        return _guarded(lambda: shard.run(command, self._rows))

    def close(self) -> None:
        """Close the environments."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None


def _guarded(call: Any) -> Any:
    """Turn any failure of foreign code into ``WorkerDied``; our own errors pass."""
    try:
        return call()
    except SenseiError:
        raise
    except Exception as error:
        raise WorkerDied(last_line(error)) from error


def last_line(error: BaseException) -> str:
    """Return the last line of an error's traceback."""
    return traceback.format_exception_only(error)[-1].strip()
