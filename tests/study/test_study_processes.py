"""A study as a user starts it: real runs in real processes, on the built-in environment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sensei.run.workspace import Workspace
from small_run import Commands


def test_real_runs_share_their_labels(commands: Commands, tmp_path: Path) -> None:
    # Nothing new is compiled: a longer prefill is the only difference.
    words = ["--methods", "sensei", "--until", "explore", "--config", commands.config]
    words += ["--conditions", "default", "late:explore.prefill=120"]
    place = tmp_path / "x"
    commands("study", "--budget", "smoke", "--dir", place, *words)
    (shared,) = (place / "shared").iterdir()
    runs = [Workspace(place / "runs" / f"tiny-sensei{x}-seed0") for x in ("", "-late")]
    for run in runs:
        assert run.finished("explore")
        assert run.record("distill") == Workspace(shared).record("distill")
    again = commands("study", "--dir", place)
    assert "done" not in again.stderr  # no run was started again
    found = json.loads((place / "summary.json").read_text())
    methods = found["environments"]["tiny"]["methods"]
    assert list(methods) == ["sensei", "sensei late"]
    assert found["missing"] == []


def test_smoke_study_of_every_method(commands: Commands, tmp_path: Path) -> None:
    commands("study", "--budget", "smoke", "--dir", tmp_path / "x", "--config", commands.config)
    html = (tmp_path / "x" / "report.html").read_text()
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", html, flags=re.DOTALL)
    assert "7 of 7 runs can be compared" in text and not re.search(r"–|nan|None|not yet", text)


@pytest.mark.slow
def test_two_generations_are_compared_with_one(commands: Commands, tmp_path: Path) -> None:
    words = ["generations", "--budget", "smoke", "--until", "explore", "--config", commands.config]
    commands("study", *words, "--dir", tmp_path / "x")
    two = Workspace(tmp_path / "x" / "runs" / "tiny-sensei-two-seed0")
    assert two.finished("explore-2") and two.summary("explore-2")["env_steps"] == 200
    found = json.loads((tmp_path / "x" / "summary.json").read_text())
    assert found["missing"] == [] and found["steps"] == 400  # 200 and 200
    assert list(found["methods"]) == ["sensei", "sensei more", "sensei two"]
