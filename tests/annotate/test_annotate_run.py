"""Asking: exactly what is missing, within the budget, whatever interrupts it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.annotate.questions import CHUNK
from sensei.annotate.run import annotate
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer
from sensei.types import SenseiError

CONFIG = AnnotatorConfig(kind="oracle")


class Counting:
    """The oracle, counting its questions and failing or stopping on demand."""

    name, prompt_hash = "counting", ""

    def __init__(self, act=lambda number: None, delay=0.0):
        self.asked, self.flying, self.peak = [], 0, 0
        self.act, self.delay = act, delay

    async def compare(self, first, second):
        self.asked.append((first.id, second.id))
        number = len(self.asked)
        self.flying += 1
        self.peak = max(self.peak, self.flying)
        await asyncio.sleep(self.delay)
        self.flying -= 1
        return self.act(number) or await Oracle().compare(first, second)


def test_labels_of_the_oracle_are_the_truth(make_store):
    store = make_store(600)
    summary = annotate(store, Oracle(), CONFIG)
    assert (summary.asked, summary.labelled, summary.pending) == (600, 600, 0)
    labels = store.labels()
    np.testing.assert_array_equal(labels.y, labels.true_order)
    shown = store.answers().shown
    assert 0.4 < np.mean(shown == "swapped") < 0.6
    again = annotate(store, Oracle(), CONFIG)
    assert (again.asked, again.pending) == (0, 0)


@pytest.mark.parametrize(("orders", "each"), [("first", 1), ("random", 1), ("both", 2)])
def test_orders(make_store, orders, each):
    store = make_store(50)
    counting = Counting()
    config = AnnotatorConfig(kind="oracle", orders=orders, repeats=2)
    annotate(store, counting, config)
    assert len(counting.asked) == len(store.answers()) == 50 * each * 2
    if orders == "first":
        assert set(store.answers().shown) == {"forward"}
    np.testing.assert_array_equal(store.labels().y, store.labels().true_order)


def test_both_orders_cancel_a_position_bias(make_store):
    store = make_store(300)
    annotate(store, NoisyOracle(position_bias=1.0), AnnotatorConfig(orders="both"))
    assert set(store.labels().y) == {0.5}


def test_answers_do_not_depend_on_concurrency(make_store):
    found = []
    for concurrency in (1, 50):
        store = make_store(200)
        noisy = NoisyOracle(flip_rate=0.3, tie_rate=0.2, unknown_rate=0.1)
        annotate(store, noisy, AnnotatorConfig(concurrency=concurrency))
        found.append(store.labels())
    np.testing.assert_array_equal(found[0].y, found[1].y)
    np.testing.assert_array_equal(found[0].status, found[1].status)


def test_concurrency_is_bounded_and_used(make_store):
    counting = Counting(delay=0.01)
    annotate(make_store(100), counting, AnnotatorConfig(concurrency=7))
    assert counting.peak == 7


def test_frames_in_memory_are_bounded(make_store, monkeypatch):
    store, loaded = make_store(1000), []
    frames = LabelStore.frames

    def counted(self, ids, **kwargs):
        loaded.append(len(ids))
        return frames(self, ids, **kwargs)

    monkeypatch.setattr(LabelStore, "frames", counted)
    annotate(store, Oracle(), CONFIG)
    assert len(loaded) == -(-1000 // CHUNK)
    assert max(loaded) <= 2 * CHUNK


def test_max_pairs_and_then_the_rest(make_store):
    store = make_store(100)
    config = AnnotatorConfig(max_pairs=30, orders="both")
    assert annotate(store, Oracle(), config).asked == 60
    assert annotate(store, Oracle(), config).asked == 60
    assert len(store.labels()) == 60


def test_unknown_and_failures_are_kept_apart_and_only_failures_asked_again(make_store):
    store = make_store(40)

    def act(number):
        return {0: Answer.of("unknown"), 1: Answer.failed("x")}.get(number % 4)

    summary = annotate(store, Counting(act), CONFIG)
    assert (summary.labelled, summary.unknown, summary.failed) == (20, 10, 10)
    assert summary.pending == 10
    labels = store.labels()
    assert {s: int(np.sum(labels.status == s)) for s in set(labels.status)} == {
        "labelled": 20, "unknown": 10, "failed": 10}  # fmt: skip
    assert np.isnan(labels.y[labels.status != "labelled"]).all()
    assert annotate(store, Counting(), CONFIG).asked == 10


def test_a_budget_is_not_exceeded(make_store):
    store = make_store(200)
    priced = Counting(lambda _: Answer.of("first", money=0.01), delay=0.001)
    summary = annotate(store, priced, AnnotatorConfig(budget=0.5, concurrency=16))
    assert summary.asked == 50 and "budget of $0.5" in summary.stopped
    assert store.money() == pytest.approx(0.5)
    assert annotate(store, priced, AnnotatorConfig(budget=0.5)).asked == 0
    assert annotate(store, priced, AnnotatorConfig(budget=0.6)).asked == 10


def test_only_failures_end_the_run(make_store):
    store = make_store(200)
    counting = Counting(lambda _: Answer.failed("HTTP 500"))
    with pytest.raises(SenseiError, match=r"first 20 questions to counting all failed.*HTTP 500"):
        annotate(store, counting, CONFIG)
    assert len(counting.asked) < 60
    assert len(store.answers()) >= 20  # kept, as failures


def test_an_error_ends_the_run_and_keeps_the_answers(make_store):
    store = make_store(200)

    def act(number):
        if number == 120:
            raise SenseiError("the server is gone")

    with pytest.raises(SenseiError, match="the server is gone"):
        annotate(store, Counting(act), CONFIG)
    assert 100 <= len(store.answers()) < 140  # those in flight may still arrive


def test_ctrl_c_saves_and_goes_on_up(make_store):
    store = make_store(200)
    # A shell that starts the tests in the background lets them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def act(number):
        if number == 100:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        annotate(store, Counting(act, delay=0.001), CONFIG)
    signal.signal(signal.SIGINT, before)
    kept = len(store.answers())
    assert 80 <= kept < 120
    assert annotate(store, Counting(), CONFIG).asked == 200 - kept


def test_inside_a_running_loop(make_store):
    store = make_store(30)

    async def notebook():
        return annotate(store, Oracle(), CONFIG)

    assert asyncio.run(notebook()).labelled == 30


def test_progress(make_store):
    seen = []
    store = make_store(200)
    annotate(store, Oracle(), CONFIG, lambda *args: seen.append(args))
    assert seen[-1] == (200, 200, {"money": 0.0, "failed": 0})
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_after_kill_9_only_the_missing_is_asked(make_store):
    store = make_store(300)
    script = f"""
        import asyncio, sys
        from sensei.annotate.annotator import AnnotatorConfig
        from sensei.annotate.oracle import Oracle
        from sensei.annotate.run import annotate
        from sensei.data.label_store import LabelStore

        class Slow:
            name, prompt_hash = "counting", ""
            asked = 0
            async def compare(self, first, second):
                self.asked += 1  # the last questions hang, so that the kill is never too late
                await asyncio.sleep(0.01 if self.asked <= 250 else 3600)
                return await Oracle().compare(first, second)

        annotate(LabelStore({str(store.path)!r}), Slow(), AnnotatorConfig(concurrency=4))
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    deadline = time.monotonic() + 60
    while len(store.answers()) < 100 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = len(store.answers())
    assert 100 <= kept < 300
    counting = Counting()
    assert annotate(store, counting, CONFIG).asked == 300 - kept
    assert len(store.answers()) == len(store.labels()) == 300
    assert len(set(counting.asked)) == 300 - kept
