"""Several annotators together, and a second one beside the first."""

import asyncio
import json

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator, member_config
from sensei.annotate.mixed import Member, Mixed, combine
from sensei.annotate.oracle import Oracle
from sensei.annotate.quality import quality
from sensei.annotate.run import annotate
from sensei.annotate.second import build_second
from sensei.data.records import Answer
from sensei.testing.server import FakeVLM, brighter
from sensei.types import UsageError


class Says:
    """Always the same answer."""

    prompt_hash = ""

    def __init__(self, name, answer):
        self.name, self.answer = name, answer

    async def compare(self, first, second):
        return self.answer


def together(*answers):
    members = [
        (Member(Says(f"m{i}", a), float(weight)), a) for i, (weight, a) in enumerate(answers)
    ]
    return combine(members)


def test_the_weighted_mean_of_those_who_can_tell():
    first, second, unknown = (Answer.of(c, money=0.1) for c in ("first", "second", "unknown"))
    assert together((1, first), (3, second)).p_second == 0.75
    assert together((1, first), (3, second)).choice == "second"
    assert together((2, first), (2, second)).choice == "tie"
    assert together((1, first), (9, unknown)).p_second == 0.0
    assert together((1, unknown), (1, unknown)).status == "unknown"
    said = together((1, first), (3, second))
    assert said.money == pytest.approx(0.2)
    assert [(m["weight"], m["choice"]) for m in json.loads(said.raw)] == [
        (1, "first"),
        (3, "second"),
    ]
    assert together((1, first), (1, Answer.of("first", money=None))).money is None


def test_a_failure_of_one_is_a_failure_of_all():
    lost = Answer.failed("RateLimitError: slow down", tokens_in=7)
    said = together((1, Answer.of("first", tokens_in=5)), (1, lost))
    assert (said.status, said.tokens_in, said.p_second) == ("failed", 12, None)
    assert said.error == "RateLimitError: m1: slow down"


def test_many_bad_annotators_are_better_than_one(make_store):
    """Right in 70 % each: a majority of five is right in 83.7 %."""
    store = make_store(600)
    members = [f"noisy@{seed}" for seed in range(5)]
    config = AnnotatorConfig(kind="mixed", members=tuple(members), flip_rate=0.3)
    annotate(store, build_annotator(config), config)
    right = quality(store).label_accuracy
    assert right.low < 0.837 < right.high and right.low > 0.75
    assert set(np.round(store.labels().y, 6)) == {np.float32(x) for x in (0, 0.2, 0.4, 0.6, 0.8, 1)}


def test_a_model_among_the_members(make_store):
    store = make_store(10)
    with FakeVLM(brighter, models=("small", "large")) as server:
        config = AnnotatorConfig(
            kind="mixed", members=("vlm@small", f"vlm@large@{server.base_url}=3", "oracle"),
            base_url=server.base_url, prompt="generic")  # fmt: skip
        mixed = build_annotator(config)
        annotate(store, mixed, config)
    assert mixed.name.startswith("mixed(1*vlm:small/generic-")
    assert "3*vlm:large/" in mixed.name and "1*oracle" in mixed.name
    assert store.annotators() == [mixed.name]
    np.testing.assert_allclose(store.labels().y, store.labels().true_order, atol=1e-6)
    (raw,) = {len(json.loads(row)) for (row,) in store._rows("SELECT raw FROM queries")}
    assert raw == 3


def test_how_a_member_is_written():
    config = AnnotatorConfig(kind="mixed", model="m", base_url="http://a/v1", seed=4)
    own, weight = member_config(config, "vlm@org/name:tag@http://b:8000/v1=0.5", "f")
    assert (own.kind, own.model, own.base_url) == ("vlm", "org/name:tag", "http://b:8000/v1")
    assert weight == 0.5 and own.members == () and own.second == ""
    own, weight = member_config(config, "vlm", "f")
    assert (own.model, own.base_url, weight) == ("m", "http://a/v1", 1.0)
    assert member_config(config, "vlm@http://b/v1", "f")[0].base_url == "http://b/v1"
    assert [member_config(config, m, "f")[0].seed for m in ("noisy", "noisy@7")] == [4, 7]
    for wrong in ("", "vml", "vlm@", "oracle@x", "noisy@x", "vlm=0", "vlm=1.2.3", "mixed", "auto"):
        with pytest.raises(UsageError, match=r"^f is '"):
            member_config(config, wrong, "f")


@pytest.mark.parametrize(
    ("members", "words"),
    [((), "needs two or more"), (("oracle",), "two or more"), (("noisy=1", "noisy=2"), "the same")],
)
def test_a_mixture_needs_different_members(members, words):
    with pytest.raises(UsageError, match=words):
        build_annotator(AnnotatorConfig(kind="mixed", members=members))


def test_members_prepare_and_close(make_store):
    done = []

    class Prepared(Says):
        async def prepare(self, store, frame):
            done.append("prepare")

        async def aclose(self):
            done.append("close")

    mixed = Mixed([Member(Prepared("a", Answer.of("tie"))), Member(Says("b", Answer.of("tie")))])
    frame = make_store(1).frames([1])[0]
    asyncio.run(mixed.prepare(make_store(1), frame))
    asyncio.run(mixed.aclose())
    assert done == ["prepare", "close"]


def test_a_second_annotator_measures_and_trains_nothing(make_store):
    store = make_store(200)
    config = AnnotatorConfig(kind="oracle", second="noisy@3", second_share=0.25, flip_rate=0.3)
    annotate(store, Oracle(), config)
    before = store.labels("oracle")
    second = build_second(config)
    assert [second.ask(store, store.count_pairs()).asked for _ in range(2)] == [50, 0]
    np.testing.assert_array_equal(store.labels("oracle").y, before.y)
    (both,) = quality(store, "oracle").agreement.values()
    assert both.share.n == 50 and 0.5 < both.share.value < 0.9
    assert build_second(AnnotatorConfig(kind="oracle")) is None
    for kind, same in (("oracle", "oracle"), ("noisy", "noisy@0")):
        with pytest.raises(UsageError, match="which is the first annotator itself"):
            build_second(AnnotatorConfig(kind=kind, second=same))


def test_a_password_in_a_member_is_refused_and_not_repeated():
    for fields in (
        {"second": "vlm@m@http://me:secret@h/v1"},
        {"members": ("vlm@http://a:secret@h",)},
    ):
        with pytest.raises(UsageError, match="a name or password") as error:
            AnnotatorConfig(**fields)
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("who", [{"members": ("oracle", "vlm@one")}, {"second": "vlm@one"}])
def test_a_budget_needs_the_prices_of_everybody(who):
    kind = "mixed" if "members" in who else "oracle"
    url = "http://localhost:9/v1"
    config = AnnotatorConfig(kind=kind, budget=5.0, base_url=url, prompt="generic", **who)
    make = build_second if "second" in who else build_annotator
    with pytest.raises(UsageError, match=r"budget is 5.0 but the prices of one are unknown.*token"):
        make(config)
    make(AnnotatorConfig(**vars(config) | {"price_in": 0.1, "price_out": 0.2}))
