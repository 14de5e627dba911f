"""What is spent, what will be, and when it stops."""

import dataclasses

import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.prices import Prices
from sensei.annotate.run import annotate, estimate
from sensei.annotate.wire import Usage
from sensei.data.label_store import LabelStore
from sensei.testing.server import FakeVLM, brighter


def configure(server, **changes):
    defaults = {"prompt": "generic", "wire": "json", "price_in": 1.0, "price_out": 10.0}
    return AnnotatorConfig(kind="vlm", base_url=server.base_url, **(defaults | changes))


def test_a_token_budget_is_not_exceeded(make_store):
    store = make_store(60)
    with FakeVLM(brighter) as server:
        config = configure(server, token_budget=20 * 505 + 100)
        summary = annotate(store, build_annotator(config), config)
        assert summary.asked == 20 and server.tokens == 20 * 505
        assert summary.stopped == "the budget of 10,200 tokens is spent"
        assert annotate(store, build_annotator(config), config).asked == 0


def test_what_others_spend_counts(make_store):
    store = make_store(60)
    with FakeVLM(brighter) as server:
        config = configure(server, budget=30 * 550e-6, concurrency=2)
        half = dataclasses.replace(config, max_pairs=20)
        with LabelStore(store.path) as other:
            annotate(other, build_annotator(half), half)
        assert annotate(store, build_annotator(config), config).asked == 10
        assert store.money() == pytest.approx(30 * 550e-6)


def test_an_unaccounted_request_counts_as_the_dearest(make_store):
    store = make_store(60)
    with FakeVLM(brighter, fault=lambda n: "malformed" if n == 5 else None) as server:
        config = configure(server, token_budget=20 * 505, concurrency=1)
        summary = annotate(store, build_annotator(config), config)
        assert (summary.asked, summary.failed, summary.unaccounted) == (20, 1, 1)
        assert server.tokens == 20 * 505  # which the one that could not be read took too


def test_an_estimate_comes_before_the_spending_and_is_right(make_store):
    store, seen = make_store(40), []
    with FakeVLM(brighter) as server:
        config = configure(server)
        annotate(
            store,
            build_annotator(config),
            config,
            on_estimate=lambda e: seen.append((server.requests, e)),
        )
    (requests, said), *others = seen
    assert (requests, others, said.questions, said.probes) == (4, [], 36, 4)
    assert said.money == pytest.approx(36 * 550e-6) and said.tokens == 36 * 505
    assert "36 questions to go: 18,180 tokens, about $0.0198" in str(said)


def test_an_estimate_alone_asks_a_few_and_keeps_them(make_store):
    store = make_store(40)
    with FakeVLM(brighter) as server:
        config = configure(server, price_in=None, price_out=None)
        for _ in range(2):
            said = estimate(store, build_annotator(config), config)
            assert (said.questions, said.money, len(store.answers())) == (36, None, 4)
            assert "at no known price" in str(said)
        assert annotate(store, build_annotator(config), config).asked == 36
        assert server.requests == 40


def test_prices_are_the_users_or_the_published_ones():
    usage = Usage(1_000_000, 1_000_000)
    assert Prices("m", "http://localhost/v1", 1.0, 2.0).of(usage) == 3.0
    assert Prices("m", "http://localhost/v1", 1.0, 2.0).of(usage, billed_output=False) == 1.0
    assert Prices("m", "http://localhost/v1").of(usage) is None
    assert Prices("gpt-4o-mini", None).of(usage) == pytest.approx(0.75)
    assert Prices("gpt-6-luna", None).of(Usage(1000), billed_output=False) == pytest.approx(1e-4)
    assert not Prices("no-such-model", None).known
