"""A study over several machines: every run's result as a small file that another one reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensei.fields import to_plain
from sensei.run.files import atomic_write, read_json
from sensei.run.stage_record import changes
from sensei.study.plan import Member
from sensei.study.results import Curve, Returns, RunResult
from sensei.types import SenseiError, UsageError

FOLDER = "results"
"""Below the study, a file a run."""


def save(root: Path, runs: Iterable[RunResult]) -> None:
    """Write what the comparison knows of each run to ``results/NAME.json``, some ten kB each."""
    for run in runs:
        atomic_write(root / FOLDER / f"{run.name}.json", json.dumps(_to_plain(run)) + "\n")


def unfinished(runs: Iterable[Member], folders: Sequence[str]) -> list[Member]:
    """Return the runs that no other machine has finished."""
    found = _read(folders)
    done = {name: run.status for name, run in found.items()}
    return [run for run in runs if done.get(_name(run)) != f"{run.job.steps[-1].key} done"]


def joined(
    here: Sequence[RunResult], folders: Sequence[str], planned: Iterable[Member]
) -> list[RunResult]:
    """Return the runs of this study with those of ``folders``; a run of both is the one here.

    Args:
        here: the runs of this study.
        folders: the ``results/`` of others.
        planned: runs in the order of the study; what it does not name comes last.

    Raises:
        UsageError: a folder holds no results, two of them hold one run, or runs that would be
            compared as seeds of one method differ in more than their seed.
        SenseiError: a file is damaged, or another version wrote it.
    """
    found = {run.name: run for run in here}
    found |= {name: run for name, run in _read(folders).items() if name not in found}
    _check_alike(found.values())
    places = {_name(run): place for place, run in enumerate(planned)}
    return sorted(found.values(), key=lambda run: places.get(run.name, len(places)))


def _name(run: Member) -> str:
    return Path(run.job.name).name


def _read(folders: Iterable[str]) -> dict[str, RunResult]:
    found: dict[str, RunResult] = {}
    origins: dict[str, str] = {}
    for folder in folders:
        paths = sorted(Path(folder).glob("*.json"))
        if not paths:
            raise UsageError(f"--also {folder} holds no results: give a study's {FOLDER}/ folder")
        for run in map(_load, paths):
            if run.name in found:
                raise UsageError(f"--also {origins[run.name]} and {folder} both hold {run.name}")
            found[run.name], origins[run.name] = run, folder
    return found


def _check_alike(runs: Iterable[RunResult]) -> None:
    first: dict[tuple[str, str], RunResult] = {}
    for run in runs:
        other = first.setdefault((run.env, run.group), run)
        if found := changes(other.settings, run.settings):
            raise UsageError(
                f"{run.name} cannot be compared with {other.name}: {found[0]}; "
                "leave one of them out, or make it anew"
            )


def _to_plain(run: RunResult) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(run)
    plain["events"] = {name: _points(_corners(curve)) for name, curve in run.events.items()}
    # Every record of a return: a score is a mean of episodes.
    plain["returns"] = {name: _points(curve) for name, curve in run.returns.items()}
    return plain


def _points(curve: Curve) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in vars(curve).items()}


def _corners(curve: Curve) -> Curve:
    """The points at which the curve bends: between them it is the same line as before."""
    slopes = np.diff(curve.values) / np.maximum(np.diff(curve.steps), 1)
    kept = np.r_[True, np.diff(slopes) != 0, True][: len(curve.steps)]
    return Curve(curve.steps[kept], curve.values[kept])


def _load(path: Path) -> RunResult:
    plain = read_json(path)
    try:
        for kind, read in (("events", _curve), ("returns", _returns)):
            plain[kind] = {name: read(**points) for name, points in plain[kind].items()}
        plain["shared"] = tuple(plain["shared"])
        return RunResult(**plain)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise SenseiError(
            f"{path} is no result that this version wrote ({error}): make it again with "
            "sensei study --dir STUDY --report"
        ) from error


def _curve(steps: list[float], values: list[float]) -> Curve:
    return Curve(np.array(steps, np.float64), np.array(values, np.float64))


def _returns(
    steps: list[float], values: list[float], episodes: list[float] | None = None
) -> Returns:
    """An older file does not say how many episodes ended in a record: one at least."""
    curve, ended = _curve(steps, values), episodes or range(1, len(steps) + 1)
    return Returns(curve.steps, curve.values, np.array(ended, np.float64))
