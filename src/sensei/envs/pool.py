"""Several copies of one environment in lockstep, on worker processes that may crash.

The pool owns what must survive a worker: which episode each environment is in and the seed of that
episode. So the bytes it returns do not depend on the number of processes, and an unfinished episode
can be re-enacted after a restart of the whole program.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import weakref
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from jaxtyping import Float32, Int64

from sensei.envs.config import EnvConfig
from sensei.envs.contract import LabelView
from sensei.envs.health import Health, WorkerDied
from sensei.envs.shard import (
    Command,
    Found,
    LocalWorker,
    Memory,
    Rows,
    SharedRows,
    map_memory,
    memory_size,
)
from sensei.envs.worker import ProcessWorker
from sensei.types import SenseiError, UsageError

log = logging.getLogger(__name__)

Worker = LocalWorker | ProcessWorker
LONG_EPISODE = 10_000
"""Steps without an end after which a warning asks whether the environment has one."""


def episode_seed(run_seed: int, env: int, episode: int) -> int:
    """Return the seed of an episode, a hash of the three numbers, in [0, 2³¹)."""
    state = np.random.SeedSequence([run_seed, env, episode]).generate_state(1)
    return int(state[0]) & 0x7FFF_FFFF


class EnvPool:
    """N environments, one row each per call. Close it, or use it as a context manager."""

    def __init__(self, env: EnvConfig, seed: int) -> None:
        """Start the workers and wait until their environments are built.

        Raises
        ------
        SenseiError
            When the environment cannot be made or used.
        """
        if env.num_envs < 1 or env.processes < 0:
            raise UsageError(
                f"--env.num-envs {env.num_envs} --env.processes {env.processes}:"
                " give at least 1 environment and 0 or more processes"
            )
        self.config, self.seed, self.num_envs = env, seed, env.num_envs
        self.restarts = 0
        self._shared = SharedRows()
        scratch = tempfile.TemporaryDirectory(prefix="sensei-envs-")
        self._workers = _make_workers(env, seed, self._shared, scratch.name)
        self._finalizer = weakref.finalize(self, _shut, self._workers, self._shared, scratch)
        self._episode = np.full(self.num_envs, -1, np.int64)
        self._ended = np.ones(self.num_envs, np.bool_)
        self._health = [Health(env.name, worker.indices) for worker in self._workers]
        self._length = np.zeros(self.num_envs, np.int64)
        self._sent: list[Command | None] = []
        self._sent_wants = np.zeros(self.num_envs, np.bool_)
        self._start()

    @property
    def episode_index(self) -> Int64[np.ndarray, " n"]:
        """The number of each environment's current episode, from 0; -1 before the first call."""
        return self._episode.copy()

    def step(
        self, actions: Float32[np.ndarray, "n a"], want_label: np.ndarray | None = None
    ) -> tuple[Rows, list[LabelView | None]]:
        """Advance every environment by one row.

        An environment whose last row was ``is_last`` (and each at the first call) is reset instead
        and its action ignored. ``want_label`` (N,) asks for label views of the new rows.
        """
        self.step_async(actions, want_label)
        return self.step_wait()

    def step_async(
        self, actions: Float32[np.ndarray, "n a"], want_label: np.ndarray | None = None
    ) -> None:
        """Start ``step``; the worker processes run until ``step_wait``."""
        expected = (self.num_envs, self.spec.action.size)
        if actions.shape != expected:
            raise SenseiError(f"actions have shape {actions.shape}; give {expected}")
        if self._sent:
            raise SenseiError("step_async was called twice; call step_wait in between")
        wants = np.zeros(self.num_envs, np.bool_) if want_label is None else want_label
        self._episode[self._ended] += 1
        none = actions[:0]
        todo = [none if over else actions[i : i + 1] for i, over in enumerate(self._ended)]
        self._send(self._ended.copy(), todo, wants)

    def step_wait(self) -> tuple[Rows, list[LabelView | None]]:
        """Finish the ``step_async`` before; a worker that fails is restarted with new episodes."""
        return self._receive()

    def restore(
        self, episode_index: Int64[np.ndarray, " n"], actions: Sequence[Float32[np.ndarray, "_ a"]]
    ) -> Rows:
        """Re-enact unfinished episodes and return each environment's last row.

        Each environment is reset with the seed of its episode and takes its actions again, so a
        deterministic one is where it was. ``actions[i]`` (t_i, A); t_i = 0 is just a reset.
        """
        if len(actions) != self.num_envs or (episode_index < 0).any():
            raise SenseiError(
                f"cannot restore episodes {episode_index.tolist()} with {len(actions)} lists of"
                f" actions; give {self.num_envs} started episodes and a list for each"
            )
        self._episode = episode_index.astype(np.int64)
        everyone = np.ones(self.num_envs, np.bool_)
        nobody = np.zeros(self.num_envs, np.bool_)
        self._send(everyone, [np.asarray(a, np.float32) for a in actions], nobody)
        rows, _ = self._receive()
        return rows

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> EnvPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        try:
            for worker in self._workers:
                worker.launch()
            found = self._await_ready(0, self._workers[0])
            self.spec, self.found = found.spec, found.lines
            self._memory = self._allocate()
            for number, worker in enumerate(self._workers):
                self._attach(number, worker)
        except BaseException:
            self.close()
            raise

    def _await_ready(self, number: int, worker: Worker) -> Found:
        while True:
            try:
                return worker.ready()
            except WorkerDied as death:
                self._count_death(number, death)
                worker.launch()

    def _allocate(self) -> Memory:
        if self.config.processes > 0:
            return self._shared.allocate(self.spec, self.num_envs)
        buffer = bytearray(memory_size(self.spec, self.num_envs))
        return map_memory(self.spec, self.num_envs, buffer)

    def _attach(self, number: int, worker: Worker) -> None:
        # Worker 0 has already answered when its spec was read.
        if number > 0 and (spec := self._await_ready(number, worker).spec) != self.spec:
            raise SenseiError(
                f"copies of {self.config.name} differ: {spec} and {self.spec};"
                " make the spaces independent of the seed"
            )
        worker.attach(self._memory)

    def _send(self, resets: np.ndarray, actions: list[np.ndarray], wants: np.ndarray) -> None:
        self._sent_wants = wants
        self._sent = []
        for worker in self._workers:
            mine = worker.indices
            command = Command(
                seeds=[self._seed_of(i) if resets[i] else None for i in mine],
                actions=[actions[i] for i in mine],
                want_label=[bool(wants[i]) for i in mine],
            )
            worker.submit(command)
            self._sent.append(command)

    def _seed_of(self, env: int) -> int:
        return episode_seed(self.seed, env, int(self._episode[env]))

    def _receive(self) -> tuple[Rows, list[LabelView | None]]:
        if not self._sent:
            raise SenseiError("step_wait was called without step_async")
        labels: list[LabelView | None] = []
        try:
            for number, worker in enumerate(self._workers):
                labels += self._collect(number, worker)
        except BaseException:
            self.close()
            raise
        self._sent = []
        rows = {name: array.copy() for name, array in self._memory.rows.items()}
        self._ended = rows["is_last"].copy()
        for worker, health in zip(self._workers, self._health, strict=True):
            health.lived(self._ended[worker.indices.start : worker.indices.stop])
        self._watch_lengths(rows["is_first"])
        return rows, labels

    def _collect(self, number: int, worker: Worker) -> list[LabelView | None]:
        try:
            return worker.collect(self.config.timeout_s)
        except WorkerDied as first:
            death = first
        while True:
            self._count_death(number, death)
            try:
                return self._begin_anew(worker)
            except WorkerDied as another:
                death = another

    def _count_death(self, number: int, death: WorkerDied) -> None:
        self.restarts += 1
        self._health[number].died(death)

    def _watch_lengths(self, first: np.ndarray) -> None:
        """Ask about an environment that seems to have no end."""
        known = self._length.max() >= LONG_EPISODE
        self._length = np.where(first, 0, self._length + 1)
        if not known and self._length.max() >= LONG_EPISODE:
            log.warning(
                "environment %d of %s has not ended for %s steps: if it has no end of its own,"
                " give --env.time-limit",
                *(self._length.argmax(), self.config.name, f"{LONG_EPISODE:,}"),
            )

    def _begin_anew(self, worker: Worker) -> list[LabelView | None]:
        """Start a worker again, each of its environments in its next episode."""
        worker.launch()
        worker.ready()
        worker.attach(self._memory)
        mine = worker.indices
        self._episode[mine.start : mine.stop] += 1
        none = np.zeros((0, self.spec.action.size), np.float32)
        command = Command(
            seeds=[self._seed_of(i) for i in mine],
            actions=[none for _ in mine],
            want_label=[bool(self._sent_wants[i]) for i in mine],
        )
        worker.submit(command)
        return worker.collect(self.config.timeout_s)


def _make_workers(env: EnvConfig, seed: int, memory: SharedRows, scratch: str) -> list[Worker]:
    """Spread the environments evenly over the processes; 0 processes is one local worker."""
    if env.processes == 0:
        return [LocalWorker(env, seed, range(env.num_envs))]
    count = min(env.processes, env.num_envs)
    edges = [env.num_envs * i // count for i in range(count + 1)]
    parts = [range(low, high) for low, high in itertools.pairwise(edges)]
    return [ProcessWorker(env, seed, part, memory, scratch) for part in parts]


def _shut(
    workers: list[Worker], memory: SharedRows, scratch: tempfile.TemporaryDirectory[str]
) -> None:
    for worker in workers:
        worker.close()
    memory.close()
    scratch.cleanup()
