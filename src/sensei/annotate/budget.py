"""What may still be spent, and what the open questions will take."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from sensei.data.label_store import LabelStore
from sensei.data.records import Answer

PROBES = 4
"""Questions after which the price of the others is estimated."""
DUST = 1e-9
"""Dollars that sums of floating-point prices may be off."""
REFRESH_SECONDS = 1.0
"""How old another process' spending may be in our sum."""


class Budget:
    """Compares what a label set has cost with what it may cost.

    Every request in flight, and every one that may have been charged without its cost being known,
    counts as much as the dearest answer so far: the limit is exceeded by no more than what answers
    get dearer.
    """

    def __init__(self, store: LabelStore, dollars: float | None, tokens: int | None) -> None:
        """Take the limits; None = no limit."""
        self._store, self._dollars, self._tokens = store, dollars, tokens
        self._dearest_money, self._dearest_tokens = 0.0, 0
        self.refresh(0)

    def refresh(self, in_flight: int) -> None:
        """Read what everybody has spent; ``in_flight`` of the claims are our own."""
        spent = self._store.ledger.spending()
        self._money, self._spent_tokens = spent.money, spent.tokens
        self._unknown = spent.unaccounted + max(0, spent.in_flight - in_flight)
        self._dearest_money = max(self._dearest_money, spent.dearest)
        self._dearest_tokens = max(self._dearest_tokens, spent.dearest_tokens)
        self._read_at = time.monotonic()

    def add(self, answer: Answer) -> None:
        """Count an answer that came after the last refresh."""
        tokens = answer.tokens_in + answer.tokens_out
        self._money += answer.money or 0.0
        self._spent_tokens += tokens
        self._unknown += answer.unaccounted
        self._dearest_money = max(self._dearest_money, answer.money or 0.0)
        self._dearest_tokens = max(self._dearest_tokens, tokens)

    def refuses(self, in_flight: int) -> str:
        """Say why no further question may be asked, or return an empty string."""
        if self._dollars is None and self._tokens is None:
            return ""
        if time.monotonic() - self._read_at > REFRESH_SECONDS:
            self.refresh(in_flight)
        unknown = self._unknown + in_flight
        if self._dollars is not None:
            committed = self._money + unknown * self._dearest_money
            if committed + max(self._dearest_money, 2 * DUST) > self._dollars + DUST:
                return f"the budget of ${self._dollars:g} is spent"
        if self._tokens is not None:
            committed = self._spent_tokens + unknown * self._dearest_tokens
            if committed + max(self._dearest_tokens, 1) > self._tokens:
                return f"the budget of {self._tokens:,} tokens is spent"
        return ""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What the open questions will take if they are like those asked so far."""

    questions: int
    tokens: int
    money: float | None
    """Dollars; None where no price is known."""
    seconds: float
    probes: int
    """Answers that this was estimated from."""
    wire: str

    def __str__(self) -> str:
        """Say it in one line."""
        price = "at no known price" if self.money is None else f"about ${self.money:.4g}"
        wire = f" over the wire {self.wire}" if self.wire else ""
        return (
            f"{self.questions:,} questions to go: {self.tokens:,} tokens, {price}, "
            f"{self.seconds / 60:.0f} minutes (from {self.probes} answers{wire})"
        )


def expected(store: LabelStore, annotator: str, questions: int, concurrency: int) -> Estimate:
    """Estimate from the stored answers what ``questions`` further ones will take."""
    table = store.answers(annotator)
    number = max(1, len(table))
    money = float(table.money.sum()) / number * questions
    return Estimate(
        questions=questions,
        tokens=round(int(table.tokens.sum()) / number * questions),
        money=None if np.isnan(money) else money,
        seconds=float(table.latency_s.sum()) / number * questions / concurrency,
        probes=len(table),
        wire=str(table.wire[-1]) if len(table) else "",
    )
