"""Keeping below a server's rate limits."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

MINUTE = 60.0


@dataclasses.dataclass
class Limiter:
    """Spaces requests evenly, so that neither limit is exceeded in any minute.

    Each request takes a slot of ``60 / requests_per_minute`` seconds and another of its expected
    tokens' time; what it really took is settled by ``took``. A refusal with Retry-After stops
    everybody, not only the request refused.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    expected_tokens: float = 0.0
    """What a request is assumed to take: the mean of those that were settled."""
    _settled: int = 0
    _next: float = 0.0
    _next_tokens: float = 0.0

    async def wait(self) -> None:
        """Wait for this request's turn."""
        now = self.clock()
        start = max(now, self._next, self._next_tokens)
        self._next = start
        if self.requests_per_minute is not None:
            self._next = start + MINUTE / self.requests_per_minute
        if self.tokens_per_minute is not None:
            self._next_tokens = start + self.expected_tokens * MINUTE / self.tokens_per_minute
        if start > now:
            await self.sleep(start - now)

    def took(self, tokens: int) -> None:
        """Settle a request whose tokens are known."""
        if self.tokens_per_minute is not None:
            surplus = tokens - self.expected_tokens
            self._next_tokens += surplus * MINUTE / self.tokens_per_minute
        self._settled += 1
        self.expected_tokens += (tokens - self.expected_tokens) / self._settled

    def refused(self, retry_after_s: float) -> None:
        """Let nobody send before the server wants to hear from us."""
        self._next = max(self._next, self.clock() + retry_after_s)
