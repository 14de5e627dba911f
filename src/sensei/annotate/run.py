"""Ask an annotator about the pairs of a label store: only what is missing, saved as it comes."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import hashlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer, Frame, Order, Pair, Query
from sensei.types import SenseiError

CHUNK = 256
"""Pairs whose frames are in memory at once."""
SAVE_ANSWERS, SAVE_SECONDS = 64, 1.0
"""Answers are committed when there are this many, or after this long."""
CENT_DUST = 1e-9
"""Dollars that sums of floating-point prices may be off."""
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
    seconds: float
    stopped: str
    """Empty, or why questions were left out."""


def annotate(
    store: LabelStore,
    annotator: Annotator,
    config: AnnotatorConfig,
    on_progress: Progress | None = None,
) -> AnnotateSummary:
    """Ask every question that has no answer yet; failed ones are asked again.

    Args:
        store: where the pairs are and the answers go, committed in small batches: whatever ends
            this run, the next one continues.
        annotator: who is asked.
        config: orders, repeats, concurrency, max_pairs and budget.
        on_progress: called with (done, total, {"money", "failed"}) after each commit.

    Raises:
        SenseiError: the annotator cannot work (server unreachable, key refused), or the first
            requests all fail. KeyboardInterrupt and the like pass through; answers so far are kept.
    """
    prompt = getattr(annotator, "prompt", None)
    if prompt is not None:
        store.remember_prompt(prompt.hash, prompt.name, prompt.version, prompt.body)
    session = _Session(store, annotator, config, on_progress)
    started = time.perf_counter()
    try:
        _run(session.work())
    finally:
        session.save()
    return session.summary(time.perf_counter() - started)


def pending(store: LabelStore, annotator: str, config: AnnotatorConfig) -> Iterator[list[Query]]:
    """Yield the unanswered questions, those of some hundred pairs at a time."""
    after, left = 0, config.max_pairs
    while pairs := store.pairs(after, CHUNK):
        after = pairs[-1].id
        answered = store.answered(annotator, pairs)
        chunk: list[Query] = []
        for pair in pairs:
            questions = [
                q for q in _questions(pair, config) if (q.pair, q.order, q.repeat) not in answered
            ]
            if questions and left is not None:
                if left == 0:
                    break
                left -= 1
            chunk += questions
        if chunk:
            yield chunk


def _questions(pair: Pair, config: AnnotatorConfig) -> Iterator[Query]:
    orders: tuple[Order, ...] = ("forward",)
    if config.orders == "both":
        orders = ("forward", "swapped")
    elif config.orders == "random":
        digest = hashlib.sha256(f"{pair.first},{pair.second}".encode()).digest()
        orders = ("swapped",) if digest[0] & 1 else ("forward",)
    for order in orders:
        for repeat in range(config.repeats):
            yield Query(pair.id, pair.first, pair.second, order, repeat)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; in a thread where a loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


class _Session:
    """One run of ``annotate``: the open questions, the unsaved answers, the counters."""

    def __init__(
        self,
        store: LabelStore,
        annotator: Annotator,
        config: AnnotatorConfig,
        on_progress: Progress | None,
    ) -> None:
        self.store, self.annotator, self.config = store, annotator, config
        self.on_progress = on_progress
        self.open = sum(map(len, pending(store, annotator.name, config)))
        self.chunks = pending(store, annotator.name, config)
        self.queue: collections.deque[Query] = collections.deque()
        self.frames: dict[int, Frame] = {}
        self.unsaved: list[tuple[Query, Answer]] = []
        self.saved_at = time.perf_counter()
        self.count: collections.Counter[str] = collections.Counter()
        self.tokens, self.in_flight = 0, 0
        self.money: float | None = 0.0
        self.dearest = 0.0  # the most a single answer has cost
        self.spent_before = store.money()
        self.stopped = ""

    async def work(self) -> None:
        """Ask the first question alone, which shows cheaply what is wrong; then many at once."""
        try:
            await self._ask_next()
            async with asyncio.TaskGroup() as group:
                for _ in range(self.config.concurrency):
                    group.create_task(self._worker())
        except ExceptionGroup as group:  # one worker's reason is the reason
            raise _first(group) from None
        finally:
            close = getattr(self.annotator, "aclose", None)
            if close is not None:
                await close()

    async def _worker(self) -> None:
        while await self._ask_next():
            pass

    async def _ask_next(self) -> bool:
        """Ask one question; False when there is none left or no money for it."""
        taken = self._take()
        if taken is None:
            return False
        query, first, second = taken
        self.in_flight += 1
        try:
            answer = await self.annotator.compare(first, second)
        finally:
            self.in_flight -= 1
        self._keep(query, answer)
        return True

    def _take(self) -> tuple[Query, Frame, Frame] | None:
        budget = self.config.budget
        if budget is not None:
            committed = self.spent_before + (self.money or 0.0) + self.in_flight * self.dearest
            if committed + self.dearest > budget + CENT_DUST or committed >= budget - CENT_DUST:
                self.stopped = f"the budget of ${budget:g} is spent"
                return None
        if not self.queue and not self._refill():
            return None
        query = self.queue.popleft()
        first, second = query.shown
        return query, self.frames[first], self.frames[second]

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
        self.count[answer.status] += 1
        self.tokens += answer.tokens_in + answer.tokens_out
        if answer.money is None or self.money is None:
            self.money = None
        else:
            self.money += answer.money
            self.dearest = max(self.dearest, answer.money)
        late = time.perf_counter() - self.saved_at > SAVE_SECONDS
        if late or len(self.unsaved) >= SAVE_ANSWERS:
            self.save()
        if self.count["failed"] >= GIVE_UP and self.count["failed"] == self.count.total():
            raise SenseiError(
                f"the first {GIVE_UP} questions to {self.annotator.name} all failed, the last with "
                f"{answer.error!r}: correct the --annotator options and run again"
            )

    def save(self) -> None:
        """Commit the answers so far and say how far it is."""
        if self.unsaved:
            self.store.record_many(self.annotator.name, self.annotator.prompt_hash, self.unsaved)
        self.unsaved = []
        self.saved_at = time.perf_counter()
        if self.on_progress is not None:
            fields = {"money": self.money, "failed": self.count["failed"]}
            self.on_progress(self.count.total(), self.open, fields)

    def summary(self, seconds: float) -> AnnotateSummary:
        return AnnotateSummary(
            annotator=self.annotator.name,
            asked=self.count.total(),
            labelled=self.count["labelled"],
            unknown=self.count["unknown"],
            failed=self.count["failed"],
            pending=self.open - self.count["labelled"] - self.count["unknown"],
            tokens=self.tokens,
            money=self.money,
            seconds=seconds,
            stopped=self.stopped,
        )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
