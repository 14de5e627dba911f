"""How often answers and labels are right, where the environment has an oracle."""

from __future__ import annotations

import itertools

import numpy as np

from sensei.annotate.measures import UNDECIDED, Calibration, ConfidenceBin, Difficulty, Share
from sensei.data.label_tables import AnswerTable, LabelSet

BINS = np.linspace(0.5, 1.0, 6)
"""Edges of the bins of confidence."""


def answer_accuracy(answers: AnswerTable) -> Share | None:
    """Measure the right ones among the decided answers."""
    decided = (answers.status == "labelled") & np.isin(answers.choice, ("first", "second"))
    known = decided & (np.nan_to_num(answers.score_gap) != 0)
    return Share.of(((answers.choice == "second") == (answers.score_gap > 0))[known])


def label_accuracy(labels: LabelSet) -> Share | None:
    """Measure the right ones among the decided labels."""
    return Share.of(_correct(labels)[0])


def by_difficulty(labels: LabelSet) -> list[Difficulty]:
    """Measure the decided labels in thirds of their score gap."""
    right, gap = _correct(labels)
    if not len(gap):
        return []
    edges = np.unique(np.quantile(gap, (0, 1 / 3, 2 / 3, 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    found = []
    for low, high in itertools.pairwise(edges):
        inside = (gap >= low) & ((gap < high) | (high == edges[-1]))
        share = Share.of(right[inside])
        if share is not None:
            found.append(Difficulty(float(low), float(high), share))
    return found


def calibration(answers: AnswerTable) -> Calibration | None:
    """Compare the probability that answers came with to how many of them are right.

    Answers without a probability (0, ½ or 1) say nothing of it and are left out.
    """
    p = answers.p_second
    soft = (answers.status == "labelled") & ~np.isin(p, (0.0, 0.5, 1.0))
    soft &= np.nan_to_num(answers.score_gap) != 0
    right = ((p > 0.5) == (answers.score_gap > 0))[soft]
    confidence = np.maximum(p, 1 - p)[soft]
    accuracy = Share.of(right)
    if accuracy is None:
        return None
    place, bins = np.digitize(confidence, BINS[1:-1]), []
    for number, (low, high) in enumerate(itertools.pairwise(BINS)):
        share = Share.of(right[place == number])
        if share is not None:
            mean = float(confidence[place == number].mean())
            bins.append(ConfidenceBin(float(low), float(high), mean, share))
    off = sum(b.accuracy.n * abs(b.confidence - b.accuracy.value) for b in bins)
    return Calibration(off / accuracy.n, float(confidence.mean()), accuracy, bins)


def _correct(labels: LabelSet) -> tuple[np.ndarray, np.ndarray]:
    """Compare the decided labels with the oracle: right or not, and the score gap."""
    use = (labels.status == "labelled") & (labels.true_order >= 0)
    use &= np.abs(labels.y - 0.5) > UNDECIDED
    return (labels.y[use] > 0.5) == (labels.true_order[use] == 1), labels.score_gap[use]
