"""Stopping politely: the first Ctrl-C or SIGTERM asks, the second interrupts."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, note SIGINT and SIGTERM instead of dying in the middle of a step.

    A loop looks at ``requested`` where its state is whole, saves, and raises ``Stopped``::

        with Interrupts() as interrupts:
            while not done and not interrupts.requested:
                step()
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        # Python delivers signals to the main thread only; elsewhere nothing can be installed.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
