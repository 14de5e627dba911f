"""Which questions about the pairs of a label store are still open."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sensei.annotate.annotator import AnnotatorConfig
from sensei.data.label_store import LabelStore
from sensei.data.records import Order, Pair, Query

CHUNK = 256
"""Pairs whose frames are in memory at once."""


def pending(
    store: LabelStore,
    annotator: str,
    config: AnnotatorConfig,
    after: int = 0,
    last: int | None = None,
) -> Iterator[list[Query]]:
    """Yield the unanswered questions about pairs of ids beyond ``after`` and up to ``last``, those
    of some hundred pairs at a time."""
    left = config.max_pairs
    while pairs := [p for p in store.pairs(after, CHUNK) if last is None or p.id <= last]:
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
