"""Label quality as a table, on the page and from ``sensei annotate --quality``."""

import dataclasses
import json

import numpy as np
import pytest

from sensei import cli
from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.annotate.quality import quality
from sensei.annotate.run import annotate
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer, Frame, Pair
from sensei.report.labels import label_rows, quality_lines
from small_run import told_by

PICTURE = encode_png(np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def run(tmp_path):
    """A run's folder with 40 frames and 60 pairs in its label store."""
    with LabelStore(tmp_path / "labels.sqlite") as store:
        frames = [Frame("collect", 0, 0, 0, i, PICTURE, score=float(i)) for i in range(40)]
        store.add_frames(frames)
        ids = store.frame_table().id.tolist()
        store.add_pairs(Pair(a, b) for a, b in zip(ids[:30], ids[10:], strict=True))
        store.add_pairs(Pair(a, b) for a, b in zip(ids[:30], ids[5:35], strict=True))
    return tmp_path


def ask(run, annotator, **config):
    with LabelStore(run / "labels.sqlite") as store:
        annotate(store, annotator, AnnotatorConfig(**config))


def test_every_measure_has_a_row(run):
    ask(run, NoisyOracle(flip_rate=0.2), orders="both", repeats=2)
    ask(run, Oracle())
    with LabelStore(run / "labels.sqlite") as store:
        store.record(1, "other", "forward", "", Answer.failed("RateLimitError: slow down"))
        store.record(2, "other", "forward", "", Answer(0.97, "labelled", "second"))
        noisy, other = (quality(store, name) for name in (store.annotators()[0], "other"))
    rows = dict(label_rows(dataclasses.asdict(noisy)))
    missing = {name for name, words in rows.items() if words.startswith("not measured")}
    assert missing == {"confidence"}
    assert rows["agrees with itself"].startswith("κ 1 (95 %: ")  # its noise is a hash
    assert rows["agreement"].startswith("noisy(flip=0.2,seed=0) | ")
    rows = dict(label_rows(dataclasses.asdict(other)))
    assert rows["failed requests"] == "RateLimitError 1"
    assert rows["confidence"].startswith("97 % on average, right 100 %")
    assert rows["– said with 90 – 100 %"].startswith("right 100 %")
    assert (
        "not measured: each pair was asked in one order" in rows["answer follows the order shown"]
    )
    lines = quality_lines(dataclasses.asdict(other))
    assert lines[0] == other.verdict and "RateLimitError 1" in "".join(lines)


def test_quality_from_the_command_line(run, capsys):
    words = ["annotate", "--quality", "--dir", str(run)]
    assert "nobody has answered" in told_by(capsys, *words, code=1)
    ask(run, Oracle())
    ask(run, NoisyOracle(position_bias=1.0), orders="both")
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "Accurate: 100% of 60 labels agree with the oracle." in out
    assert "carry no information: the first image is chosen in 100%" in out
    assert cli.main([*words, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["annotators"] != second["annotators"] and second["label_accuracy"]["value"] == 1.0
    before = {path.name for path in run.iterdir()}
    assert before <= {"labels.sqlite", "labels.sqlite-wal", "labels.sqlite-shm"}  # only looked
    gone = told_by(capsys, "annotate", "--quality", "--dir", str(run / "none"), code=1)
    assert "there are no labels at" in gone
