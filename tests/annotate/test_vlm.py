"""The client against a real HTTP server with the faults of real servers."""

import asyncio
import contextlib
import time

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.annotate.wire import BadAnswerError
from sensei.annotate.wire_chat import parse_json, parse_logprobs
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame
from sensei.testing.server import FakeVLM, brighter
from sensei.types import SenseiError, UsageError

SECRET = "sk-very-secret-0123456789"
ALL = ("decisions", "systemone", "chat")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def picture(level: float) -> bytes:
    return encode_png(np.full((8, 8, 3), int(level), np.uint8))


def configure(server, **changes) -> AnnotatorConfig:
    defaults = {"retries": 2, "timeout_s": 10.0, "prompt": "generic", "concurrency": 4}
    return AnnotatorConfig(kind="vlm", base_url=server.base_url, **(defaults | changes))


def ask(config, first=10.0, second=20.0, times=1, text=""):
    """Ask about two pictures of given brightness; returns the last answer."""

    async def go():
        annotator = build_annotator(config)
        frames = [
            Frame("c", 0, 0, 0, i, picture(b), text=text) for i, b in enumerate((first, second))
        ]
        async with contextlib.aclosing(annotator):
            for _ in range(times):
                answer = await annotator.compare(*frames)
        return answer

    return asyncio.run(go())


@pytest.mark.parametrize("wire", ["auto", "json", "logprobs"])
def test_labels_over_the_wire_are_the_truth(make_store, wire):
    store = make_store(60)
    with FakeVLM(brighter) as server:
        config = configure(server, wire=wire, price_in=1.0, price_out=10.0)
        annotator = build_annotator(config)
        summary = annotate(store, annotator, config)
        assert server.requests == 60
    labels = store.labels()
    np.testing.assert_allclose(labels.y, labels.true_order, atol=1e-6)
    assert summary.tokens == 60 * 505
    assert summary.money == pytest.approx(60 * 550e-6)
    assert annotator.name.startswith("vlm:fake-vlm/generic-")
    assert "more interesting" in store.prompt(annotator.prompt_hash)


def test_probabilities_come_through():
    with FakeVLM(lambda a, b: 0.73) as server:
        assert ask(configure(server, wire="logprobs")).p_second == pytest.approx(0.73)
        assert ask(configure(server, wire="auto")).p_second == pytest.approx(0.73)
        assert ask(configure(server, wire="json")).p_second == 1.0


@pytest.mark.parametrize("logprobs", ["ignore", "refuse"])
def test_auto_falls_back_to_json_once(logprobs):
    with FakeVLM(brighter, logprobs=logprobs) as server:
        answer = ask(configure(server), times=3)
        assert (answer.choice, answer.raw) == ("second", '{"answer": "second"}')
        assert server.requests == 4  # one probe, three questions
        assert ask(configure(server, wire="logprobs")).status == "failed"


@pytest.mark.parametrize("wire", ["json", "logprobs"])
@pytest.mark.parametrize(("said", "p"), [("tie", 0.5), ("unknown", None), ("first", 0.0)])
def test_ties_and_unknown_stay_what_they_are(wire, said, p):
    with FakeVLM(lambda a, b: said) as server:
        answer = ask(configure(server, wire=wire))
    assert answer.choice == said
    assert answer.status == ("unknown" if said == "unknown" else "labelled")
    assert answer.p_second == (None if p is None else pytest.approx(p, abs=1e-6))


@pytest.mark.parametrize("fault", ["429", "500", "drop"])
def test_transient_faults_are_retried(fault):
    with FakeVLM(brighter, fault=lambda n: fault if n == 0 else None, retry_after_s=0.3) as server:
        started = time.monotonic()
        assert ask(configure(server, wire="json")).choice == "second"
        assert server.requests == 2
        assert time.monotonic() - started >= (0.3 if fault == "429" else 0.0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("500", "something broke"),
        ("429", "slow down"),
        ("malformed", "JSON"),
        ("prose", "not JSON: 'I would say"),
        ("refusal", "I cannot help"),
    ],
)
def test_lasting_faults_are_failures_never_labels(fault, words):
    with FakeVLM(brighter, fault=lambda n: fault, retry_after_s=0.05) as server:
        answer = ask(configure(server, wire="json", retries=1))
    assert (answer.status, answer.p_second) == ("failed", None)
    assert words in answer.error


