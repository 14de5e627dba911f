"""The progress line says how far, how fast, how long still."""

from __future__ import annotations

import io

import pytest

from sensei.run import progress
from sensei.run.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_plain_lines_now_and_then(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("explore", 1000, stream=stream, every=30.0) as line:
        for done in (200, 300, 400, 420):
            line.update(done, loss=0.123456, key=3)
            clock.now += 20
    first, last = stream.getvalue().splitlines()
    # 200 steps since the first update, in 40 s; what came before it was not done here.
    assert first == "explore 400/1,000 steps 40 % · 5.0 steps/s, 2 min left · loss 0.123 · key 3"
    assert last.startswith("explore 420/1,000 steps 42 %")


def test_a_fast_beginning_is_soon_forgotten(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("explore", 10_000, stream=stream, every=0.0) as line:
        for second in range(141):
            clock.now += 1.0
            line.update(min(100 * second, 2_000) + 10 * max(second - 20, 0))
    lines = stream.getvalue().splitlines()
    assert lines[20].endswith("100.0 steps/s, 80 s left")
    assert lines[140].endswith("10.0 steps/s, 11 min left")


def test_every_run_of_an_hour_counts(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("study", 8, "runs", stream=stream, every=0.0) as line:
        for done in range(4):
            line.update(done)
            clock.now += 3600.0
    assert stream.getvalue().splitlines()[-1].endswith("5 h 00 min left")


def test_terminal_gets_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with Progress("annotate", 10, "pairs", stream=stream) as line:
        line.update(5, money="0.10 $")
    assert "annotate 5/10 pairs 50 %" in stream.getvalue()


def test_nothing_to_do_prints_nothing() -> None:
    stream = io.StringIO()
    with Progress("collect", 0, stream=stream):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (48, "48 s"),
        (600, "10 min"),
        (3 * 3600 + 300, "3 h 05 min"),
        (216_000, "2.5 days"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
