"""Where long work stands: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections import deque
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

PERIOD, CHANGES = 120.0, 20
"""Speed is that of the last two minutes, so that what goes faster or slower than the rest, such as
steps before the first update, is soon forgotten; and of at least twenty changes, because a study's
runs take an hour each."""


class Progress:
    """Show stage, amount done, speed, time left and any further fields.

    Nothing before the first ``update`` counts, so work that an earlier, interrupted process did is
    not counted as done in no time.
    """

    def __init__(
        self,
        stage: str,
        total: int | float,
        unit: str = "steps",
        *,
        stream: TextIO | io.StringIO | None = None,
        every: int | float = 30.0,
    ) -> None:
        """Args:
        stage: what the line is headed with.
        total: the amount at which the work is done, in ``unit``.
        stream: standard error unless given; a terminal gets a live line.
        every: seconds between two plain lines.
        """
        self.stage, self.total, self.unit = stage, total, unit
        self._stream = stream or sys.stderr
        self._every = every
        self._live: Live | None = None
        self._seen: deque[tuple[float, float]] = deque()  # when how much had just been done
        self._last_line = time.monotonic()
        self._line = ""

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            console = Console(file=self._stream)
            live = Live(console=console, refresh_per_second=4, redirect_stdout=False)
            live.start()
            self._live = live
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._line:
            self._print()

    def update(self, done: int | float, **fields: Any) -> None:
        """Tell that ``done`` of the total is done; ``fields`` are shown as they are."""
        now = time.monotonic()
        if not self._seen or done != self._seen[-1][1]:
            self._seen.append((now, done))
        while len(self._seen) > CHANGES and now - self._seen[1][0] >= PERIOD:
            self._seen.popleft()
        self._line = self._format(done, now, fields)
        if self._live is not None:
            self._live.update(Text(self._line, overflow="ellipsis", no_wrap=True))
        elif now - self._last_line >= self._every:
            self._print()

    def _print(self) -> None:
        print(self._line, file=self._stream, flush=True)
        self._last_line, self._line = time.monotonic(), ""

    def _format(self, done: int | float, now: float, fields: dict[str, Any]) -> str:
        share = f"{100 * done / self.total:.0f} %" if self.total else ""
        parts = [f"{self.stage} {done:,.0f}/{self.total:,.0f} {self.unit} {share}".rstrip()]
        speed = self._speed(done, now)
        if speed:
            left = duration((self.total - done) / speed)
            parts.append(f"{speed:,.1f} {self.unit}/s, {left} left")
        parts += [f"{name} {_short(value)}" for name, value in fields.items()]
        return " · ".join(parts)

    def _speed(self, done: int | float, now: float) -> float:
        began, first = self._seen[0]
        return (done - first) / (now - began) if now > began else 0.0


def duration(seconds: int | float) -> str:
    """Write seconds as a person would: ``48 s``, ``12 min``, ``3 h 05 min``, ``2.5 days``."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / (24 * 60):.1f} days"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