def test_a_slow_reply_times_out_and_is_asked_again():
    with FakeVLM(brighter, fault=lambda n: "slow" if n == 0 else None, slow_s=1.0) as server:
        assert ask(configure(server, wire="json", timeout_s=0.3)).choice == "second"
        assert server.requests == 2


def test_faults_in_a_run_are_reported_and_repaired_by_the_next(make_store):
    store = make_store(40)
    with FakeVLM(brighter, fault=lambda n: "prose" if 1 < n < 12 else None) as server:
        config = configure(server, wire="json")
        summary = annotate(store, build_annotator(config), config)
        assert (summary.labelled, summary.failed, summary.pending) == (30, 10, 10)
        assert 1 < server.peak <= 4
        annotate(store, build_annotator(config), config)
        assert server.requests == 50
    np.testing.assert_array_equal(store.labels().y, store.labels().true_order)


def test_an_unreachable_server_ends_the_run_with_one_line(make_store):
    with FakeVLM(brighter) as server:
        config = configure(server, retries=0, model="m")
    with pytest.raises(SenseiError, match=rf"{server_url(config)} cannot be reached") as error:
        annotate(make_store(50), build_annotator(config), config)
    assert "\n" not in str(error.value)
    with pytest.raises(SenseiError, match="cannot be reached"):
        build_annotator(AnnotatorConfig(kind="vlm", base_url=config.base_url, retries=0,
                                        prompt="generic"))  # fmt: skip


def server_url(config):
    return config.base_url.replace(".", r"\.")


def test_a_server_that_dies_midway_keeps_the_answers(make_store):
    store = make_store(100)
    with FakeVLM(brighter, fault=lambda n: "drop" if n >= 30 else None) as server:
        config = configure(server, wire="json", retries=0)
        with pytest.raises(SenseiError, match="cannot be reached"):
            annotate(store, build_annotator(config), config)
    assert len(store.labels()) >= 27


@pytest.mark.parametrize("wire", ["decisions", "systemone", "logprobs", "json"])
def test_the_key_is_used_and_appears_nowhere(make_store, monkeypatch, tmp_path, capfd, wire):
    monkeypatch.setenv("MY_KEY", SECRET)
    store = make_store(12)
    faults = {3: "letters", 4: "refusal", 5: "cut", 6: "500", 7: "malformed"}
    with FakeVLM(brighter, key=SECRET, offers=ALL, fault=faults.get) as server:
        config = configure(server, api_key_env="MY_KEY", wire=wire, retries=0)
        with contextlib.suppress(SenseiError):  # a cut reply counts as an unreachable server
            annotate(store, build_annotator(config), config)
        assert server.saw_authorization
    with FakeVLM(brighter, key="another", offers=ALL) as server:  # its error repeats the key
        config = configure(server, api_key_env="MY_KEY", wire=wire)
        with pytest.raises(SenseiError, match=r"refuses the key \(HTTP 401\): set MY_KEY") as error:
            annotate(make_store(5), build_annotator(config), config)
    assert SECRET not in str(error.value)
    store.close()
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in "".join(capfd.readouterr())


def test_without_a_server_or_a_key_nothing_is_asked():
    with pytest.raises(UsageError, match="environment variable NO_KEY"):
        build_annotator(AnnotatorConfig(kind="vlm", api_key_env="NO_KEY", prompt="generic"))


