"""Real processes, real faults, kill -9: one answer a pair, every token accounted for."""

import collections
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.testing.server import FakeVLM, brighter

FAULTS = ["429", "500", "drop", "cut", "malformed", "refusal", "letters", "slow"]
SCRIPT = """
    import sys
    from sensei.annotate.annotator import AnnotatorConfig
    from sensei.annotate.build import build_annotator
    from sensei.annotate.run import annotate
    from sensei.data.label_store import LabelStore

    config = AnnotatorConfig(**{config})
    with LabelStore({path!r}) as store:
        annotate(store, build_annotator(config), config)
"""


def faults(number: int):
    """Make every fifth request fail, each time in another way."""
    chosen = random.Random(number)
    return chosen.choice(FAULTS) if chosen.random() < 0.2 else None


def start(store, config: dict) -> subprocess.Popen:
    script = textwrap.dedent(SCRIPT.format(config=config, path=str(store.path)))
    return subprocess.Popen([sys.executable, "-c", script])


def wait_for(reached, process) -> None:
    deadline = time.monotonic() + 120
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def charges(store, server) -> list[tuple[int, int, int]]:
    """For each pair: what the server charged, and what the store has as read and as unaccounted."""
    pictures = {frame.id: frame.picture for frame in store.frames(store.frame_table().id)}
    took = collections.Counter()
    for shown, count in server.charged.items():
        took[frozenset(shown)] += count
    answers, found = store.answers(), []
    for pair in store.pairs():
        mine = answers.pair == pair.id
        read = int(answers.tokens[mine].sum()) // server.tokens_in
        charged = took.pop(frozenset((pictures[pair.first], pictures[pair.second])), 0)
        found.append((charged, read, int(answers.unaccounted[mine].sum())))
    assert not took  # nothing else was asked
    return found


def test_two_writers_three_kills_and_faults(make_store):
    store = make_store(220)
    with FakeVLM(
        brighter, offers=("decisions",), fault=faults, retry_after_s=0.05, slow_s=2.5
    ) as server:
        config = {
            "kind": "vlm",
            "base_url": server.base_url,
            "prompt": "generic",
            "wire": "decisions",
            "retries": 8,
            "timeout_s": 2.0,
            "concurrency": 6,
        }
        writers = [start(store, config)]
        for victim in range(3):
            writers.append(start(store, config))
            goal = server.requests + 25
            wait_for(lambda goal=goal: server.requests >= goal, writers[-1])
            writers[victim].send_signal(signal.SIGKILL)
        writers[-1].wait()  # the one that lives; nobody has taken note of the dead ones yet
        mine = AnnotatorConfig(**config)
        for _ in range(3):  # what failed is asked again
            annotate(store, build_annotator(mine), mine)
        killed = [writer.wait() for writer in writers[:-1]]
    assert killed == [-signal.SIGKILL] * 3
    answers, labels = store.answers(), store.labels()
    assert len(answers) == len(labels) == 220  # one answer a pair
    good = labels.status == "labelled"
    assert good.mean() > 0.95 and set(labels.status) <= {"labelled", "failed"}
    np.testing.assert_allclose(labels.y[good], labels.true_order[good], atol=1e-6)
    spent = store.ledger.spending()
    assert spent.in_flight == 0 and spent.unaccounted >= 1
    for charged, read, unaccounted in charges(store, server):
        assert read <= charged <= read + unaccounted
    assert spent.tokens <= server.tokens <= spent.tokens + spent.unaccounted * server.tokens_in


def test_without_kills_and_cuts_the_accounts_agree_exactly(make_store):
    store, readable = make_store(80), ("429", "500", "refusal", "letters")
    with FakeVLM(
        brighter,
        offers=("decisions",),
        fault=lambda n: readable[n % 4] if n % 5 == 0 else None,
        retry_after_s=0.01,
    ) as server:
        config = AnnotatorConfig(
            kind="vlm", base_url=server.base_url, prompt="generic", wire="decisions", retries=3
        )
        annotate(store, build_annotator(config), config)
    spent = store.ledger.spending()
    assert (spent.tokens, spent.unaccounted) == (server.tokens, 0)
    assert spent.requests == server.requests
    assert all(charged == read for charged, read, _ in charges(store, server))
