"""The numbers of a study: every method's runs on an environment at the same number of steps."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensei.report.facts import ACTING
from sensei.report.statistics import (
    Interval,
    area,
    each_iqm,
    improvement,
    interval,
    normalised,
    pooled_iqm,
    profile,
)
from sensei.study.results import RunResult

POINTS = 101
"""Places at which curves are compared."""
THRESHOLDS = np.linspace(0.0, 1.0, 51)
"""Of the performance profile, as shares of the largest count that any run has."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The runs of one environment, at the largest step that all of them have reached."""

    env: str
    runs: list[RunResult]
    steps: int
    """Environment steps of exploration at which everything is compared."""

    @property
    def groups(self) -> list[str]:
        """Methods and conditions, in the order of the study."""
        return list(dict.fromkeys(run.group for run in self.runs))

    @property
    def explored(self) -> list[str]:
        """Those of them that explore; PPO does not, and is compared in what it solves."""
        return [group for group in self.groups if any(run.reached for run in self.of(group))]

    @property
    def events(self) -> list[str]:
        """Every event that the environment names."""
        return list(dict.fromkeys(name for run in self.runs for name in run.events))

    @property
    def tasks(self) -> list[str]:
        """Tasks that any run has begun to solve."""
        return list(dict.fromkeys(task for run in self.runs for task in run.evaluated))

    @property
    def ways(self) -> list[str]:
        """Ways of acting in which any run's tasks are evaluated."""
        played = (ways for run in self.runs for ways in run.evaluated.values())
        return list(dict.fromkeys(way for ways in played for way in ways))

    @property
    def learned(self) -> list[str]:
        """Tasks of which there is a learning curve."""
        return list(dict.fromkeys(task for run in self.runs for task in run.returns))

    @property
    def accuracies(self) -> list[str]:
        """What the R_ψ of any run was held to."""
        return list(dict.fromkeys(name for run in self.runs for name in run.accuracy))

    @property
    def slowest(self) -> RunResult:
        """The run that decides ``steps``."""
        return min(self.runs, key=lambda run: run.reached or np.inf)

    @property
    def grid(self) -> np.ndarray:
        """Steps at which curves are compared, (POINTS,)."""
        return np.linspace(0.0, self.steps, POINTS)

    def of(self, group: str) -> list[RunResult]:
        """The runs of one group."""
        return [run for run in self.runs if run.group == group]

    def counts(self, group: str) -> np.ndarray:
        """How often each event had happened at ``steps``, (runs, events)."""
        return self._matrix(group, lambda curve: curve.at(np.array(self.steps)))

    def areas(self, group: str) -> np.ndarray:
        """Mean over the steps of how often each event had happened so far, (runs, events)."""
        return self._matrix(group, lambda curve: area(self.grid, curve.at(self.grid)))

    def band(self, group: str, event: str) -> Interval:
        """How often an event had happened over ``grid``, IQM over the runs, (POINTS,)."""
        return interval(
            each_iqm, np.array([run.events[event].at(self.grid) for run in self.of(group)])
        )

    def scores(self) -> dict[str, np.ndarray]:
        """Counts as shares of the largest of any run, (runs, events) of each group."""
        counts = [self.counts(group) for group in self.explored]
        return dict(zip(self.explored, normalised(counts), strict=True))

    def profile(self, group: str) -> Interval:
        """Performance profile over ``THRESHOLDS``."""
        return interval(profile(THRESHOLDS), self.scores()[group])

    def returns(self, group: str, task: str, way: str) -> np.ndarray:
        """Mean return of the evaluated runs, (runs, 1)."""
        runs = [run for run in self.of(group) if task in run.evaluated]
        return np.array([[run.evaluated[task][way]] for run in runs]).reshape(-1, 1)

    def accuracy(self, group: str, name: str) -> np.ndarray:
        """How often R_ψ was right, (runs, 1); of the runs that know."""
        known = [run.accuracy[name] for run in self.of(group) if name in run.accuracy]
        return np.array(known).reshape(-1, 1)

    def _matrix(self, group: str, value: Any) -> np.ndarray:
        rows = [[float(value(run.events[e])) for e in self.events] for run in self.of(group)]
        return np.array(rows).reshape(len(rows), len(self.events))


def compare(runs: Sequence[RunResult]) -> list[Comparison]:
    """Put together the runs of each environment that have begun to explore, or only solve."""
    begun = [run for run in runs if run.reached or (run.returns and not run.explores)]
    found = []
    for env in dict.fromkeys(run.env for run in begun):
        here = [run for run in begun if run.env == env]
        found.append(Comparison(env, here, min([r.reached for r in here if r.reached], default=0)))
    return found


