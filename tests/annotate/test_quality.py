"""The numbers and the plain words about a label set."""

import dataclasses
import json

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.annotate.quality import Share, quality
from sensei.annotate.run import annotate
from sensei.data.records import Answer
from sensei.testing.server import FakeVLM

BOTH = AnnotatorConfig(orders="both")


def test_nothing_yet(make_store):
    found = quality(make_store(5))
    assert found.verdict == "There are no answers yet."
    json.dumps(dataclasses.asdict(found))


def test_the_oracle_is_perfect(make_store):
    store = make_store(400)
    annotate(store, Oracle(), BOTH)
    found = quality(store)
    assert (found.annotators, found.pairs, found.answers) == (["oracle"], 400, 800)
    assert found.accuracy.value == found.label_accuracy.value == 1.0
    assert (found.order_inconsistency.value, found.order_inconsistency.n) == (0.0, 400)
    assert found.position_bias.low < 0.5 < found.position_bias.high
    assert found.shares["first"] + found.shares["second"] == pytest.approx(1.0)
    assert (found.tokens, found.money) == (0, 0.0)
    assert found.verdict == "Accurate: 100% of 400 labels agree with the oracle."
    assert found.informative
    assert json.loads(json.dumps(dataclasses.asdict(found)))["pairs"] == 400


def test_always_first_is_called_useless(make_store):
    store = make_store(200)
    annotate(store, NoisyOracle(position_bias=1.0), AnnotatorConfig())
    found = quality(store)
    assert found.position_bias.value == 1.0
    assert "no information: the first image is chosen in 100%" in found.verdict
    assert "No better than chance" in found.verdict
    assert not found.informative


def test_an_always_second_server_in_both_orders(make_store):
    store = make_store(40)
    with FakeVLM(lambda a, b: "second") as server:
        config = AnnotatorConfig(kind="vlm", base_url=server.base_url, prompt="generic",
                                 orders="both", wire="json")  # fmt: skip
        annotate(store, build_annotator(config), config)
    found = quality(store)
    assert found.position_bias.value == 0.0
    assert found.order_inconsistency.value == 1.0
    assert found.label_accuracy is None  # every label is ½
    assert found.money is None and found.tokens == 80 * 505
    assert found.latency_s > 0
    assert "the second image is chosen in" in found.verdict
    assert "Inconsistent: 100%" in found.verdict
    assert not found.informative and set(store.labels().y) == {0.5}


def test_a_biased_annotator_is_told_to_ask_both_orders(make_store):
    store = make_store(500)
    annotate(store, NoisyOracle(position_bias=0.5), AnnotatorConfig())
    found = quality(store)
    assert 0.68 < found.position_bias.value < 0.82  # half always first, half right
    assert "Ask both orders" in found.verdict
    assert "no information" not in found.verdict


def test_flips_are_measured(make_store):
    store = make_store(600)
    annotate(store, NoisyOracle(flip_rate=0.2), AnnotatorConfig())
    found = quality(store)
    assert found.accuracy.low < 0.8 < found.accuracy.high
    assert sum(d.accuracy.n for d in found.by_difficulty) == 600
    assert found.by_difficulty[0].gap_to == found.by_difficulty[1].gap_from
    assert "Usable" in found.verdict


def test_ties_unknowns_and_failures_are_shares_of_all_answers(make_store):
    store = make_store(40)
    said = [Answer.of("tie"), Answer.of("unknown"), Answer.failed("x"), Answer.of("first")]
    for pair in store.pairs():
        store.record(pair.id, "a", "forward", "", said[pair.id % 4])
    found = quality(store)
    assert found.shares == {
        "first": 0.25,
        "second": 0.0,
        "tie": 0.25,
        "unknown": 0.25,
        "failed": 0.25,
    }
    assert found.accuracy.n == 10  # only decided answers
    assert "25% of the requests failed" in found.verdict


def test_agreement_between_annotators(make_store):
    store = make_store(400)
    for annotator in (Oracle(), NoisyOracle(flip_rate=0.0), NoisyOracle(flip_rate=0.5, seed=2)):
        annotate(store, annotator, AnnotatorConfig())
    kappa = quality(store).agreement
    assert kappa["noisy(seed=0) | oracle"] == 1.0
    assert abs(kappa["noisy(flip=0.5,seed=2) | oracle"]) < 0.15
    alone = quality(store, "oracle")
    assert alone.agreement == {} and alone.accuracy.value == 1.0


def test_wilson_interval():
    """8 of 10: 0.4902 to 0.9433 (Wilson 1927, 95 %)."""
    share = Share.of(np.arange(10) < 8)
    assert (share.low, share.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )
