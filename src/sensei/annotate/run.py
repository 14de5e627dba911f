"""Ask an annotator about the pairs of a label store: only what is missing, saved as it comes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.budget import PROBES, Estimate, expected
from sensei.annotate.questions import pending
from sensei.annotate.session import AnnotateSummary, Progress, Session
from sensei.data.label_store import LabelStore

__all__ = ["AnnotateSummary", "Estimate", "annotate", "estimate"]


def annotate(
    store: LabelStore,
    annotator: Annotator,
    config: AnnotatorConfig,
    on_progress: Progress | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    after: int = 0,
    last: int | None = None,
) -> AnnotateSummary:
    """Ask every question that has no answer yet; failed ones are asked again.

    Args:
        store: where the pairs are and the answers go, committed in small batches: whatever ends
            this run, the next one continues.
        annotator: who is asked.
        config: orders, repeats, concurrency, max_pairs and the budgets.
        on_progress: called with (done, total, {"money", "failed"}) now and then.
        on_estimate: called once, when the first few answers have shown what the others will take;
            not for annotators that take no tokens.
        after: only pairs of higher ids are asked about.
        last: only pairs up to this id are.

    Raises:
        SenseiError: the annotator cannot work (server unreachable, key refused), or the first
            requests all fail. KeyboardInterrupt and the like pass through; answers so far are kept.
    """
    prompt = getattr(annotator, "prompt", None)
    if prompt is not None:
        store.remember_prompt(prompt.hash, prompt.name, prompt.version, prompt.body)
    store.ledger.settle()
    session = Session(store, annotator, config, on_progress, on_estimate, after, last)
    started = time.perf_counter()
    try:
        _run(session.work())
    finally:
        session.close()
    return session.summary(time.perf_counter() - started)


def estimate(store: LabelStore, annotator: Annotator, config: AnnotatorConfig) -> Estimate:
    """Say what the open questions will take, asking the first few where nothing is known yet.

    Those are labels like all others: they are kept, and not asked again.
    """
    if len(store.answers(annotator.name)) < PROBES:
        annotate(store, annotator, dataclasses.replace(config, max_pairs=PROBES))
    questions = sum(map(len, pending(store, annotator.name, config)))
    return expected(store, annotator.name, questions, config.concurrency)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; in a thread where a loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
