"""Rate limits hold in every minute, by a clock that nobody waits for."""

import asyncio

import pytest

from sensei.annotate.limits import Limiter


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


def times(limiter, clock, requests, tokens=0):
    async def go():
        sent = []
        for _ in range(requests):
            await limiter.wait()
            sent.append(clock.now - 100.0)
            limiter.took(tokens)
        return sent

    return asyncio.run(go())


def make(**limits):
    clock = Clock()
    return Limiter(**limits, clock=clock, sleep=clock.sleep), clock


def test_without_limits_nobody_waits():
    assert times(*make(), 100, 1000)[-1] == 0.0


def test_requests_are_spaced():
    sent = times(*make(requests_per_minute=120.0), 5)
    assert sent == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_tokens_are_spaced_by_what_they_took():
    sent = times(*make(tokens_per_minute=6000.0), 4, 300)
    assert sent == pytest.approx([0.0, 3.0, 6.0, 9.0])


def test_after_a_refusal_everybody_waits():
    limiter, clock = make()
    limiter.refused(7.0)
    assert times(limiter, clock, 2) == pytest.approx([7.0, 7.0])
