"""Whether labels survive faults and kill -9: every pair answered once, every token accounted for.

    python benchmarks/annotate_faults.py [--pairs 10000] --json results/bench/annotate-faults.json

A local server lets a share of its requests fail, each in one of eight ways. Two processes ask it
about the same pairs; now and then one is killed and another started. The server keeps its own
accounts of what it answered, and the label store is held against them pair by pair. A second run,
without kills and with those faults only whose cost a client can read, must agree to the token.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.data.records import Frame
from sensei.run import machine
from sensei.testing.server import FakeVLM, Fault, brighter

READABLE: tuple[Fault, ...] = ("429", "500", "refusal", "letters")
"""Faults that are not charged, or whose reply says what it cost."""
PASSES = 3
"""How often, in the end, what failed is asked again."""
PATIENCE_S = 1800.0
WRITER = """
import json
import sys
from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.data.label_store import LabelStore

config = AnnotatorConfig(**json.loads(sys.argv[2]))
with LabelStore(sys.argv[1]) as store:
    annotate(store, build_annotator(config), config)
"""


@dataclasses.dataclass(frozen=True)
class Args:
    """How much is asked, and what goes wrong meanwhile."""

    json: Path | None = None
    pairs: int = 10_000
    frames: int = 1_000
    faults: float = 0.2
    """Share of the requests that fail."""
    kills: int = 3
    """Processes killed, at equal distances."""
    kinds: tuple[Fault, ...] = tuple(kind for kind in get_args(Fault) if kind != "prose")
    """Ways to fail; "prose" is not one over the wire that is used here."""
    concurrency: int = 16
    """Requests in flight from each process."""
    timeout_s: float = 5.0


def main(args: Args) -> None:
    """Measure both runs and write them."""
    exact = dataclasses.replace(args, kills=0, kinds=READABLE)
    found = {
        "killed": measure(args),
        "readable_faults_only": measure(exact),
        "load_average_after": [round(load, 1) for load in os.getloadavg()],
        "machine": {"cores": machine.usable_cores(), **machine.versions()},
    }
    text = json.dumps(found, indent=1)
    print(text)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n")


def measure(args: Args) -> dict[str, Any]:
    """Ask everything in spite of all, and compare the accounts.

    Raises:
        AssertionError: a pair was answered twice or not at all, an answer is not what the server
            said, or the accounts disagree by more than the requests whose cost nobody could read.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStore(Path(folder) / "labels.sqlite") as store,
        FakeVLM(
            brighter,
            offers=("decisions",),
            fault=lambda number: fault(number, args),
            retry_after_s=0.05,
            slow_s=args.timeout_s + 0.5,
        ) as server,
    ):
        fill(store, args)
        began = time.perf_counter()
        failed = ask(store, server, args)
        seconds = time.perf_counter() - began
        return account(store, server, failed, args) | {"seconds": round(seconds, 1)}


def fault(number: int, args: Args) -> Fault | None:
    """Decide whether and how a request fails, by its number."""
    chosen = random.Random(number)
    return chosen.choice(args.kinds) if chosen.random() < args.faults else None


def fill(store: LabelStore, args: Args) -> None:
    """Store small pictures of noise, no two alike, scored by what the server goes by; and pairs."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.frames, 16, 16, 3), np.uint8)
    images[:, 0, 0] = images[:, 0, 0, :1]  # grey, as bright as it is scored
    store.add_frames(
        Frame("collect", 0, 0, i // 10, i, encode_png(image), score=float(image[0, 0, 0]))
        for i, image in enumerate(images)
    )
    draw(store, "uniform", args.pairs, rng)


def ask(store: LabelStore, server: FakeVLM, args: Args) -> list[int]:
    """Label with two processes of which one is killed now and then; then repeat what failed.

    Returns the number of failed pairs after the last process and after each repetition.
    """
    config = AnnotatorConfig(
        kind="vlm",
        base_url=server.base_url,
        prompt="generic",
        wire="decisions",
        retries=8,
        timeout_s=args.timeout_s,
        concurrency=args.concurrency,
    )
    writers = [start(store, config)]
    for victim in range(args.kills):
        writers.append(start(store, config))
        goal = args.pairs * (victim + 1) // (args.kills + 1)
        wait_for(lambda goal=goal: server.requests >= goal, writers[victim])
        writers[victim].kill()
    ended = [writer.wait(PATIENCE_S) for writer in writers]
    assert ended == [-signal.SIGKILL] * args.kills + [0], ended
    failed = []
    for _ in range(PASSES):
        failed.append(int(np.sum(store.labels().status == "failed")))
        annotate(store, build_annotator(config), config)  # takes note of the dead, too
    return [*failed, int(np.sum(store.labels().status == "failed"))]


def start(store: LabelStore, config: AnnotatorConfig) -> subprocess.Popen[bytes]:
    """Label in another process."""
    words = [str(store.path), json.dumps(dataclasses.asdict(config))]
    return subprocess.Popen([sys.executable, "-c", WRITER, *words])


def wait_for(reached: Callable[[], bool], writer: subprocess.Popen[bytes]) -> None:
    """Wait until a process has done enough to be killed in the middle of its work."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert writer.poll() is None, "a process ended before it could be killed"
        assert time.monotonic() < deadline, f"nothing came of it in {PATIENCE_S:g} s"
        time.sleep(0.01)


def account(
    store: LabelStore, server: FakeVLM, failed: list[int], args: Args
) -> dict[str, int | float | list[int]]:
    """Hold the label store against the server's own count."""
    answers, labels, spent = store.answers(), store.labels(), store.ledger.spending()
    assert len(answers) == len(labels) == args.pairs  # one answer a pair
    good = labels.status == "labelled"
    assert set(labels.status) <= {"labelled", "failed"} and int(np.sum(~good)) == failed[-1]
    truth = np.where(labels.true_order < 0, 0.5, labels.true_order)
    np.testing.assert_allclose(labels.y[good], truth[good], atol=1e-6)
    for charged, read, unaccounted in charges(store, server):
        assert read <= charged <= read + unaccounted, (charged, read, unaccounted)
    lost = (server.tokens - spent.tokens) / server.tokens_in
    assert spent.in_flight == 0 and 0 <= lost <= spent.unaccounted
    return {
        "pairs": args.pairs,
        "kills": args.kills,
        "labelled": int(np.sum(good)),
        "failed": failed[-1],
        "failed_before_each_repetition": failed[:-1],
        "requests_served": server.requests,
        "requests_stored": spent.requests,
        "tokens_charged": server.tokens,
        "tokens_stored": spent.tokens,
        "charged_without_readable_reply": round(lost),
        "unaccounted_stored": spent.unaccounted,
    }


def charges(store: LabelStore, server: FakeVLM) -> list[tuple[int, int, int]]:
    """For each pair: what the server charged, and what the store has as read and as unaccounted.

    Raises:
        AssertionError: the server was asked about something that is no pair.
    """
    pictures = {frame.id: frame.picture for frame in store.frames(store.frame_table().id)}
    took: collections.Counter[frozenset[bytes]] = collections.Counter()
    for shown, count in server.charged.items():
        took[frozenset(shown)] += count
    answers = store.answers()
    rows = dict(zip(answers.pair.tolist(), range(len(answers)), strict=True))
    found = []
    for pair in store.pairs():
        row = rows[pair.id]
        charged = took.pop(frozenset((pictures[pair.first], pictures[pair.second])), 0)
        read = int(answers.tokens[row]) // server.tokens_in
        found.append((charged, read, int(answers.unaccounted[row])))
    assert not took, f"{len(took)} pairs were asked that the store does not have"
    return found


if __name__ == "__main__":
    main(tyro.cli(Args))
