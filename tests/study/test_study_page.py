"""From runs with known counts to the summary and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensei.cli import main
from sensei.study.config import StudyConfig
from sensei.study.dial import dial_of
from sensei.study.plan import Member, members
from sensei.study.results import Curve, Returns, RunResult
from sensei.study.status import env_steps_done, env_steps_wanted, is_done
from sensei.study.summary import compare

WORDS = ["--budget", "smoke", "--methods", "sensei", "p2e", "--seeds", "0", "1"]


def planned(folder: Path) -> list[Member]:
    config = StudyConfig(str(folder), "smoke", ("tiny",), ("sensei", "p2e"), seeds=(0, 1))
    return members(config)


@pytest.fixture
def reported(tmp_path: Path, make: Callable, capsys: pytest.CaptureFixture[str]) -> Path:
    """A study of two methods and two seeds, of which the last run has not begun."""
    rates = {("sensei", 0): 0.04, ("sensei", 1): 0.02, ("p2e", 0): 0.01}
    for run in planned(tmp_path)[:3]:
        reached = 500 if run.group == "p2e" else 1_000
        make(run.job, rates[run.group, run.seed], reached, 1.0 + run.seed)
    assert main(["study", *WORDS, "--dir", str(tmp_path), "--report"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == str(tmp_path / "report.html")
    return tmp_path


def numbers(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def test_runs_are_compared_where_all_have_been(reported: Path) -> None:
    found = numbers(reported)
    tiny = found["environments"]["tiny"]
    assert tiny["steps"] == 500 and tiny["limited_by"] == "tiny-p2e-seed0"
    keys = {name: method["events"]["key_picked_up"] for name, method in tiny["methods"].items()}
    assert keys["p2e"] == {"iqm": 5.0, "low": 5.0, "high": 5.0}
    assert keys["sensei"] == {"iqm": 15.0, "low": 10.0, "high": 20.0}
    assert tiny["methods"]["sensei"]["seeds"] == 2
    # One key every 25 and every 50 steps: on average half of what there is at the end.
    assert tiny["methods"]["sensei"]["area"]["key_picked_up"]["iqm"] == pytest.approx(7.5)
    # Better at keys, equal at the reward that nobody has.
    better = tiny["probability_of_improvement"]["sensei"]["p2e"]
    assert better["value"] == pytest.approx(0.75)
    assert found["missing"] == ["tiny-p2e-seed1"] and found["runs"] == 4
    assert found["steps"] == 500  # of one environment these stand at the top as well
    assert found["methods"]["p2e"]["events"] == tiny["methods"]["p2e"]["events"]


def test_all_steps_spent_are_counted(reported: Path) -> None:
    methods = numbers(reported)["environments"]["tiny"]["methods"]
    assert methods["sensei"]["env_steps"] == {"collect": 1_000, "explore": 1_000, "solve": 1_000}
    assert methods["sensei"]["total_env_steps"] == 3_000
    assert methods["p2e"]["total_env_steps"] == 1_500
    evaluated = methods["sensei"]["evaluated"]["task"]["mode"]
    assert evaluated == {"iqm": 1.5, "low": 1.0, "high": 2.0, "seeds": 2}


def test_the_page_is_whole_and_alone(reported: Path) -> None:
    html = (reported / "report.html").read_text()
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", html, flags=re.DOTALL)
    assert "compared at 500 steps" in text and "tiny-p2e-seed1" in text
    assert not re.search(r"–|nan|None|not yet", text)
    assert html.count("<svg") == 4  # keys, profile, returns twice; nobody has any reward
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)
    assert (reported / "tiny.png").stat().st_size > 0


def test_steps_to_a_score(tmp_path: Path, make: Callable) -> None:
    """Of three runs two reach .9 from the first records on: a score needs 50 episodes, five of
    which end in a record."""
    config = StudyConfig(str(tmp_path), "smoke", ("tiny",), ("p2e",), seeds=(0, 1, 2))
    for run, found in zip(members(config), (1.0, 0.5, 0.95), strict=True):
        make(run.job, found=found)
    words = ["--budget", "smoke", "--methods", "p2e", "--seeds", "0", "1", "2"]
    assert main(["study", *words, "--dir", str(tmp_path), "--report", "--score", "0.9"]) == 0
    found = numbers(tmp_path)["environments"]["tiny"]["steps_to"]
    runs = {"tiny-p2e-seed0": 1_000.0, "tiny-p2e-seed1": None, "tiny-p2e-seed2": 1_000.0}
    p2e = {"median": 1_000.0, "reached": 2, "runs": runs}
    assert found == {"score": 0.9, "tasks": {"task": {"p2e": p2e}}}
    assert "2 of 3" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("value", "steps"), [(0.5, 150.0), (0.75, 180.0), (1.0, np.inf)])
def test_a_score_is_the_mean_of_fifty_episodes(value: float, steps: float) -> None:
    """Ten records of zeros, nine of ones and one of zeros, 10 steps apart, each of five episodes:
    the mean of 50 is .5 first at the fifth of the ones and .75 at the eighth (.8), never 1."""
    values = np.array([0.0] * 10 + [1.0] * 9 + [0.0])
    curve = Returns(10.0 * np.arange(1, 21), values, 5.0 * np.arange(1, 21))
    assert curve.reaches(value) == steps


def test_a_streak_of_records_with_an_episode_each_is_no_score() -> None:
    """Ten ones after a record of 45 failures: whole records are taken, so 10 of 55."""
    ended = np.array([45.0, *range(46, 56)])
    curve = Returns(100.0 * np.arange(1, 12), np.array([0.0] + [1.0] * 10), ended)
    assert curve.means.values[-1] == pytest.approx(10 / 55)
    assert curve.reaches(0.9) == np.inf


def test_means_are_of_fifty_episodes_or_of_as_many_as_there_are() -> None:
    """Records of 10, 30, 20, 40 and 60 episodes: each mean reaches back over whole records."""
    ended = np.array([10.0, 40.0, 60.0, 100.0, 160.0])
    curve = Returns(10.0 * np.arange(1, 6), np.array([1.0, 0.0, 1.0, 0.5, 0.25]), ended)
    found = curve.means
    np.testing.assert_array_equal(found.steps, curve.steps)
    np.testing.assert_allclose(found.values, [1.0, 10 / 40, 20 / 50, 40 / 60, 0.25])
    few = Returns(curve.steps, np.ones(5), np.arange(5.0, 10.0))
    assert few.reaches(1.0) == np.inf


def test_how_far_a_job_is(tmp_path: Path, make: Callable) -> None:
    job = planned(tmp_path)[1].job
    assert not is_done(job) and env_steps_done(job) == 0
    make(job)
    assert is_done(job) and env_steps_done(job) == env_steps_wanted(job) == 2_400


def test_nothing_has_begun(tmp_path: Path) -> None:
    place = tmp_path / "x"
    assert main(["study", *WORDS, "--dir", str(place), "--dry-run"]) == 0
    assert not place.exists()
    assert main(["study", *WORDS, "--dir", str(place), "--report"]) == 0
    assert numbers(place)["environments"] == {}
    (tmp_path / "thesis.tex").touch()
    assert main(["study", *WORDS, "--dir", str(tmp_path)]) == 2


def test_ppo_is_compared_in_what_it_solves_alone(
    tmp_path: Path, make: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--budget", "smoke", "--methods", "p2e", "ppo", "--seeds", "0"]
    for run in members(StudyConfig(str(tmp_path), "smoke", ("tiny",), ("p2e", "ppo"), seeds=(0,))):
        make(run.job, found=0.25 if run.group == "ppo" else 0.75)
    assert main(["study", *words, "--dir", str(tmp_path), "--report"]) == 0
    capsys.readouterr()
    found = numbers(tmp_path)
    ppo = found["environments"]["tiny"]["methods"]["ppo"]
    assert found["steps"] == 1_000 and found["missing"] == []
    assert ppo["events"] == {} and ppo["evaluated"]["task"]["mode"]["iqm"] == 0.25
    assert ppo["env_steps"] == {"collect": 0, "explore": 0, "solve": 1_000}
    assert "ppo" in (tmp_path / "report.html").read_text()


@pytest.fixture
def turned(tmp_path: Path, make: Callable) -> Callable[..., str]:
    """A function that makes a study of these conditions and returns its page."""

    def run(*conditions: str) -> str:
        config = StudyConfig(
            str(tmp_path), "smoke", ("tiny",), ("sensei",), conditions, (0, 1), "explore"
        )
        for i, member in enumerate(members(config)):
            make(member.job, rate=0.01 * (1 + i), accuracy=0.9 if i % 2 else 0.7)
        words = ["--budget", "smoke", "--envs", "tiny", "--methods", "sensei", "--seeds", "0", "1"]
        words += ["--until", "explore", "--conditions", *conditions, "--dir", str(tmp_path)]
        assert main(["study", *words, "--report"]) == 0
        return (tmp_path / "report.html").read_text()

    return run


def test_counts_are_drawn_over_the_one_number_that_differs(
    turned: Callable[..., str], tmp_path: Path
) -> None:
    html = turned("annotate.pairs=100", "annotate.pairs=1000", "default")
    assert "Against <code>annotate.pairs</code>" in html and "R_ψ agrees with the truth" in html
    assert (tmp_path / "tiny-annotate-pairs.png").stat().st_size > 0
    first = numbers(tmp_path)["environments"]["tiny"]["methods"]["sensei pairs=100"]
    # Conditions follow each other within a seed: the first one's runs are the first and the fourth.
    assert first["accuracy"]["truth"] == {"iqm": pytest.approx(0.8), "low": 0.7, "high": 0.9}


def test_two_that_differ_and_words_have_no_axis(turned: Callable[..., str], tmp_path: Path) -> None:
    html = turned("default", "annotate.pairs=100", "a:annotate.pairs=1000,distill.damping=1.0")
    assert "Against" not in html and not list(tmp_path.glob("tiny-*.png"))


@pytest.mark.parametrize(
    ("values", "turned", "logarithmic"),
    [
        ([{"a": 1, "b": "x"}, {"a": 20, "b": "x"}, {"a": 5, "b": "x"}], "a", True),
        ([{"a": 0.0}, {"a": 0.4}, {"a": 0.1}], "a", False),
        ([{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2}], "", False),
        ([{"a": "x"}, {"a": "y"}, {"a": "z"}], "", False),
        ([{"a": True}, {"a": False}, {"a": 2}], "", False),
        ([{"a": 1}, {"a": 2}], "", False),
    ],
)
def test_a_dial_is_one_number_with_three_values(
    values: list[dict[str, Any]], turned: str, logarithmic: bool
) -> None:
    curve = {"key": Curve(np.array([0.0, 10.0]), np.array([0.0, 1.0]))}
    nothing: tuple[dict[str, Any], ...] = ({}, {}, {}, {}, {})
    runs = [
        RunResult(f"r{i}", "tiny", f"g{i}", 0, "done", curve, *nothing, (), settings)
        for i, settings in enumerate(values)
    ]
    dial = dial_of(compare(runs)[0])
    assert (dial.name if dial else "") == turned
    if dial:
        assert list(dial.values.values()) == sorted(v["a"] for v in values)
        assert dial.logarithmic == logarithmic
