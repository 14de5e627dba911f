"""A published label folder becomes a run, and R_ψ is trained from it without an environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from motif_folder import write
from sensei import cli
from sensei.data.images import decode_png
from sensei.data.label_store import LabelStore
from sensei.run.workspace import Workspace
from small_run import told_by

BRIGHT = np.random.default_rng(1).permutation(200).reshape(100, 2)
"""Brightness of each frame; the brighter one of a pair is preferred."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = np.broadcast_to(BRIGHT[:, :, None, None, None, None], (100, 2, 1, 24, 32, 3))
    said = (BRIGHT[:, 1] > BRIGHT[:, 0]).astype(np.int64)
    return write(tmp_path / "published", pictures.astype(np.uint8), said)


def imported(folder: Path, run: Path, *words: str) -> None:
    assert cli.main(["import", "motif", str(folder), "--dir", str(run), *words]) == 0


def test_the_labels_are_those_of_the_folder(tmp_path: Path) -> None:
    imported(write(tmp_path / "published"), tmp_path / "run", "--env.image-size", "16")
    with LabelStore(tmp_path / "run" / "labels.sqlite") as store:
        labels = store.labels()
        assert labels.status.tolist() == ["labelled"] * 3 + ["unknown"] + ["labelled"] * 2
        np.testing.assert_array_equal(labels.y, [0, 1, 0.5, np.nan, 1, 0])
        assert store.annotators() == ["preferences_gpt4"]
        frames = store.frames(labels.first)
    assert [frame.vector for frame in frames] == [(0.0,), (1.0,)] * 3
    assert decode_png(frames[0].picture).shape == (8, 8, 3)
    assert decode_png(frames[0].obs or b"").shape == (16, 16, 3)
    assert Workspace(tmp_path / "run").summary("annotate")["run"]["unknown"] == 1


def test_distill_needs_no_environment(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    imported(folder, run, "--distill.epochs", "4", "--distill.members", "2")
    assert "sensei distill --dir" in capsys.readouterr().out
    assert Workspace(run).config()["env"]["name"] == "imported"
    assert cli.main(["distill", "--dir", str(run)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["frames"] == 200 and 10 <= summary["validation_pairs"] <= 20
    assert summary["validation_accuracy"] > 0.8
    assert "unknown environment 'imported'" in told_by(capsys, "explore", "--dir", run, code=2)


def test_again_is_a_no_op_and_another_folder_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    imported(folder, run)
    imported(folder, run)
    assert "annotate: done" in capsys.readouterr().err
    other = np.load(folder / "preference" / "preferences_gpt4.npy")
    np.save(folder / "preference" / "preferences_gpt4.npy", 1 - other)
    words = ("import", "motif", folder, "--dir", run)
    assert "another imported label set" in told_by(capsys, *words, code=2)
    imported(folder, run, "--force")
    np.save(folder / "preference" / "b.npy", other)
    words += ("--preference", "b")
    assert "--preference was another" in told_by(capsys, *words, code=2)
    with LabelStore(run / "labels.sqlite") as store:
        np.testing.assert_array_equal(store.labels().y, 1 - other)
        assert len(store.answers()) == 100


def test_an_interrupted_import_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_many = LabelStore.record_many

    def stopped(self: LabelStore, *arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelStore, "record_many", stopped)
    assert cli.main(["import", "motif", str(folder), "--dir", str(tmp_path / "run")]) == 3
    monkeypatch.setattr(LabelStore, "record_many", record_many)
    imported(folder, tmp_path / "run")
    with LabelStore(tmp_path / "run" / "labels.sqlite") as store:
        assert len(store.frame_table()) == 200 and len(store.answers()) == 100


def test_the_environment_may_be_named(folder: Path, tmp_path: Path) -> None:
    imported(folder, tmp_path / "run", "tiny", "--budget", "smoke")
    config = Workspace(tmp_path / "run").config()
    assert config["env"]["name"] == "tiny" and config["annotate"]["pairs"] == 100
    assert config["explore"]["env_steps"] == 1_600


def test_looking_first(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(folder, tmp_path / "run", "--dry-run")
    found = "100 pairs of 24×32 pictures with 1 numbers each; preferences: preferences_gpt4"
    assert capsys.readouterr().out == f"{folder}: {found}\n"
    imported(folder, tmp_path / "run", "--print-config", "--preference=preferences_gpt4")
    assert "name: imported" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labels", "{folder}"], "import labels {folder}: write sensei import motif FOLDER"),
        (["motif"], "write sensei import motif FOLDER --dir RUN"),
        (["motif", "{folder}"], "import needs a folder for the run: give --dir RUN"),
        (["motif", "{folder}/data", "--dir", "{run}"], "no data/images.pickle"),
        (["motif", "{folder}", "--dir", "{run}", "--preference", "gt"], "--preference is 'gt'"),
        (["motif", "{folder}", "--dir", "{run}", "--preferense", "gt"], "preferense"),
        (["motif", "{folder}", "--dir", "{run}", "--preference"], "--preference has no value"),
        (["motif", "{folder}", "--dir", "{folder}"], "is not empty and not a run"),
    ],
)
def test_wrong_words(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    place = {"folder": str(folder), "run": str(tmp_path / "run")}
    told = told_by(capsys, "import", *(word.format(**place) for word in words), code=2)
    assert message.format(**place) in told
