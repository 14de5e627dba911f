"""What the numbers about a label set mean, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from sensei.annotate.measures import Quality, Share

EVEN = (0.45, 0.55)
"""Where the interval of an unbiased annotator's share of "first" should reach into."""
USABLE = 0.7
"""The share of right labels from which on they are called usable."""


def verdict(q: Quality) -> str:
    """Say in plain words what the numbers mean, the gravest finding first."""
    if not q.answers:
        return "There are no answers yet."
    if q.shares["failed"] > 0.5:
        return f"Most requests failed ({q.shares['failed']:.0%}): there is little to learn from."
    findings = [
        *_empty_findings(q),
        *_position_findings(q),
        *_truth_findings(q),
        *_consistency_findings(q),
        *_gap_findings(q),
    ]
    return " ".join(findings) or "No defect found: the labels look usable."


def _empty_findings(q: Quality) -> Iterator[str]:
    if q.one_sided and q.position_bias is not None:
        side, share = _side(q.position_bias)
        yield (
            f"These labels carry no information: the {side} image is chosen in {share:.0%} of "
            "the decided answers, whatever it shows. Choose another model or prompt."
        )
    elif q.decided is not None and q.decided.value == 0:
        yield (
            f"These labels carry no information: all {q.decided.n} are ½, no picture is preferred "
            "to another. Choose another model or prompt."
        )


def _side(bias: Share) -> tuple[str, float]:
    return ("first", bias.value) if bias.value > 0.5 else ("second", 1 - bias.value)


def _position_findings(q: Quality) -> Iterator[str]:
    bias, inconsistency = q.position_bias, q.order_inconsistency
    if bias is not None and not q.one_sided and (bias.low > EVEN[1] or bias.high < EVEN[0]):
        side, share = _side(bias)
        remedy = (
            "Ask both orders (--annotator.orders both)."
            if inconsistency is None
            else "Asking both orders takes that out of the labels."
        )
        yield (
            f"Biased: {share:.0%} of the decided answers are the {side} image where 50% are "
            f"expected. {remedy}"
        )
    if inconsistency is not None and inconsistency.low > 0.2:
        yield (
            f"Inconsistent: {inconsistency.value:.0%} of the pairs asked in both orders change "
            "their answer with the order."
        )


def _truth_findings(q: Quality) -> Iterator[str]:
    truth, sure = q.label_accuracy, q.calibration
    if truth is not None and truth.low <= 0.5 and truth.high >= USABLE:
        yield (
            f"Not shown to be better than chance: {truth.value:.0%} of only {truth.n} labels agree "
            "with the oracle. Ask more pairs."
        )
    elif truth is not None and truth.low <= 0.5:
        yield f"No better than chance against the oracle ({truth.value:.0%} of {truth.n} labels)."
    elif truth is not None:
        word = "Accurate" if truth.value >= 0.9 else "Usable" if truth.value >= USABLE else "Weak"
        yield f"{word}: {truth.value:.0%} of {truth.n} labels agree with the oracle."
    if sure is not None and sure.error > 0.1 and sure.accuracy.high < sure.confidence:
        yield (
            f"Overconfident: it gives its answers {sure.confidence:.0%} on average, and "
            f"{sure.accuracy.value:.0%} of them are right."
        )


def _consistency_findings(q: Quality) -> Iterator[str]:
    again, cycles = q.self_agreement, q.cycles
    if again is not None and again.share.high < 0.8:
        changed = 1 - again.share.value
        yield f"Unstable: asked the same again, it changes {changed:.0%} of its answers."
    if cycles is not None and cycles.low > 0.1:
        yield (
            f"Contradictory: {cycles.value:.0%} of {cycles.n} triples go round in a circle, where "
            "coin tosses give 25%."
        )
    for names, both in q.agreement.items():
        if both.low is not None and both.low <= 0:
            yield f"Not shown to agree better than by chance: {names}."


def _gap_findings(q: Quality) -> Iterator[str]:
    remedies = {"unknown": "the pictures may not show enough", "tie": "draw more pairs"}
    for name, remedy in remedies.items():
        if q.shares[name] > 0.5:
            yield f"{q.shares[name]:.0%} of the answers are {name}: {remedy}."
    if q.shares["failed"] > 0.05:
        worst = max(q.failures, key=lambda kind: q.failures[kind], default="error")
        yield (
            f"{q.shares['failed']:.0%} of the requests failed, most with {worst}: run annotate "
            "again."
        )