def test_a_key_in_a_reply_is_removed(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with FakeVLM(lambda a, b: f"hello {SECRET}") as server:
        answer = ask(configure(server, wire="json"))
    assert answer.status == "failed" and SECRET not in answer.error and "***" in answer.error


def test_the_model_is_found_or_asked_for():
    with FakeVLM(brighter, models=("a", "b")) as server:
        with pytest.raises(UsageError, match=r"serves 2 models \(a, b\): give --annotator.model"):
            build_annotator(configure(server))
        assert ask(configure(server, model="b")).choice == "second"
        with pytest.raises(SenseiError, match="does not know the model c"):
            ask(configure(server, model="c"))


def test_a_model_that_refuses_a_temperature_is_asked_without():
    with FakeVLM(brighter, fixed_temperature=True) as server:
        assert ask(configure(server, wire="json"), times=3).choice == "second"
        assert server.requests == 4


def test_texts_travel_with_their_picture():
    with FakeVLM(brighter) as server:
        ask(configure(server, wire="json"), text="a key named Thievery")
        assert [t for t in server.texts if "Thievery" in t] == [
            "Text that belongs to the first image:\na key named Thievery",
            "Text that belongs to the second image:\na key named Thievery",
        ]
        assert server.texts[0].startswith("You help an agent")
        ask(configure(server, wire="json", detail="low"))


def test_a_changed_prompt_is_asked_anew(make_store, tmp_path):
    store = make_store(5)
    own = tmp_path / "own.md"
    with FakeVLM(brighter) as server:
        for words in ("Look.", "Look again.", "Look again."):
            own.write_text(words)
            config = configure(server, prompt=str(own))
            annotate(store, build_annotator(config), config)
        assert server.requests == 10
    assert len(store.annotators()) == 2


def test_parse_json_reads_the_schema_only():
    reply = parse_json('{"answer": "tie"}')
    assert (reply.choice, reply.p_second, reply.probabilities) == ("tie", 0.5, None)
    fenced = '```json\n{"answer": "first"}\n```'
    wrong = ("1", "first", '"first"', '{"answer": "1"}', '["first"]', '{"a": 1}', "Image 1", fenced)
    for prose in (None, "", *wrong):
        with pytest.raises(BadAnswerError):
            parse_json(prose)


def test_an_answer_that_the_prompt_does_not_offer_fails(tmp_path):
    own = tmp_path / "own.md"
    own.write_text("---\noptions: [first, second]\n---\nLook.")
    with FakeVLM(lambda one, other: "tie", offers=ALL) as server:
        for wire in ("decisions", "systemone", "logprobs", "json"):
            answer = ask(configure(server, wire=wire, prompt=str(own)))
            assert answer.status == "failed" and answer.tokens_in > 0
            assert "'tie', the prompt offers only first, second" in (answer.error or "")


def test_parse_logprobs():
    log = np.log
    reply = parse_logprobs({"A": log(0.2), " B": log(0.6), "C": log(0.2)})
    assert (reply.choice, reply.p_second) == ("second", pytest.approx(0.7))
    reply = parse_logprobs({"A": log(0.3), "\u2581A": log(0.3), "B": log(0.2), "x": log(0.2)})
    assert (reply.choice, reply.p_second) == ("first", pytest.approx(0.25))
    assert reply.probabilities == pytest.approx(
        {"first": 0.6, "second": 0.2, "tie": 0.0, "unknown": 0.0}
    )
    reply = parse_logprobs({"D": log(0.6), "A": log(0.4)})
    assert (reply.choice, reply.p_second) == ("unknown", None)
    for prose in ({}, {"The": log(0.9), "A": log(0.1)}):
        with pytest.raises(BadAnswerError):
            parse_logprobs(prose)


def test_prompts_are_stored_by_hash(tmp_path):
    with LabelStore(tmp_path / "l.sqlite") as store:
        store.remember_prompt("h", "n", 1, "words")
        store.remember_prompt("h", "n", 1, "words")
        assert store.prompt("h") == "words" and store.prompt("other") is None
