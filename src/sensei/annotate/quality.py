"""Labels as a measured instrument: bias, consistency, accuracy and cost of what was answered."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from sensei.annotate import consistency, truth
from sensei.annotate.measures import UNDECIDED, Quality, Share
from sensei.annotate.verdict import verdict
from sensei.data.label_store import LabelStore
from sensei.data.records import CHOICES

__all__ = ["Quality", "Share", "quality"]


def quality(store: LabelStore, annotator: str | None = None) -> Quality:
    """Measure the answers of one annotator, or of all together."""
    answers, labels = store.answers(annotator), store.labels(*([annotator] if annotator else []))
    counts = {name: int(np.sum(answers.choice == name)) for name in CHOICES}
    counts["failed"] = int(np.sum(answers.status == "failed"))
    decisive = np.isin(answers.choice, ("first", "second")) & (answers.status == "labelled")
    labelled = labels.status == "labelled"
    latency = answers.latency_s if len(answers) else np.zeros(1)
    pairs_of_annotators = consistency.partners(store.annotators(), annotator)
    measured = Quality(
        annotators=store.annotators() if annotator is None else [annotator],
        pairs=len(labels),
        answers=len(answers),
        shares={name: count / max(1, len(answers)) for name, count in counts.items()},
        position_bias=Share.of((answers.choice == "first")[decisive]),
        order_inconsistency=consistency.order_inconsistency(answers),
        self_agreement=consistency.self_agreement(answers),
        cycles=consistency.cycles(labels),
        decided=Share.of(np.abs(labels.y[labelled] - 0.5) > UNDECIDED),
        accuracy=truth.answer_accuracy(answers),
        label_accuracy=truth.label_accuracy(labels),
        by_difficulty=truth.by_difficulty(labels),
        calibration=truth.calibration(answers),
        agreement=consistency.agreement(store, pairs_of_annotators),
        failures=_kinds(answers.error[answers.status == "failed"]),
        tokens=int(answers.tokens.sum()),
        money=None if np.isnan(answers.money).any() else float(answers.money.sum()),
        latency_s=float(np.median(latency)),
        latency_p95_s=float(np.quantile(latency, 0.95)),
    )
    return dataclasses.replace(measured, verdict=verdict(measured))


def _kinds(errors: np.ndarray) -> dict[str, int]:
    """Count errors by what stands before their colon, the name of a class; the commonest first."""
    kinds = collections.Counter(str(error).partition(":")[0][:60] for error in errors)
    return dict(kinds.most_common())
