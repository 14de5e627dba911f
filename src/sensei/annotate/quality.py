"""Labels as a measured instrument: bias, consistency, accuracy and cost of what was answered."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from scipy import stats

from sensei.data.label_store import LabelStore
from sensei.data.label_tables import AnswerTable, LabelSet

CHOICES = ("first", "second", "tie", "unknown")

ONE_SIDED = 0.95
"""Share of one position among the decided answers beyond which they say nothing of the pictures."""

EVEN = (0.45, 0.55)
"""Where the interval of an unbiased annotator's share of "first" should reach into."""


@dataclasses.dataclass(frozen=True)
class Share:
    """A share of n cases with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, cases: np.ndarray) -> Share | None:
        """Measure the share of true cases; None without any case."""
        if not len(cases):
            return None
        hits = int(np.sum(cases))
        interval = stats.binomtest(hits, len(cases)).proportion_ci(0.95, method="wilson")
        return cls(hits / len(cases), float(interval.low), float(interval.high), len(cases))


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """Accuracy on the pairs whose oracle scores differ by ``gap_from`` to ``gap_to``."""

    gap_from: float
    gap_to: float
    accuracy: Share


@dataclasses.dataclass(frozen=True)
class Quality:
    """What a label set is worth; JSON-able by ``dataclasses.asdict``."""

    annotators: list[str]
    pairs: int
    answers: int
    shares: dict[str, float]
    """Share of the answers that are first, second, tie, unknown, failed; as shown."""
    position_bias: Share | None
    """Share of "first" among first and second; ½ where the order shown is random and no matter."""
    order_inconsistency: Share | None
    """Share of the pairs asked in both orders whose answer follows the order."""
    accuracy: Share | None
    """Share of right answers among first and second where the oracle's scores differ."""
    label_accuracy: Share | None
    """The same of the pairs' labels, that is after averaging; labels of exactly ½ are left out."""
    by_difficulty: list[Difficulty]
    """Label accuracy in thirds of the score gap, the hardest first."""
    agreement: dict[str, float]
    """Cohen's κ of each two annotators ("a | b") over the pairs that both have labelled."""
    tokens: int
    money: float | None
    """Dollars; None where a price is not known."""
    latency_s: float
    """Median seconds of an answer."""
    verdict: str
    """Plain words."""

    @property
    def informative(self) -> bool:
        """Whether anything can be learned from the labels, as far as the numbers can tell."""
        truth = self.label_accuracy
        return not (_one_sided(self.position_bias) or (truth is not None and truth.low <= 0.5))


def quality(store: LabelStore, annotator: str | None = None) -> Quality:
    """Measure the answers of one annotator, or of all together."""
    answers, labels = store.answers(annotator), store.labels(*([annotator] if annotator else []))
    counts = {name: int(np.sum(answers.choice == name)) for name in CHOICES}
    counts["failed"] = int(np.sum(answers.status == "failed"))
    decisive = np.isin(answers.choice, ("first", "second")) & (answers.status == "labelled")
    known = decisive & (np.nan_to_num(answers.score_gap) != 0)
    right = (answers.choice == "second") == (answers.score_gap > 0)
    measured = Quality(
        annotators=store.annotators() if annotator is None else [annotator],
        pairs=len(labels),
        answers=len(answers),
        shares={name: count / max(1, len(answers)) for name, count in counts.items()},
        position_bias=Share.of((answers.choice == "first")[decisive]),
        order_inconsistency=Share.of(_inconsistent(answers)),
        accuracy=Share.of(right[known]),
        label_accuracy=Share.of(_correct(labels)[0]),
        by_difficulty=_by_difficulty(labels),
        agreement=_agreement(store) if annotator is None else {},
        tokens=int(answers.tokens.sum()),
        money=None if np.isnan(answers.money).any() else float(answers.money.sum()),
        latency_s=float(np.median(answers.latency_s)) if len(answers) else 0.0,
        verdict="",
    )
    return dataclasses.replace(measured, verdict=verdict(measured))


def verdict(q: Quality) -> str:
    """Say in plain words what the numbers mean, the gravest finding first."""
    if not q.answers:
        return "There are no answers yet."
    if q.shares["failed"] > 0.5:
        return f"Most requests failed ({q.shares['failed']:.0%}): there is little to learn from."
    findings = [*_position_findings(q), *_truth_findings(q), *_gap_findings(q)]
    return " ".join(findings) or "No defect found: the labels look usable."


