"""A study's page, summary and figures, from whatever its runs have reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sensei.fields import to_plain
from sensei.report.facts import finite
from sensei.report.page import templates
from sensei.run.files import atomic_write, write_json
from sensei.study.config import StudyConfig
from sensei.study.dial import dial_of
from sensei.study.figures import StudyFigures
from sensei.study.results import RunResult
from sensei.study.summary import Comparison, compare, summary


@dataclasses.dataclass(frozen=True)
class EnvironmentView:
    """What the page shows of one environment."""

    comparison: Comparison
    numbers: dict[str, Any]
    """The environment's part of ``summary.json``."""
    charts: dict[str, list[str]]
    dial: str
    """The one number in which the runs differ; empty if there is none."""


def write(study: StudyConfig, runs: Sequence[RunResult], wanted: Sequence[str]) -> Path:
    """Write ``report.html``, ``summary.json`` and a figure for each environment; a second one where
    the runs differ in one number.

    Args:
        study: what was asked for.
        runs: the runs that have begun.
        wanted: names of all runs, begun or not.

    Returns:
        The page's path.
    """
    root = Path(study.dir)
    root.mkdir(parents=True, exist_ok=True)
    comparisons = compare(runs)
    numbers = summary(comparisons, study.score)
    numbers |= {"runs": len(wanted), "missing": _missing(comparisons, wanted)}
    numbers["seconds"] = _seconds(runs)
    groups = list(dict.fromkeys(run.group for run in runs))
    views = []
    for each in comparisons:
        figures = StudyFigures(each, groups)
        dial = dial_of(each)
        figures.save(root / f"{_file_name(each.env)}.png")
        if dial:
            figures.save_against(dial, root / f"{_file_name(each.env)}-{_file_name(dial.name)}.png")
        charts = {
            "events": figures.events(),
            "profile": figures.profile(),
            "returns": figures.returns(),
            "against": figures.against(dial) if dial else [],
        }
        here = numbers["environments"][each.env]
        views.append(EnvironmentView(each, here, charts, dial.name if dial else ""))
    write_json(root / "summary.json", finite(numbers))
    html = templates("sensei.study").get_template("study.html.j2")
    shown = {"study": study, "views": views, "runs": list(runs), "numbers": numbers}
    shown["config"] = yaml.safe_dump(to_plain(study), sort_keys=False, allow_unicode=True)
    atomic_write(root / "report.html", html.render(shown))
    return root / "report.html"


def _missing(comparisons: Sequence[Comparison], wanted: Sequence[str]) -> list[str]:
    compared = {run.name for each in comparisons for run in each.runs}
    return [name for name in wanted if name not in compared]


def _seconds(runs: Sequence[RunResult]) -> float:
    """Time of the whole study: what several runs share counts once."""
    once = {(run.env, run.seed, key, spent) for run in runs for key, spent in _shared(run).items()}
    own = sum(s for run in runs for key, s in run.seconds.items() if key not in run.shared)
    return float(own + sum(spent for *_, spent in once))


def _shared(run: RunResult) -> dict[str, float]:
    return {key: run.seconds[key] for key in run.shared}


def _file_name(env: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in env)
