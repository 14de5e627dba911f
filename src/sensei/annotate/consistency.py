"""Whether answers agree with one another: by order, when asked again, among three, between two."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from sensei.annotate.measures import UNDECIDED, Agreement, Share
from sensei.data.label_store import LabelStore
from sensei.data.label_tables import AnswerTable, LabelSet


def order_inconsistency(answers: AnswerTable) -> Share | None:
    """Compare the two orders of each (pair, annotator) that has both: does the answer change?"""
    said: dict[tuple[int, str], dict[str, list[float]]] = {}
    for i in np.flatnonzero(answers.status == "labelled"):
        key = int(answers.pair[i]), str(answers.annotator[i])
        said.setdefault(key, {}).setdefault(str(answers.shown[i]), []).append(answers.p_second[i])
    both = [(np.mean(x["forward"]), np.mean(x["swapped"])) for x in said.values() if len(x) == 2]
    return Share.of(np.array([np.sign(f - 0.5) != np.sign(0.5 - s) for f, s in both], bool))


def self_agreement(answers: AnswerTable) -> Agreement | None:
    """Compare each labelled answer with the one before it to the same question as shown."""
    rows = np.flatnonzero(answers.status == "labelled")
    before, after = rows[:-1], rows[1:]  # the table is sorted by question, then by repeat
    again = np.ones(len(after), bool)
    for column in (answers.pair, answers.annotator, answers.shown):
        again &= column[before] == column[after]
    return Agreement.of(answers.choice[before[again]], answers.choice[after[again]])


def cycles(labels: LabelSet) -> Share | None:
    """Look at every three frames of which all three pairs are decided: do they form a circle?"""
    certain = np.abs(labels.y - 0.5) > UNDECIDED
    decided = labels.select((labels.status == "labelled") & certain)
    better = np.where(decided.y > 0.5, decided.second, decided.first).tolist()
    worse = np.where(decided.y > 0.5, decided.first, decided.second).tolist()
    beats = set(zip(better, worse, strict=True))
    near: dict[int, set[int]] = {}
    for one, other in beats:
        near.setdefault(min(one, other), set()).add(max(one, other))
    # a < b < c, so each once.
    triples = [(a, b, c) for a in near for b in near[a] for c in near[a] & near.get(b, set())]
    return Share.of(np.array([_circular(beats, triple) for triple in triples], bool))


def _circular(beats: set[tuple[int, int]], triple: tuple[int, int, int]) -> bool:
    a, b, c = triple
    return ((a, b) in beats) == ((b, c) in beats) == ((c, a) in beats)


def agreement(store: LabelStore, names: Iterable[tuple[str, str]]) -> dict[str, Agreement]:
    """Compare the labels (first, tie or second) of two annotators each on their common pairs."""
    found, said = {}, {}
    for one, other in names:
        for name in {one, other} - said.keys():
            labels = store.labels(name)
            labels = labels.select(labels.status == "labelled")
            said[name] = dict(zip(labels.pair.tolist(), np.sign(labels.y - 0.5), strict=True))
        common = sorted(said[one].keys() & said[other].keys())
        both = [np.array([said[name][pair] for pair in common]) for name in (one, other)]
        measured = Agreement.of(*both)
        if measured is not None:
            found[f"{one} | {other}"] = measured
    return found


def partners(names: list[str], annotator: str | None) -> Iterable[tuple[str, str]]:
    """List who is compared with whom: one with all others, or everyone with everyone."""
    if annotator is None:
        return itertools.combinations(names, 2)
    return ((annotator, name) for name in names if name != annotator)
