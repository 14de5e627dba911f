"""What is measured of a label set, as values with their intervals; JSON-able by ``asdict``."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

ONE_SIDED = 0.95
"""Share of one position among the decided answers beyond which they say nothing of the pictures."""

UNDECIDED = 0.01
"""Labels no further than this from ½ say nothing."""


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
class Agreement:
    """How far two series of answers to the same questions agree."""

    share: Share
    """Share of equal answers, which chance inflates."""
    kappa: float | None
    """Cohen's κ: 0 = as by chance, 1 = always; None where each says one thing only."""
    low: float | None
    high: float | None
    """Its 95 % interval: that of ``share``, with the agreement by chance taken as known, as in
    Cohen (1960)."""

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray) -> Agreement | None:
        """Compare two series of equal length; None without any case."""
        share = Share.of(one == other)
        if share is None:
            return None
        said = np.union1d(one, other)
        chance = float(sum(np.mean(one == x) * np.mean(other == x) for x in said))
        if chance == 1.0:
            return cls(share, None, None, None)
        kappas = [(x - chance) / (1.0 - chance) for x in (share.value, share.low, share.high)]
        return cls(share, *kappas)


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """Accuracy on the pairs whose oracle scores differ by ``gap_from`` to ``gap_to``."""

    gap_from: float
    gap_to: float
    accuracy: Share


@dataclasses.dataclass(frozen=True)
class ConfidenceBin:
    """Answers given with a probability of ``low`` to ``high``, and how many of them are right."""

    low: float
    high: float
    confidence: float
    """Their mean probability."""
    accuracy: Share


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Whether an answer given with probability p is right in p of the cases."""

    error: float
    """Expected calibration error: mean |confidence − accuracy| over the bins, by their cases."""
    confidence: float
    accuracy: Share
    bins: list[ConfidenceBin]


@dataclasses.dataclass(frozen=True)
class Quality:
    """What a label set is worth."""

    annotators: list[str]
    pairs: int
    answers: int
    shares: dict[str, float]
    """Share of the answers that are first, second, tie, unknown, failed; as shown."""
    position_bias: Share | None
    """Share of "first" among first and second; ½ where the order shown is random and no matter."""
    order_inconsistency: Share | None
    """Share of the pairs asked in both orders whose answer follows the order."""
    self_agreement: Agreement | None
    """The same question asked again: each answer and the one before it."""
    cycles: Share | None
    """Share of the triples of frames, all asked about, whose labels go round in a circle; ¼ by
    coin tosses."""
    decided: Share | None
    """Share of the labels that are not ½."""
    accuracy: Share | None
    """Share of right answers among first and second where the oracle's scores differ."""
    label_accuracy: Share | None
    """The same of the pairs' labels, that is after averaging; labels of ½ are left out."""
    by_difficulty: list[Difficulty]
    """Label accuracy in thirds of the score gap, the hardest first."""
    calibration: Calibration | None
    """Of the answers that came with a probability, where there is an oracle."""
    agreement: dict[str, Agreement]
    """Of each two annotators ("a | b"), between first, tie and second of the pairs that both have
    labelled."""
    failures: dict[str, int]
    """Failed requests by kind of error."""
    tokens: int
    money: float | None
    """Dollars; None where a price is not known."""
    latency_s: float
    """Median seconds of an answer."""
    latency_p95_s: float
    """95 % of the answers took no longer."""
    verdict: str = ""
    """Plain words."""

    @property
    def one_sided(self) -> bool:
        """Whether nearly all decided answers name the same position."""
        bias = self.position_bias
        return bias is not None and max(bias.value, 1 - bias.value) > ONE_SIDED

    @property
    def informative(self) -> bool:
        """Whether anything can be learned from the labels, as far as the numbers can tell."""
        truth, decided = self.label_accuracy, self.decided
        chance = truth is not None and truth.low <= 0.5
        return not (self.one_sided or chance or (decided is not None and decided.value == 0))
