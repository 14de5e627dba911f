"""One run over the open questions: claims, budget, concurrency, what is saved when."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from collections.abc import Callable
from typing import Any

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.attempts import sent_again
from sensei.annotate.budget import PROBES, Budget, Estimate, expected
from sensei.annotate.questions import pending
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer, Frame, Query
from sensei.types import SenseiError

BATCH = 64
"""Questions to an oracle that are claimed and committed together; all others are asked one by one,
so that a kill leaves no more open than the requests in flight."""
SAVE_SECONDS = 1.0
"""Answers are committed at least this often."""
GIVE_UP = 20
"""Failures without a single answer after which the run stops."""

Progress = Callable[[int, int, dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class AnnotateSummary:
    """What one run of ``annotate`` did; JSON-able by ``dataclasses.asdict``."""

    annotator: str
    asked: int
    labelled: int
    unknown: int
    failed: int
    pending: int
    """Questions that are still open: not reached, or failed."""
    tokens: int
    money: float | None
    """Dollars of this run; None where the price is unknown."""
    requests: int
    """Requests of this run, retries included."""
    unaccounted: int
    """Those of them that may have been charged without the reply that says how much."""
    wire: str
    """How the last question was asked; empty where there is no wire."""
    seconds: float
    stopped: str
    """Empty, or why questions were left out."""


class Session:
    """One run of ``annotate``: the open questions, the unsaved answers, the counters."""

    def __init__(
        self,
        store: LabelStore,
        annotator: Annotator,
        config: AnnotatorConfig,
        on_progress: Progress | None,
        on_estimate: Callable[[Estimate], None] | None,
        after: int = 0,
        last: int | None = None,
    ) -> None:
        self.store, self.annotator, self.config = store, annotator, config
        self.on_progress, self.on_estimate = on_progress, on_estimate
        asked = (store, annotator.name, config, after, last)
        self.open, self.chunks = sum(map(len, pending(*asked))), pending(*asked)
        self.queue: collections.deque[Query] = collections.deque()
        self.claimed: collections.deque[Query] = collections.deque()
        self.cut: list[Query] = []  # whose requests were out when the run was stopped
        self.frames: dict[int, Frame] = {}
        self.batch = BATCH if config.kind in ("oracle", "noisy") else 1
        self.unsaved: list[tuple[Query, Answer]] = []
        self.shown_at = 0.0
        self.count: collections.Counter[str] = collections.Counter()
        self.elsewhere, self.in_flight = 0, 0
        self.money: float | None = 0.0
        self.budget = Budget(store, config.budget, config.token_budget)
        self.wire, self.stopped = "", ""

    async def work(self) -> None:
        """Ask the first few questions alone, which shows cheaply what is wrong; then many."""
        try:
            await self._prepare()
            while self.count["asked"] < PROBES and await self._ask_next():
                pass
            if self.count["tokens"] and self.on_estimate is not None:
                left = self.open - self.count["asked"]
                name, places = self.annotator.name, self.config.concurrency
                self.on_estimate(expected(self.store, name, left, places))
            async with asyncio.TaskGroup() as group:
                for _ in range(self.config.concurrency):
                    group.create_task(self._worker())
        except ExceptionGroup as group:  # one worker's reason is the reason
            raise _first(group) from None
        finally:
            close = getattr(self.annotator, "aclose", None)
            if close is not None:
                await close()

    async def _prepare(self) -> None:
        """Let the annotator see one frame first, if it wants to (a general prompt does)."""
        prepare = getattr(self.annotator, "prepare", None)
        if prepare is not None and (self.queue or self._refill()):
            await prepare(self.store, self.frames[self.queue[0].first])

    async def _worker(self) -> None:
        while await self._ask_next():
            pass

    async def _ask_next(self) -> bool:
        """Ask one question; False when there is none left or no budget for it."""
        self.stopped = self.budget.refuses(self.in_flight)
        if self.stopped or not (self.claimed or self._claim()):
            return False
        query = self.claimed.popleft()
        first, second = (self.frames[frame] for frame in query.shown)
        self.in_flight += 1
        sent_again.set(lambda: self.store.ledger.sent_again(self.annotator.name, query))
        try:
            answer = await self.annotator.compare(first, second)
        except (asyncio.CancelledError, KeyboardInterrupt):
            (self.cut if self.count["requests"] else self.claimed).append(query)
            raise
        except BaseException:
            self.claimed.append(query)  # it came to nothing: released with those not yet asked
            raise
        finally:
            self.in_flight -= 1
        self._keep(query, answer)
        return True

    def _claim(self) -> bool:
        """Claim the next questions that no other process asks; False when there is none."""
        while self.queue or self._refill():
            wanted = [self.queue.popleft() for _ in range(min(self.batch, len(self.queue)))]
            won = self.store.ledger.claim(self.annotator.name, wanted)
            self.elsewhere += len(wanted) - len(won)
            if won:
                self.claimed.extend(won)
                return True
        return False

    def _refill(self) -> bool:
        """Load the next pairs' frames; those of questions in flight stay with their tasks."""
        chunk = next(self.chunks, None)
        if chunk is None:
            return False
        ids = sorted({frame for query in chunk for frame in query.shown})
        self.frames = {frame.id: frame for frame in self.store.frames(ids)}
        self.queue.extend(chunk)
        return True

    def _keep(self, query: Query, answer: Answer) -> None:
        self.unsaved.append((query, answer))
        self.count.update({"asked": 1, answer.status: 1, "requests": answer.requests})
        self.count["tokens"] += answer.tokens_in + answer.tokens_out
        self.count["unaccounted"] += answer.unaccounted
        self.wire = answer.wire or self.wire
        if answer.money is None or self.money is None:
            self.money = None
        else:
            self.money += answer.money
        self.budget.add(answer)
        if len(self.unsaved) >= self.batch or self._late():
            self.save()
        if self.count["failed"] >= GIVE_UP and self.count["failed"] == self.count["asked"]:
            raise SenseiError(
                f"the first {GIVE_UP} questions to {self.annotator.name} all failed, the last with "
                f"{answer.error!r}: correct the --annotator options and run again"
            )

    def _late(self) -> bool:
        return time.perf_counter() - self.shown_at > SAVE_SECONDS

    def save(self) -> None:
        """Commit the answers so far."""
        if self.unsaved:
            self.store.record_many(self.annotator.name, self.annotator.prompt_hash, self.unsaved)
        self.unsaved = []
        if self._late():
            self.show()

    def close(self) -> None:
        """Commit what there is, and give up the claims on what was not asked."""
        self.save()
        self.store.ledger.release(self.annotator.name, self.claimed)
        self.store.ledger.abandon(self.annotator.name, self.cut)
        self.show()

    def show(self) -> None:
        """Say how far it is."""
        self.shown_at = time.perf_counter()
        if self.on_progress is not None:
            fields = {"money": self.money, "failed": self.count["failed"]}
            self.on_progress(self.count["asked"], self.open, fields)

    def summary(self, seconds: float) -> AnnotateSummary:
        if self.elsewhere and not self.stopped:
            self.stopped = f"another process asks {self.elsewhere} of them"
        return AnnotateSummary(
            annotator=self.annotator.name,
            asked=self.count["asked"],
            labelled=self.count["labelled"],
            unknown=self.count["unknown"],
            failed=self.count["failed"],
            pending=self.open - self.count["labelled"] - self.count["unknown"],
            tokens=self.count["tokens"],
            money=self.money,
            requests=self.count["requests"],
            unaccounted=self.count["unaccounted"],
            wire=self.wire,
            seconds=seconds,
            stopped=self.stopped,
        )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
