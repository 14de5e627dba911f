"""The four wires: what goes out fits the published types, what comes back is understood."""

import asyncio
import contextlib

import numpy as np
import pydantic
import pytest
from openai.types import Decision, DecisionCreateParams
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.prompts import load_prompt
from sensei.annotate.run import annotate
from sensei.annotate.wire import BadAnswerError, Comparison, from_probabilities
from sensei.annotate.wire_chat import JsonWire, LogprobsWire
from sensei.annotate.wire_decisions import DecisionsWire, SystemOneWire
from sensei.data.images import encode_png
from sensei.data.records import Frame
from sensei.testing import replies
from sensei.testing.server import FakeVLM, brighter

ALL = ("decisions", "systemone", "chat")
WIRES = {
    "decisions": DecisionsWire(),
    "systemone": SystemOneWire("assets"),
    "logprobs": LogprobsWire(),
    "json": JsonWire(),
}


def frame(level: int, text: str = "") -> Frame:
    picture = encode_png(np.full((8, 8, 3), level, np.uint8))
    return Frame("c", 0, 0, 0, level, picture, text=text)


def ask(server, times=1, **changes):
    """Ask about a darker and a brighter frame; return the annotator and its last answer."""
    defaults = {"retries": 0, "timeout_s": 30.0, "prompt": "generic"}
    config = AnnotatorConfig(kind="vlm", base_url=server.base_url, **(defaults | changes))

    async def go():
        annotator = build_annotator(config)
        async with contextlib.aclosing(annotator):
            for _ in range(times):
                answer = await annotator.compare(frame(10), frame(20))
        return annotator, answer

    return asyncio.run(go())


def asked(detail="auto", prompt="generic", text="") -> Comparison:
    loaded = load_prompt(prompt)
    return Comparison("m", loaded, loaded.told(), frame(10, text), frame(20, text), detail)


@pytest.mark.parametrize("wire", WIRES)
def test_labels_over_each_wire_are_the_truth(make_store, wire):
    store = make_store(25)
    with FakeVLM(brighter, offers=ALL) as server:
        config = AnnotatorConfig(kind="vlm", base_url=server.base_url, wire=wire, prompt="generic")
        summary = annotate(store, build_annotator(config), config)
    labels, answers = store.labels(), store.answers()
    np.testing.assert_allclose(labels.y, labels.true_order, atol=1e-6)
    assert set(answers.wire) == {wire} and summary.wire == wire
    assert summary.tokens == server.tokens and summary.unaccounted == 0
    assert np.isnan(answers.probabilities).all() == (wire == "json")


@pytest.mark.parametrize(
    ("server", "wire"),
    [
        ({"offers": ALL}, "decisions"),
        ({"offers": ("systemone", "chat")}, "systemone"),
        ({"offers": ("systemone", "chat"), "pictures": "images"}, "systemone"),
        ({"offers": ("systemone", "chat"), "pictures": "ignored"}, "logprobs"),
        ({"offers": ("chat",)}, "logprobs"),
        ({"offers": ("chat",), "logprobs": "refuse"}, "json"),
        ({"offers": ("chat",), "logprobs": "ignore"}, "json"),
    ],
)
def test_auto_takes_the_best_that_the_server_offers(server, wire):
    with FakeVLM(brighter, **server) as fake:
        annotator, answer = ask(fake, times=2)
        assert (annotator.wire.name, answer.wire, answer.choice) == (wire, wire, "second")
        assert answer.requests == 1  # the second question need not find out again


def test_a_busy_server_settles_nothing():
    with FakeVLM(brighter, offers=ALL, fault=lambda n: "500" if n == 0 else None) as server:
        annotator, answer = ask(server)
        assert answer.status == "failed" and annotator.wire is None
    with FakeVLM(brighter, offers=ALL, fault=lambda n: "500" if n == 0 else None) as server:
        assert ask(server, times=2)[1].wire == "decisions"


def test_a_server_that_looks_at_no_picture_gives_no_label():
    with FakeVLM(brighter, offers=ALL, pictures="ignored") as server:
        answer = ask(server, wire="systemone")[1]
    assert answer.status == "failed" and "without looking" in answer.error
    assert answer.tokens_in == server.tokens


def test_probabilities_of_all_options_come_through():
    with FakeVLM(lambda a, b: 0.73, offers=ALL) as server:
        for wire in ("decisions", "systemone", "logprobs"):
            answer = ask(server, wire=wire)[1]
            assert answer.p_second == pytest.approx(0.73)
            assert answer.probabilities["first"] == pytest.approx(0.27)


@pytest.mark.parametrize("fault", ["refusal", "letters", "malformed"])
@pytest.mark.parametrize("wire", WIRES)
def test_what_is_no_answer_becomes_no_label_and_is_paid_for(wire, fault):
    with FakeVLM(brighter, offers=ALL, fault=lambda n: fault) as server:
        answer = ask(server, wire=wire)[1]
    assert (answer.status, answer.p_second) == ("failed", None)
    lost = fault == "malformed"
    assert (answer.unaccounted > 0) == lost
    assert answer.tokens_in + answer.tokens_out == (0 if lost else server.tokens)


def test_bodies_fit_the_published_types():
    for detail in ("auto", "low"):
        body = DecisionsWire().body(asked(detail, text="hungry"))
        pydantic.TypeAdapter(DecisionCreateParams).validate_python(body)
        for wire in (LogprobsWire(), JsonWire()):
            body = wire.body(asked(detail, text="hungry"))
            pydantic.TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(body)


def test_replies_of_the_local_server_fit_the_published_types():
    for wire, kind in (("decisions", Decision), ("logprobs", ChatCompletion)):
        body = WIRES[wire].body(asked())
        seen = replies.understand(WIRES[wire].path.split("/")[1], body, "assets")
        for reply in (
            replies.answer(seen, body, replies.options("tie"), 9),
            replies.refusal(seen, body, 9),
        ):
            kind.model_validate(reply)


def test_a_prompt_of_texts_sends_no_picture():
    for wire in WIRES.values():
        body = wire.body(asked(prompt="story", text="You see a key."))
        seen = replies.understand(wire.path.split("/")[1], body, "assets")
        assert not seen.pictures and "You see a key." in "".join(seen.texts)


def test_probabilities_must_be_some():
    for wrong in ({}, {"first": "x"}, {"first": 2.0}, {"third": 1.0}, {"first": float("nan")}):
        with pytest.raises(BadAnswerError):
            from_probabilities(wrong, "")


def test_a_general_prompt_asks_once_and_tells_every_pair(make_store):
    store = make_store(10)
    with FakeVLM(brighter, describes="A world of grey squares.") as server:
        config = AnnotatorConfig(kind="vlm", base_url=server.base_url, prompt="general")
        for _ in range(2):
            annotator = build_annotator(config)
            annotate(store, annotator, config)
            assert "A world of grey squares." in server.texts[0]
        assert server.requests == 11
    turn = store.ledger.first_turn(annotator.prompt_hash, "fake-vlm", "any")
    assert turn.answer == "A world of grey squares."
    assert store.ledger.spending().tokens == server.tokens