def _position_findings(q: Quality) -> list[str]:
    bias, inconsistency, found = q.position_bias, q.order_inconsistency, []
    if bias is not None and (bias.low > EVEN[1] or bias.high < EVEN[0]):
        side, share = ("first", bias.value) if bias.value > 0.5 else ("second", 1 - bias.value)
        if _one_sided(bias):
            found.append(
                f"These labels carry no information: the {side} image is chosen in {share:.0%} of "
                "the decided answers, whatever it shows. Choose another model or prompt."
            )
        else:
            found.append(
                f"Biased: {share:.0%} of the decided answers are the {side} image where 50% are "
                "expected. Ask both orders (--annotator.orders both)."
            )
    if inconsistency is not None and inconsistency.low > 0.2:
        found.append(
            f"Inconsistent: {inconsistency.value:.0%} of the pairs asked in both orders change "
            "their answer with the order."
        )
    return found


def _one_sided(bias: Share | None) -> bool:
    return bias is not None and max(bias.value, 1 - bias.value) > ONE_SIDED


def _truth_findings(q: Quality) -> list[str]:
    truth = q.label_accuracy
    if truth is None:
        return []
    if truth.low <= 0.5:
        return [
            f"No better than chance against the oracle ({truth.value:.0%} of {truth.n} labels)."
        ]
    word = "Accurate" if truth.value >= 0.9 else "Usable" if truth.value >= 0.7 else "Weak"
    return [f"{word}: {truth.value:.0%} of {truth.n} labels agree with the oracle."]


def _gap_findings(q: Quality) -> list[str]:
    found = []
    for name, remedy in (
        ("unknown", "the pictures may not show enough"),
        ("tie", "draw more pairs"),
    ):
        if q.shares[name] > 0.5:
            found.append(f"{q.shares[name]:.0%} of the answers are {name}: {remedy}.")
    if q.shares["failed"] > 0.05:
        found.append(f"{q.shares['failed']:.0%} of the requests failed: run annotate again.")
    return found


def _inconsistent(answers: AnswerTable) -> np.ndarray:
    """Compare the two orders of each (pair, annotator) that has both: does the answer change?"""
    said: dict[tuple[int, str], dict[str, list[float]]] = {}
    rows = np.flatnonzero(answers.status == "labelled")
    for i in rows:
        key = int(answers.pair[i]), str(answers.annotator[i])
        said.setdefault(key, {}).setdefault(str(answers.shown[i]), []).append(answers.p_second[i])
    both = [(np.mean(x["forward"]), np.mean(x["swapped"])) for x in said.values() if len(x) == 2]
    return np.array([np.sign(f - 0.5) != np.sign(0.5 - s) for f, s in both], bool)


def _correct(labels: LabelSet) -> tuple[np.ndarray, np.ndarray]:
    """Compare the decided labels with the oracle: right or not, and the score gap."""
    use = (labels.status == "labelled") & (labels.true_order >= 0) & (labels.y != 0.5)
    return (labels.y[use] > 0.5) == (labels.true_order[use] == 1), labels.score_gap[use]


def _by_difficulty(labels: LabelSet) -> list[Difficulty]:
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


def _agreement(store: LabelStore) -> dict[str, float]:
    """Cohen's κ between first, tie and second of every two annotators' labels."""
    said = {}
    for name in store.annotators():
        labels = store.labels(name)
        labels = labels.select(labels.status == "labelled")
        said[name] = dict(zip(labels.pair.tolist(), np.sign(labels.y - 0.5), strict=True))
    found = {}
    for a, b in itertools.combinations(said, 2):
        common = sorted(said[a].keys() & said[b].keys())
        if common:
            one = np.array([said[a][p] for p in common])
            other = np.array([said[b][p] for p in common])
            found[f"{a} | {b}"] = _kappa(one, other)
    return found


def _kappa(one: np.ndarray, other: np.ndarray) -> float:
    observed = float(np.mean(one == other))
    expected = sum(float(np.mean(one == c) * np.mean(other == c)) for c in (-1, 0, 1))
    return 1.0 if expected == 1.0 else (observed - expected) / (1.0 - expected)
