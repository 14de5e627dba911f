"""Steps environments in a process of its own.

A worker process is started as a plain new interpreter, not by ``multiprocessing``: that would
import the user's main module again, and with it JAX. Rows travel in anonymous shared memory, which
the system frees by itself whoever dies, commands and label pictures in a socket.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from sensei.envs.config import EnvConfig
from sensei.envs.contract import LabelView
from sensei.envs.health import WorkerDied
from sensei.envs.shard import Command, Found, Memory, SharedRows, make_shard, map_memory, told
from sensei.types import SenseiError

_TIDY_S = 3.0
"""Time for a worker to close its environments before it is ended."""
_START_S = 120.0
"""Least time a worker gets for imports and for building its environments."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "0"}
"""For a worker's libraries, software drawing (LLVMpipe) included: the workers are the parallelism.
"""


class ProcessWorker:
    """Steps its environments in a process of its own, which can be killed and started again."""

    def __init__(
        self,
        config: EnvConfig,
        seed: int,
        indices: range,
        memory: SharedRows,
        scratch: str,
    ) -> None:
        """Remember what to build; ``launch`` starts the process.

        ``scratch`` is the folder for its temporary files, which a killed process leaves behind.
        """
        self.indices = indices
        self._config, self._seed, self._memory, self._scratch = config, seed, memory, scratch
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._beats = self._beats_sent = np.zeros(0, np.int64)
        self._moves: list[int] = []
        self._sent_at = 0.0

    def launch(self) -> None:
        """Start a fresh process; it builds its environments while the caller goes on."""
        self.kill()
        ours, theirs = socket.socketpair()
        code = f"from sensei.envs.worker import main; main({theirs.fileno()}, {self._memory.fd})"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(), self._memory.fd),
                env=os.environ
                | _ONE_THREAD
                | {"PYTHONPATH": import_path(), "TMPDIR": self._scratch},
            )
        self._connection = Connection(ours.detach())
        self._say((self._config, self._seed, self.indices))

    def ready(self) -> Found:
        """Wait until the environments are built and return what they look like."""
        timeout_s = max(_START_S, self._config.timeout_s)
        if not self._answered(timeout_s):
            raise WorkerDied(
                f"not built within {timeout_s:g} s (more: --env.timeout-s {5 * timeout_s:g})"
            )
        return self._hear()

    def attach(self, memory: Memory) -> None:
        """Tell the process that the memory has its size: all rows of the pool."""
        self._beats = memory.beats[self.indices.start : self.indices.stop]
        self._say(len(memory.beats))

    def submit(self, command: Command) -> None:
        """Send a command; the process starts on it at once."""
        self._sent_at = time.monotonic()
        self._beats_sent, self._moves = self._beats.copy(), command.moves
        self._say(command)

    def collect(self, timeout_s: float) -> list[LabelView | None]:
        """Wait for the answer to the last command.

        It may take as long as it takes, but no environment more than ``timeout_s`` for a move, or
        twice that where the one before was quick.
        """
        before, wait_s = self._beats_sent, self._sent_at + timeout_s - time.monotonic()
        while not self._answered(wait_s):
            beats = self._beats.copy()
            if (beats == before).all():
                late = int((beats - self._beats_sent < self._moves).argmax())
                raise WorkerDied(
                    f"environment {self.indices[late]} gave no answer for {timeout_s:g} s"
                )
            before, wait_s = beats, timeout_s
        return self._hear()

    def kill(self) -> None:
        """End the process at once."""
        self._end(grace_s=0.0)

    def close(self) -> None:
        """Let the process close its environments, and end it if that takes more than seconds."""
        self._end(grace_s=_TIDY_S)

    def _end(self, grace_s: float) -> None:
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is None:
            return
        if grace_s == 0.0:
            process.kill()
        elif process.stdin is not None and process.poll() is None:
            # The closed socket tells an idle worker to leave.
            _wait(process, grace_s)
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _say(self, message: Any) -> None:
        assert self._connection is not None
        # A dead worker takes no message; waiting for its answer finds out and says why.
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def _answered(self, timeout_s: float) -> bool:
        assert self._connection is not None
        with contextlib.suppress(OSError):  # the reading that follows says why
            return self._connection.poll(max(timeout_s, 0.0))
        return True

    def _hear(self) -> Any:
        assert self._connection is not None
        try:
            kind, content = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied(self._how_it_died()) from error
        if kind == "ours":
            raise content
        if kind == "foreign":
            raise WorkerDied(*content)
        return content

    def _how_it_died(self) -> str:
        assert self._process is not None
        code = _wait(self._process, 2.0)
        if code is None:
            return "the worker closed its connection"
        if code < 0:
            return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def import_path() -> str:
    """Everything that this process can import, as a PYTHONPATH for one that it starts."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)


def main(socket_fd: int, memory_fd: int) -> None:
    """Serve one pool from a worker process until its socket closes."""
    # Ctrl-C reaches the whole terminal; the learner decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    connection = Connection(socket_fd)
    # The pool closing its end is how a worker is told to leave.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        config, seed, indices = connection.recv()
        shard = _answer(connection, lambda: make_shard(config, seed, indices), lambda s: s.found)
        with contextlib.closing(shard):
            num_envs = connection.recv()
            memory = map_memory(shard.found.spec, num_envs, mmap.mmap(memory_fd, 0))
            while True:
                command = connection.recv()
                _answer(connection, lambda command=command: shard.run(command, memory), lambda x: x)
    # If the pool was killed, the last worker to leave removes their folder; else it is not empty
    # or not there.
    with contextlib.suppress(OSError):
        os.rmdir(os.environ["TMPDIR"])


def _answer(connection: Connection, call: Any, show: Any) -> Any:
    """Call, and send the result or the failure; after a failure this process is of no more use."""
    try:
        result = call()
    except SenseiError as error:
        connection.send(("ours", error))
        sys.exit(1)
    except Exception as error:
        connection.send(("foreign", told(error)))
        sys.exit(1)
    connection.send(("done", show(result)))
    return result


def _leave_with_parent() -> None:
    """End this process when its parent is gone: then the inherited stdin ends."""
    os.read(0, 1)
    # An idle worker sees its socket close and leaves tidily; one that hangs is ended here.
    time.sleep(_TIDY_S)
    os._exit(0)
