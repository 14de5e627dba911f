"""A study over two machines is the study that one would have made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensei.cli import main
from sensei.study.config import StudyConfig
from sensei.study.machines import joined, save
from sensei.study.plan import members
from sensei.study.results import RunResult, read_run

WORDS = ["--budget", "smoke", "--methods", "sensei", "p2e", "--seeds", "0", "1", "2"]


@pytest.fixture
def made(tmp_path: Path, make: Callable) -> Callable[..., Path]:
    """A function that makes a study of some seeds, with other counts for each run."""

    def study(name: str, *seeds: int) -> Path:
        config = StudyConfig(str(tmp_path / name), "smoke", ("tiny",), ("sensei", "p2e"))
        for run in members(config):
            if run.seed in seeds:
                rate = 0.01 * (1 + run.seed) + 0.02 * (run.group == "sensei")
                make(run.job, rate, found=1.0 + run.seed)
        return tmp_path / name

    return study


def report(folder: Path, *words: str) -> int:
    return main(["study", *WORDS, "--dir", str(folder), "--report", *words])


def numbers(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "summary.json").read_text())
    del found["seconds"]
    for environment in found["environments"].values():
        for method in environment["methods"].values():
            del method["seconds"], method["total_seconds"]
    return found


def runs_of(folder: Path) -> list[RunResult]:
    return [read_run(path) for path in sorted((folder / "runs").iterdir())]


def test_two_machines_are_compared_as_one(made: Callable[..., Path]) -> None:
    whole, first, second = made("whole", 0, 1, 2), made("first", 0, 2), made("second", 1)
    assert report(whole) == report(second) == 0
    assert report(first, "--also", str(second / "results")) == 0
    assert numbers(first) == numbers(whole)
    # Also where no run is.
    alone = whole.with_name("alone")
    also = [str(folder / "results") for folder in (second, first)]
    assert report(alone, "--also", *also) == 0
    assert numbers(alone) == numbers(whole)


def test_what_is_finished_elsewhere_is_not_made_here(
    made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that is finished, but not as far as this study goes, is made."""
    other = made("other", 0, 2)
    assert report(other) == 0
    path = other / "results" / "tiny-p2e-seed2.json"
    path.write_text(path.read_text().replace("evaluate/task done", "explore done"))
    words = ["--dir", str(other.with_name("here")), "--also", str(path.parent), "--dry-run"]
    capsys.readouterr()
    assert main(["study", *WORDS, *words]) == 0
    jobs = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert jobs == ["runs/tiny-sensei-seed1", "runs/tiny-p2e-seed1", "runs/tiny-p2e-seed2"]


def test_a_result_is_what_its_folder_says(made: Callable[..., Path]) -> None:
    folder = made("study", 0, 1)
    runs = runs_of(folder)
    save(folder, runs)
    for before, after in zip(runs, joined([], [str(folder / "results")], []), strict=True):
        grid = np.linspace(0, 1_000, 77)
        for name, curve in before.events.items():
            kept = after.events[name]
            np.testing.assert_allclose(kept.at(grid), curve.at(grid))
            assert len(kept.steps) < len(curve.steps)  # constant rates: only where they bend
        assert before.returns
        for task, curve in before.returns.items():  # every record: a score is a mean of them
            np.testing.assert_array_equal(after.returns[task].steps, curve.steps)
            np.testing.assert_array_equal(after.returns[task].values, curve.values)
            np.testing.assert_array_equal(after.returns[task].episodes, curve.episodes)
        assert before.settings == after.settings and before.shared == after.shared
        assert (before.evaluated, before.d_init) == (after.evaluated, after.d_init)


def test_what_is_here_counts_and_two_others_are_refused(
    made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = made("one", 0), made("other", 0)
    assert report(one) == report(other, "--also", str(one / "results")) == 0
    folders = [str(one / "results"), str(other / "results")]
    assert report(one.with_name("third"), "--also", *folders) == 2
    assert "both hold tiny-p2e-seed0" in capsys.readouterr().err


def test_other_settings_are_refused(
    made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = made("one", 0), made("other", 1)
    assert report(other) == 0
    path = other / "results" / "tiny-p2e-seed1.json"
    path.write_text(path.read_text().replace('"agent.batch": 8', '"agent.batch": 9'))
    assert report(one, "--also", str(other / "results")) == 2
    message = capsys.readouterr().err
    assert "tiny-p2e-seed1 cannot be compared with tiny-p2e-seed0: agent.batch: 8 → 9" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("{}", "no result that this version wrote")],
)
def test_damaged_results_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    folder = tmp_path / "results"
    assert report(tmp_path / "here", "--also", str(folder)) == 2
    assert "holds no results" in capsys.readouterr().err
    folder.mkdir()
    (folder / "x.json").write_text(text)
    assert report(tmp_path / "here", "--also", str(folder)) == 1
    assert message in capsys.readouterr().err


def test_older_results_count_an_episode_a_record(made: Callable[..., Path]) -> None:
    """They do not say how many ended in it: at least one, so that no streak passes for a score."""
    one = made("one", 0)
    assert report(one) == 0
    path = one / "results" / "tiny-p2e-seed0.json"
    kept = json.loads(path.read_text())
    assert kept["returns"]["task"].pop("episodes") == list(range(5, 55, 5))
    path.write_text(json.dumps(kept))
    read = {run.name: run for run in joined([], [str(path.parent)], [])}
    found = read["tiny-p2e-seed0"].returns["task"]
    np.testing.assert_array_equal(found.episodes, np.arange(1, 11))
