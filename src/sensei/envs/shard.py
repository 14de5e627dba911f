"""What steps a few environments, and the arrays that their rows are written into."""

from __future__ import annotations

import dataclasses
import mmap
import os
import tempfile
import traceback
from typing import Any

import numpy as np

from sensei.envs import make_adapters, makes_batch
from sensei.envs.batch_shard import BatchShard
from sensei.envs.config import EnvConfig
from sensei.envs.contract import Adapter, LabelView, Row, row_fields
from sensei.envs.findings import Found, find_out
from sensei.envs.health import WorkerDied
from sensei.envs.vector import VectorGroup, VectorSlot
from sensei.types import EnvSpec, SenseiError

Rows = dict[str, np.ndarray]
"""Rows of several environments: every array has the environments on its first axis."""
_ALIGN = 64
"""Bytes that every array in shared memory is aligned to."""
_BEATS = "beats"
"""The one array in shared memory that is no part of a row."""


@dataclasses.dataclass(frozen=True)
class Command:
    """What each environment of a worker does next."""

    seeds: list[int | None]
    """Reset with this seed, or None: step."""
    actions: list[np.ndarray]
    """(t, A) actions after the reset, if any; exactly one action for a step."""
    want_label: list[bool]

    @property
    def moves(self) -> list[int]:
        """Resets and steps wanted of each environment."""
        pairs = zip(self.seeds, self.actions, strict=True)
        return [len(actions) + (seed is not None) for seed, actions in pairs]


class Shard:
    """A few environments stepped one after the other, or together where they are a vector
    environment; rows are written into given arrays."""

    def __init__(self, adapters: list[Adapter], indices: range) -> None:
        """Hold the environments ``indices`` of the pool."""
        self.indices, self.adapters = indices, adapters
        first = adapters[0]
        self._group = first.env.group if isinstance(first.env, VectorSlot) else None
        self.found = find_out(first)

    def run(self, command: Command, memory: Memory) -> list[LabelView | None]:
        """Carry out a command: write each environment's last row, return the labels wanted."""
        if self._group is not None:
            beats = memory.beats[self.indices.start : self.indices.stop]
            rows = _advance_together(self._group, self.adapters, command, beats)
        else:
            rows = self._advance_in_turn(command, memory.beats)
        for index, row in zip(self.indices, rows, strict=True):
            for name, value in row.items():
                memory.rows[name][index] = value
        pairs = zip(self.adapters, command.want_label, strict=True)
        return [adapter.label_frame() if wanted else None for adapter, wanted in pairs]

    def close(self) -> None:
        """Close every environment."""
        for adapter in self.adapters:
            adapter.close()

    def _advance_in_turn(self, command: Command, beats: np.ndarray) -> list[Row]:
        rows = []
        for i, (adapter, index) in enumerate(zip(self.adapters, self.indices, strict=True)):
            try:
                rows.append(_advance(adapter, command.seeds[i], command.actions[i], beats[index:]))
            except Exception as error:
                error.add_note(f"This was environment {index}.")
                raise
        return rows


def make_shard(config: EnvConfig, seed: int, indices: range) -> Shard | BatchShard:
    """Build the environments ``indices`` of the pool, as a batch where they can step as one."""
    adapters = make_adapters(config, seed, indices)
    if makes_batch(adapters[0].env, config):
        return BatchShard(adapters[0], indices)
    return Shard(adapters, indices)


def _advance(adapter: Adapter, seed: int | None, actions: np.ndarray, beats: np.ndarray) -> Row:
    """Reset if asked, then take the actions; stops early where the episode ends. ``beats[0]``
    counts on with each."""
    row = None
    if seed is not None:
        row = adapter.reset(seed)
        beats[0] += 1
    for action in actions:
        if row is not None and row["is_last"]:
            break
        row = adapter.step(action)
        beats[0] += 1
    assert row is not None
    return row


def _advance_together(
    group: VectorGroup, adapters: list[Adapter], command: Command, beats: np.ndarray
) -> list[Row]:
    """Do the same with a vector environment, which steps all or none.

    Episodes of different lengths cannot be re-enacted there: it stops with the shortest, and
    whoever compares the rows sees that.
    """
    seeds = [seed for seed in command.seeds if seed is not None]
    if len(seeds) < len(adapters) or group.ended.all():
        return _step_together(group, adapters, command, beats)
    group.reset(seeds)
    beats += 1
    rows = [adapter.reset(seed) for adapter, seed in zip(adapters, seeds, strict=True)]
    for actions in zip(*command.actions, strict=False):
        if group.ended.any():
            break
        step = Command([None] * len(adapters), [action[None] for action in actions], [])
        rows = _step_together(group, adapters, step, beats)
    return rows


def _step_together(
    group: VectorGroup, adapters: list[Adapter], command: Command, beats: np.ndarray
) -> list[Row]:
    """Step a vector environment; it resets by itself the episodes that have ended."""
    none = np.zeros(adapters[0].spec.action.size, np.float32)
    actions = [none if len(given) == 0 else given[0] for given in command.actions]
    group.step([a.decode(action) for a, action in zip(adapters, actions, strict=True)])
    beats += 1
    return [
        adapter.step(action) if seed is None else adapter.reset(seed)
        for adapter, action, seed in zip(adapters, actions, command.seeds, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a pool shares with its workers."""

    rows: Rows
    beats: np.ndarray
    """(n,) int64: resets and steps that each environment has finished."""


def memory_size(spec: EnvSpec, num_envs: int) -> int:
    """Return the bytes that the memory of all environments takes."""
    return _layout(spec, num_envs)[1]


def map_memory(spec: EnvSpec, num_envs: int, buffer: Any) -> Memory:
    """Lay the arrays of all environments over a writable buffer."""
    offsets, _ = _layout(spec, num_envs)
    arrays = {
        name: np.ndarray((num_envs, *shape), dtype, buffer, offsets[name])
        for name, (shape, dtype) in _fields(spec).items()
    }
    beats = arrays.pop(_BEATS)
    return Memory(arrays, beats)


def _fields(spec: EnvSpec) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return row_fields(spec) | {_BEATS: ((), np.dtype(np.int64))}


def _layout(spec: EnvSpec, num_envs: int) -> tuple[dict[str, int], int]:
    offsets: dict[str, int] = {}
    at = 0
    for name, (shape, dtype) in _fields(spec).items():
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

    def allocate(self, spec: EnvSpec, num_envs: int) -> Memory:
        """Size the memory and return its arrays."""
        size = memory_size(spec, num_envs)
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        return map_memory(spec, num_envs, self._map)

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
        self._memory: Memory | None = None
        self._command: Command | None = None

    def launch(self) -> None:
        """Throw the environments away."""
        self.close()

    def ready(self) -> Found:
        """Build the environments and return what they look like."""
        self._shard = shard = _guarded(self._make)
        return shard.found

    def attach(self, memory: Memory) -> None:
        """Write rows into these arrays from now on."""
        self._memory = memory

    def submit(self, command: Command) -> None:
        """Take a command."""
        self._command = command

    def collect(self, timeout_s: float) -> list[LabelView | None]:
        """Carry the command out. A hang here hangs the caller: ``timeout_s`` has no effect."""
        shard, command, memory = self._shard, self._command, self._memory
        assert shard is not None and command is not None and memory is not None
        return _guarded(lambda: shard.run(command, memory))

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
        raise WorkerDied(*told(error)) from error


def told(error: BaseException) -> tuple[str, str]:
    """Return an error in one line, and its traceback."""
    words = f"{type(error).__name__}: {error}".split()
    return " ".join(words).rstrip(":"), "".join(traceback.format_exception(error))
