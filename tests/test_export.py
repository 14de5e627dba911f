"""Exported labels hold what the store holds, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from sensei import cli
from sensei.data.images import decode_png, encode_png
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.data.records import Answer, Frame
from sensei.export import export_labels

SAID = [Answer.of("second"), Answer.of("tie"), Answer.of("unknown"), Answer.failed("timeout")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with 30 asked pairs and 10 more that nobody was asked about."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("env: {name: tiny}\n")
    with LabelStore(folder / "labels.sqlite") as store:
        store.add_frames(
            Frame("collect", 1, 0, i // 6, i, encode_png(np.full((8, 8, 3), i, np.uint8)))
            for i in range(120)
        )
        draw(store, "uniform", 40, np.random.default_rng(0))
        for pair in store.pairs()[:30]:
            store.record(pair.id, "a", "swapped", "", SAID[pair.id % 4])
            if pair.id % 4 == 0:
                store.record(pair.id, "b", "forward", "", Answer.of("second"))
    return folder


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_a_pair_with_everyones_answers(run: Path, tmp_path: Path) -> None:
    assert export_labels(run, tmp_path / "f.jsonl") == f"30 pairs in {tmp_path / 'f.jsonl'}"
    lines = {line["pair"]: line for line in read(tmp_path / "f.jsonl")}
    assert len(lines) == 30
    # a said "second" of the swapped pair, that is the pair's first; b said its second.
    assert (lines[4]["y"], lines[4]["status"], len(lines[4]["answers"])) == (0.5, "labelled", 2)
    assert (lines[1]["y"], lines[1]["status"]) == (0.5, "labelled")
    assert (lines[2]["y"], lines[2]["status"]) == (None, "unknown")
    assert (lines[3]["y"], lines[3]["status"]) == (None, "failed")
    assert lines[1]["answers"] == [
        {"annotator": "a", "order": "swapped", "status": "labelled", "choice": "tie",
         "p_second": 0.5, "probabilities": None}
    ]  # fmt: skip


def test_probabilities_are_exported_where_known(run: Path, tmp_path: Path) -> None:
    odds = {"first": 0.2, "second": 0.6, "tie": 0.2, "unknown": 0.0}
    with LabelStore(run / "labels.sqlite") as store:
        pair = store.pairs()[0].id
        told = Answer(0.7, "labelled", "second", probabilities=odds)
        store.record(pair, "c", "forward", "", told)
    export_labels(run, tmp_path / "f.jsonl")
    first = next(line for line in read(tmp_path / "f.jsonl") if line["pair"] == pair)
    assert [answer["probabilities"] for answer in first["answers"]] == [None, odds]


def test_parquet_holds_the_same(run: Path, tmp_path: Path) -> None:
    export_labels(run, tmp_path / "f.jsonl")
    export_labels(run, tmp_path / "f.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "f.parquet").to_pylist() == read(
        tmp_path / "f.jsonl"
    )


def test_a_dataset_has_pictures_splits_and_a_card(run: Path, tmp_path: Path) -> None:
    to = tmp_path / "dataset"
    export_labels(run, to)
    with LabelStore(run / "labels.sqlite") as store:
        for split in ("train", "validation"):
            rows = read(to / split / "metadata.jsonl")
            assert rows
            for row in rows:
                stored = store.frames([row["first"]])[0].picture
                shown = (to / split / row["first_file_name"]).read_bytes()
                np.testing.assert_array_equal(decode_png(shown), decode_png(stored))
                assert row["split"] == split and (to / split / row["second_file_name"]).exists()
    card = (to / "README.md").read_text()
    assert "30 pairs" in card and "`tiny`" in card and "n<1K" in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labels", "--dir", "{run}", "--to", "{tmp}/f.csv"], ".jsonl or .parquet"),
        (["labels", "--dir", "{run}", "--to", "{run}"], "exists"),
        (["labels", "--dir", "{tmp}", "--to", "{tmp}/f.jsonl"], "sensei annotate --dir"),
        (["episodes", "--dir", "{run}", "--to", "{tmp}/f"], "sensei export labels --dir RUN"),
        (["labels", "--dir", "{run}"], "sensei export labels --dir RUN"),
    ],
)
def test_wrong_words(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    filled = [word.format(run=run, tmp=tmp_path) for word in words]
    assert cli.main(["export", *filled]) == 2
    assert message in capsys.readouterr().err


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "labels", "--to", f"{tmp_path}/f.jsonl", "--dir", str(run)]) == 0
    assert "30 pairs" in capsys.readouterr().out
