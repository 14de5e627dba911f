"""The numbers and the plain words about a label set."""

import dataclasses
import json

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.measures import Agreement, Share
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.annotate.quality import quality
from sensei.annotate.run import annotate
from sensei.data.records import Answer, Pair
from sensei.testing.server import FakeVLM

BOTH = AnnotatorConfig(orders="both")


@dataclasses.dataclass
class named:
    """An annotator under another name."""

    name: str
    inner: Oracle | NoisyOracle
    prompt_hash: str = ""

    async def compare(self, first, second):
        return await self.inner.compare(first, second)


class Forgetful:
    """The oracle with a flip in 20 % of the answers, another one each time it is asked."""

    name, prompt_hash = "forgetful", ""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    async def compare(self, first, second):
        flip = self.rng.random() < 0.2
        return await Oracle().compare(*((second, first) if flip else (first, second)))


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


def test_few_labels_are_not_called_chance(make_store):
    store = make_store(3)
    annotate(store, NoisyOracle(), AnnotatorConfig())
    assert quality(store).verdict == (
        "Not shown to be better than chance: 100% of only 3 labels agree with the oracle. "
        "Ask more pairs."
    )


@pytest.mark.parametrize(("side", "wire"), [("first", "logprobs"), ("second", "json")])
def test_a_server_that_looks_at_nothing_in_both_orders(make_store, side, wire):
    store = make_store(40)
    with FakeVLM(lambda a, b: side) as server:
        config = AnnotatorConfig(kind="vlm", base_url=server.base_url, prompt="generic",
                                 orders="both", wire=wire)  # fmt: skip
        annotate(store, build_annotator(config), config)
    found = quality(store)
    assert found.position_bias.value == (1.0 if side == "first" else 0.0)
    assert found.order_inconsistency.value == 1.0
    np.testing.assert_allclose(store.labels().y, 0.5, atol=0.01)
    assert found.decided.value == 0.0 and found.label_accuracy is None
    assert found.money is None and found.tokens == 80 * 505
    assert 0 < found.latency_s <= found.latency_p95_s
    assert f"carry no information: the {side} image is chosen in 100%" in found.verdict
    assert "Inconsistent: 100%" in found.verdict
    assert not found.informative


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
    assert len(kappa) == 3 and kappa["noisy(seed=0) | oracle"].kappa == 1.0
    mine = quality(store, "oracle")
    random = mine.agreement["oracle | noisy(flip=0.5,seed=2)"]
    assert random.low < 0 < random.high and random.share.n == 400
    assert "Not shown to agree better than by chance: oracle | noisy(flip=0.5" in mine.verdict
    assert len(mine.agreement) == 2 and mine.accuracy.value == 1.0


def tell(store, winners, annotator="a"):
    """Record one answer a pair of frame numbers, ``(better, worse)``."""
    rows = store.frame_table().id
    for better, worse in winners:
        (pair,) = store.add_pairs([Pair(int(rows[worse]), int(rows[better]))])
        store.record(pair, annotator, "forward", "", Answer.of("second"))


def test_circles_among_three(make_store):
    """Frames 0 to 3 with 0 > 1 > 2 > 0 and 3 below them all: one circle in four triples."""
    store = make_store(0)
    tell(store, [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3)])
    assert (quality(store).cycles.value, quality(store).cycles.n) == (0.5, 2)
    tell(store, [(2, 3)])
    assert (quality(store).cycles.value, quality(store).cycles.n) == (0.25, 4)
    tell(store, [(4, 0), (4, 1)])  # 4 > 0 > 1: no circle
    assert (quality(store).cycles.value, quality(store).cycles.n) == (0.2, 5)


