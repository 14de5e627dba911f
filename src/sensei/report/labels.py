"""The quality of a label set as rows of a table, for the page and for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensei.annotate.quality import quality
from sensei.data.label_store import LabelStore
from sensei.report.facts import finite
from sensei.report.words import count, number, percent, share, who
from sensei.types import SenseiError

Row = tuple[str, str]
Numbers = dict[str, Any]
"""A ``Quality`` as plain values, as in a stage's summary."""


def label_rows(q: Numbers) -> list[Row]:
    """Say each measure in words; docs/annotators.md explains them."""
    return [*_said(q), *_consistency(q), *_truth(q), *_confidence(q), *_cost(q)]


def measured_labels(path: Path) -> list[Numbers]:
    """Measure the labels in a file, one entry for each annotator.

    Raises:
        SenseiError: there is no such file, or nobody has answered anything yet.
    """
    with LabelStore(path, must_exist=True) as store:
        names = store.annotators()
        if not names:
            raise SenseiError(f"nobody has answered anything in {path}: run sensei annotate first")
        return [finite(dataclasses.asdict(quality(store, name))) for name in names]


def quality_lines(q: Numbers) -> list[str]:
    """Write the verdict and the rows for a terminal."""
    rows = label_rows(q)
    width = max(len(name) for name, _ in rows) + 2
    return [q["verdict"], *(f"  {name:{width}}{words}" for name, words in rows)]


def _said(q: Numbers) -> Iterator[Row]:
    yield "who", "; ".join(f"{name}: {who(name)}" for name in q["annotators"])
    yield "pairs answered, answers", f"{count(q['pairs'])}, {count(q['answers'])}"
    said = " · ".join(f"{name} {percent(value)}" for name, value in q["shares"].items())
    yield "what they said, as shown", said
    yield "labels that are not ½", share(q["decided"])


def _consistency(q: Numbers) -> Iterator[Row]:
    yield "position bias: “first” of all decided", share(q["position_bias"])
    one_order = "not measured: each pair was asked in one order (--annotator.orders both)"
    yield "answer follows the order shown", _or(q["order_inconsistency"], one_order)
    once = "not measured: each question was asked once (--annotator.repeats 2)"
    yield "agrees with itself", _agreement(q["self_agreement"]) or once
    none = "not measured: no three frames were compared with one another"
    yield "triples that go round in a circle", _or(q["cycles"], none)
    for names, both in q["agreement"].items():
        yield "agreement", f"{names}: {_agreement(both)}"


def _truth(q: Numbers) -> Iterator[Row]:
    unknown = "not known: no oracle"
    yield "answers right by the oracle", _or(q["accuracy"], unknown)
    yield "labels right by the oracle", _or(q["label_accuracy"], unknown)
    for part in q["by_difficulty"]:
        gap = f"{number(part['gap_from'])} to {number(part['gap_to'])}"
        yield f"– score gap {gap}", share(part["accuracy"])


def _confidence(q: Numbers) -> Iterator[Row]:
    found = q["calibration"]
    if found is None:
        yield "confidence", "not measured: answers without probabilities, or no oracle"
        return
    yield (
        "confidence",
        f"{percent(found['confidence'])} on average, right {share(found['accuracy'])}; expected "
        f"calibration error {number(found['error'])}",
    )
    for part in found["bins"]:
        said = f"{100 * part['low']:.0f} – {100 * part['high']:.0f} %"
        yield f"– said with {said}", f"right {share(part['accuracy'])}"


def _cost(q: Numbers) -> Iterator[Row]:
    if q["failures"]:
        kinds = " · ".join(f"{kind} {count(n)}" for kind, n in q["failures"].items())
        yield "failed requests", kinds
    money = "price not known" if q["money"] is None else f"${q['money']:.2f}"
    latency = f"{number(q['latency_s'])} s an answer (median), 95 % within "
    yield "cost", f"{count(q['tokens'])} tokens, {money}, {latency}{number(q['latency_p95_s'])} s"


def _or(value: Numbers | None, otherwise: str) -> str:
    return otherwise if value is None else share(value)


def _agreement(value: Numbers | None) -> str:
    if value is None:
        return ""
    if value["kappa"] is None:
        return f"{share(value['share'])}, each saying one thing only"
    interval = f"95 %: {number(value['low'])} – {number(value['high'])}"
    return f"κ {number(value['kappa'])} ({interval}); equal {share(value['share'])}"
