"""Real processes, real faults, kill -9: one answer a pair, every token accounted for."""

import json
import sys
from pathlib import Path

import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.testing.server import FakeVLM, brighter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch):
    """The measurement of results/bench/annotate-faults.json, as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("annotate_faults", None)
    import annotate_faults

    return annotate_faults


def test_two_writers_three_kills_and_faults(program):
    args = program.Args(pairs=220, frames=240, concurrency=6, timeout_s=2.0)
    found = program.measure(args)  # fails where a pair's accounts disagree
    assert found["labelled"] + found["failed"] == 220
    assert found["labelled"] > 0.95 * 220
    assert found["unaccounted_stored"] >= 1
    assert found["tokens_stored"] <= found["tokens_charged"]


def test_without_kills_and_cuts_the_accounts_agree_exactly(program):
    args = program.Args(pairs=80, frames=240, kills=0, kinds=program.READABLE, timeout_s=60.0)
    found = program.measure(args)
    assert found["tokens_stored"] == found["tokens_charged"] > 80 * 500  # some of them failed
    assert found["requests_stored"] == found["requests_served"]
    assert found["unaccounted_stored"] == 0


def test_one_request_too_many_is_found(program, make_store):
    store, args = make_store(5), program.Args(pairs=5)
    with FakeVLM(brighter, offers=("decisions",)) as server:
        config = AnnotatorConfig(
            kind="vlm", base_url=server.base_url, prompt="generic", wire="decisions"
        )
        annotate(store, build_annotator(config), config)
    program.account(store, server, [0], args)
    server.charged[next(iter(server.charged))] += 1
    with pytest.raises(AssertionError):
        program.account(store, server, [0], args)


def test_the_page_says_what_was_measured():
    found = json.loads((ROOT / "results" / "bench" / "annotate-faults.json").read_text())
    page = (ROOT / "docs" / "annotators.md").read_text()
    killed, exact = found["killed"], found["readable_faults_only"]
    assert (killed["labelled"], killed["kills"]) == (killed["pairs"], 3) and exact["failed"] == 1
    assert exact["tokens_stored"] == exact["tokens_charged"]
    named = (killed["pairs"], killed["charged_without_readable_reply"])
    for number in (*named, killed["unaccounted_stored"], exact["tokens_stored"]):
        assert f"{number:,}" in page