def summary(comparisons: Sequence[Comparison], score: float | None = None) -> dict[str, Any]:
    """Return everything as plain values, by environment; of a single one, its steps and its
    methods' events also at the top, where a reader of one figure looks for them.

    With ``score`` also the steps of solve that its first crossing took.
    """
    found: dict[str, Any] = {"environments": {e.env: _environment(e) for e in comparisons}}
    if score is not None:
        for each in comparisons:
            found["environments"][each.env]["steps_to"] = _steps_to(each, score)
    if len(comparisons) != 1:
        return found
    (only,) = found["environments"].values()
    methods = {n: {k: m[k] for k in ("seeds", "events")} for n, m in only["methods"].items()}
    return {"steps": only["steps"], "methods": methods} | found


def _environment(each: Comparison) -> dict[str, Any]:
    return {
        "steps": each.steps,
        "limited_by": each.slowest.name,
        "methods": {group: _group(each, group) for group in each.groups},
        "probability_of_improvement": {
            group: {
                other: _chance(each.counts(group), each.counts(other))
                for other in each.explored
                if other != group
            }
            for group in each.explored
            if each.events
        },
    }


def _steps_to(each: Comparison, score: float) -> dict[str, Any]:
    """Median over the runs, those included that never reached it; None where half did not."""
    found: dict[str, Any] = {"score": score, "tasks": {}}
    for task in each.learned:
        groups = found["tasks"][task] = {}
        for group in each.groups:
            runs = [run for run in each.of(group) if task in run.returns]
            steps = [run.returns[task].reaches(score) for run in runs]
            if runs:
                groups[group] = {
                    "median": _or_none(np.median(steps)),
                    "reached": int(np.isfinite(steps).sum()),
                    "runs": {run.name: _or_none(s) for run, s in zip(runs, steps, strict=True)},
                }
    return found


def _or_none(steps: float) -> float | None:
    return float(steps) if np.isfinite(steps) else None


def _group(each: Comparison, group: str) -> dict[str, Any]:
    runs, events = each.of(group), each.events if group in each.explored else []
    found = {
        "seeds": len(runs),
        "events": _by_name(events, interval(each_iqm, each.counts(group))) if events else {},
        "area": _by_name(events, interval(each_iqm, each.areas(group))) if events else {},
        "env_steps": _means([_by_kind(run) for run in runs]),
        "total_env_steps": float(np.mean([run.total_steps for run in runs])),
        "seconds": _means([run.seconds for run in runs]),
        "total_seconds": float(np.mean([sum(run.seconds.values()) for run in runs])),
        "shared_stages": list(dict.fromkeys(key for run in runs for key in run.shared)),
        "accuracy": {
            name: _pooled(shares)
            for name in each.accuracies
            if len(shares := each.accuracy(group, name))
        },
        "evaluated": {
            task: {
                way: _pooled(each.returns(group, task, way)) | {"seeds": len(done)}
                for way in done[0].evaluated[task]
            }
            for task in each.tasks
            if (done := [run for run in runs if task in run.evaluated])
        },
        "runs": [_run(run, each.steps) for run in runs],
    }
    if events:
        found["score"] = _pooled(each.scores()[group])
    return found


def _run(run: RunResult, steps: int) -> dict[str, Any]:
    at = np.array(steps)
    return {
        "name": run.name,
        "seed": run.seed,
        "status": run.status,
        "reached": run.reached,
        "events": {name: float(curve.at(at)) for name, curve in run.events.items()},
        "d_init": run.d_init,
    }


def _chance(ours: np.ndarray, others: np.ndarray) -> dict[str, float]:
    return _plain(interval(improvement, ours, others), name="value")


def _pooled(scores: np.ndarray) -> dict[str, float]:
    return _plain(interval(pooled_iqm, scores))


def _by_name(names: Sequence[str], found: Interval) -> dict[str, dict[str, float]]:
    return {name: _plain(found, i) for i, name in enumerate(names)}


def _plain(found: Interval, at: int | tuple[()] = (), name: str = "iqm") -> dict[str, float]:
    return {
        name: float(found.value[at]),
        "low": float(found.low[at]),
        "high": float(found.high[at]),
    }


def _by_kind(run: RunResult) -> dict[str, int]:
    """Add up the generations and tasks."""
    kinds = Counter[str]()
    for key, steps in run.env_steps.items():
        kinds[re.split(r"[-/]", key)[0]] += steps
    return {kind: kinds[kind] for kind in ACTING}


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean over the runs that have the stage."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