def test_coin_tosses_go_round_in_circles(make_store):
    store = make_store(2500)
    for name, noise in (("coin", 0.5), ("sure", 0.0)):
        annotate(store, named(name, NoisyOracle(flip_rate=noise)), AnnotatorConfig())
    coin, sure = quality(store, "coin"), quality(store, "sure")
    assert coin.cycles.n > 400 and abs(coin.cycles.value - 0.25) < 0.08
    assert "Contradictory:" in coin.verdict and "where coin tosses give 25%" in coin.verdict
    assert sure.cycles.value == 0.0 and "Contradictory" not in sure.verdict


def test_the_same_question_again(make_store):
    """A flip in 20 % of the answers: two of them agree in 0.8² + 0.2² = 68 %."""
    store, sure = make_store(300), make_store(300)
    annotate(store, Forgetful(), AnnotatorConfig(repeats=3))
    again = quality(store).self_agreement
    assert again.share.n == 600 and again.share.low < 0.68 < again.share.high
    assert again.low < 2 * 0.68 - 1 < again.high  # κ where both answers are equally frequent
    assert "Unstable: asked the same again, it changes" in quality(store).verdict
    assert quality(make_store(5)).self_agreement is None
    annotate(sure, Oracle(), AnnotatorConfig(repeats=2))
    assert quality(sure).self_agreement.kappa == 1.0


@pytest.mark.parametrize(("p", "right", "error"), [(0.95, 0.95, 0.0), (0.95, 0.6, 0.35)])
def test_confidence_against_truth(make_store, p, right, error):
    store = make_store(200)
    scores = dict(zip(store.frame_table().id, store.frame_table().score, strict=True))
    for number, pair in enumerate(store.pairs()):
        truth = scores[pair.second] > scores[pair.first]
        p_second = p if truth == (number < right * 200) else 1 - p
        choice = "second" if p_second > 0.5 else "first"
        store.record(pair.id, "a", "forward", "", Answer(p_second, "labelled", choice))
    found = quality(store).calibration
    assert found.error == pytest.approx(error) and found.confidence == pytest.approx(p)
    assert [(b.low, b.high, b.accuracy.n) for b in found.bins] == [(0.9, 1.0, 200)]
    assert ("Overconfident" in quality(store).verdict) == (error > 0)


def test_answers_without_a_probability_say_nothing_of_confidence(make_store):
    store = make_store(20)
    annotate(store, Oracle(), AnnotatorConfig())
    assert quality(store).calibration is None


def test_labels_of_ties_carry_no_information(make_store):
    store = make_store(30)
    annotate(store, NoisyOracle(tie_rate=1.0), AnnotatorConfig())
    found = quality(store)
    assert found.decided.value == 0.0 and not found.informative
    assert "carry no information: all 30 are ½" in found.verdict


def test_failures_by_kind(make_store):
    store = make_store(40)
    said = [Answer.failed("RateLimitError: slow down"), Answer.failed("RateLimitError: no"),
            Answer.failed("BadAnswerError: prose"), Answer.of("first")]  # fmt: skip
    for pair in store.pairs():
        store.record(pair.id, "a", "forward", "", said[pair.id % 4])
    assert quality(store).failures == {"RateLimitError": 20, "BadAnswerError": 10}


def test_kappa_of_a_known_table():
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: agreement 0.7, by chance 0.5, so κ = 0.4."""
    one = np.array([1] * 25 + [0] * 25)
    other = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    found = Agreement.of(one, other)
    assert found.kappa == pytest.approx(0.4)
    # Wilson's interval of 35 in 50 is 0.5625 to 0.8090.
    assert (found.low, found.high) == (
        pytest.approx(0.125, abs=1e-3),
        pytest.approx(0.618, abs=1e-3),
    )
    assert Agreement.of(one[:1], other[:1]).kappa is None  # who says one thing only
    assert Agreement.of(one[:0], other[:0]) is None


def test_wilson_interval():
    """8 of 10: 0.4902 to 0.9433 (Wilson 1927, 95 %)."""
    share = Share.of(np.arange(10) < 8)
    assert (share.low, share.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )
