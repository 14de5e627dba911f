"""A person answers at a terminal; here a list of keys plays the person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensei.annotate.annotator import AnnotatorConfig, resolve
from sensei.annotate.build import build_annotator
from sensei.annotate.human import GAP, Human
from sensei.annotate.run import annotate
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame, Pair
from sensei.types import UsageError


@pytest.fixture
def store(tmp_path: Path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        shades = [np.full((4, 6, 3), 40 * i, np.uint8) for i in range(4)]
        frames = [
            Frame("collect", 1, 0, 0, i, encode_png(shade), text=f"frame {i}")
            for i, shade in enumerate(shades)
        ]
        store.add_frames(frames)
        store.add_pairs([Pair(1, 2), Pair(2, 3), Pair(3, 4)])
        yield store


def config() -> AnnotatorConfig:
    return resolve(AnnotatorConfig(kind="human", orders="first", concurrency=16), has_oracle=False)


def test_keys_become_labels_and_the_pair_is_one_picture(store: LabelStore) -> None:
    keys, seen = iter(["?", "2", "1", "t"]), []
    human = Human(lambda _: next(keys), lambda path: seen.append(np.array(Image.open(path))))
    summary = annotate(store, human, config())
    assert summary.labelled == 3
    assert store.labels().y.tolist() == [1.0, 0.0, 0.5]
    assert [picture.shape for picture in seen] == [(4, 12 + GAP, 3)] * 3
    assert (seen[1][0, 0] == 40).all() and (seen[1][0, -1] == 80).all()


def test_stopping_keeps_the_answers_and_continues_after_them(store: LabelStore) -> None:
    keys = iter(["2", "q"])
    with pytest.raises(KeyboardInterrupt):
        annotate(store, Human(lambda _: next(keys), lambda _: None), config())
    assert store.labels().y.tolist() == [1.0]
    asked: list[str] = []
    rest = Human(lambda text: asked.append(text) or "u", lambda _: None)
    assert annotate(store, rest, config()).unknown == 2
    assert "1: frame 1\n2: frame 2" in asked[0]


def test_without_a_terminal_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match="standard input is none"):
        build_annotator(config())
