"""What one run of a study has to tell, read from its folder; it may be finished or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensei.fields import to_plain
from sensei.presets import RunConfig, saved_config
from sensei.report.facts import Records, StageFacts, read_facts, read_records
from sensei.run.metrics import series
from sensei.run.stage_record import flatten
from sensei.run.workspace import Workspace
from sensei.stages.config import EXPLORING

EPISODES = 50
"""Episodes of solve that have a score together. Ours: half of the usual hundred, since an unsolved
one takes 500 steps. Ten records, some sixteen episodes, once had .9 by a streak, of a policy that
solved three in four (results/README.md, a longer task)."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One number of one run over environment steps."""

    steps: np.ndarray
    values: np.ndarray

    def at(self, steps: np.ndarray) -> np.ndarray:
        """The value at each of ``steps``, between two records on the line that joins them."""
        return np.asarray(np.interp(steps, self.steps, self.values))


@dataclasses.dataclass(frozen=True)
class Returns(Curve):
    """The mean return of the episodes that ended in each record, over the steps of solve."""

    episodes: np.ndarray
    """How many had ended by each record."""

    @property
    def means(self) -> Curve:
        """At each record the mean of the last ``EPISODES`` episodes, or of as many as there are.

        Records are taken whole, as few as hold so many.
        """
        ended = np.r_[0.0, self.episodes]
        totals = np.r_[0.0, np.cumsum(self.values * np.diff(ended))]
        begin = np.searchsorted(self.episodes, self.episodes - EPISODES, side="right")
        return Curve(self.steps, (totals[1:] - totals[begin]) / (ended[1:] - ended[begin]))

    def reaches(self, value: float) -> float:
        """The first step at which the mean return of ``EPISODES`` is ``value`` or more; infinite
        where it never is."""
        reached = (self.means.values >= value) & (self.episodes >= EPISODES)
        return float(self.steps[reached.argmax()]) if reached.any() else np.inf


@dataclasses.dataclass(frozen=True)
class RunResult:
    """One run, as the comparison sees it."""

    name: str
    env: str
    group: str
    seed: int
    status: str
    """Its last stage that was begun, and how that stands."""
    events: dict[str, Curve]
    """Event → count so far, over the steps of exploration."""
    returns: dict[str, Returns]
    """By task."""
    evaluated: dict[str, dict[str, float]]
    """Task → way of acting → mean return."""
    d_init: dict[str, int]
    """Counts of the episodes that the labels come from, and their steps as ``steps``."""
    env_steps: dict[str, int]
    """Stage key → environment steps spent on learning."""
    seconds: dict[str, float]
    """Stage key → time."""
    shared: tuple[str, ...]
    """Stages that were made once for several runs."""
    settings: dict[str, Any]
    """Dotted name → value of everything but the seed and the folder."""
    accuracy: dict[str, float] = dataclasses.field(default_factory=dict)
    """What R_ψ was held to → share of the pairs that it ordered so: held-out ``labels`` and, where
    it is known, the ``truth``. Of the last generation; empty without R_ψ."""
    explores: bool = True
    """Whether its method explores before it solves anything."""

    @property
    def reached(self) -> int:
        """Environment steps of exploration so far."""
        return max([int(curve.steps[-1]) for curve in self.events.values()], default=0)

    @property
    def total_steps(self) -> int:
        """D_init, exploration and solve together."""
        return sum(self.env_steps.values())


def read_run(folder: Path | str, group: str = "") -> RunResult:
    """Read a run folder; ``group`` is its method when not given."""
    workspace = Workspace(folder)
    config = saved_config(workspace)
    records = read_records(workspace)
    facts = read_facts(config, workspace, records)
    begun = [stage for stage in facts.stages if stage.status != "not started"]
    explored = [stage for stage in begun if stage.kind == "explore"]
    return RunResult(
        name=Path(folder).name,
        env=config.env.name,
        group=group or config.explore.method,
        seed=config.seed,
        status=f"{begun[-1].key} {begun[-1].status}" if begun else "not started",
        events=_events(explored, records),
        returns={
            _task(stage.key): curve
            for stage in begun
            if stage.kind == "solve" and (curve := _returns(records.get(stage.key, [])))
        },
        evaluated={
            _task(stage.key): {way: s["mean_return"] for way, s in stage.summary.items()}
            for stage in begun
            if stage.kind == "evaluate" and stage.done
        },
        d_init=_d_init(begun),
        env_steps={stage.key: stage.env_steps for stage in begun if stage.acts},
        seconds={stage.key: stage.seconds for stage in begun},
        accuracy=_accuracy(facts.last("distill")),
        explores=config.explore.method in EXPLORING,
        settings=_settings(config),
        shared=tuple(workspace.manifest().get("forked_from", {}).get("stages", ())),
    )


def _settings(config: RunConfig) -> dict[str, Any]:
    flat = flatten(to_plain(config))
    return {name: value for name, value in flat.items() if name not in ("dir", "seed")}


def _task(key: str) -> str:
    return key.partition("/")[2]


def _events(explored: list[StageFacts], records: Records) -> dict[str, Curve]:
    """Join the explorations of all generations; every count begins at 0."""
    names = sorted(
        {
            name
            for stage in explored
            for record in records.get(stage.key, [])
            for name in record
            if name.startswith("event/")
        }
    )
    return {name.removeprefix("event/"): _joined(name, explored, records) for name in names}


def _joined(name: str, explored: list[StageFacts], records: Records) -> Curve:
    steps, values = [0.0], [0.0]
    for stage in explored:
        begin, before = steps[-1], values[-1]
        found = series(records.get(stage.key, []), name)
        steps += [begin + step for step in found[0]]
        values += [before + value for value in found[1]]
    return Curve(np.array(steps), np.array(values))


def _returns(records: Sequence[Mapping[str, Any]]) -> Returns | None:
    ended = [record for record in records if "episode/return" in record]
    names = ("step", "episode/return", "episode/count")
    columns = (np.array([record[name] for record in ended], np.float64) for name in names)
    return Returns(*columns) if ended else None


def _accuracy(distilled: StageFacts | None) -> dict[str, float]:
    if distilled is None:
        return {}
    measures = {"labels": "validation_accuracy", "truth": "true_order_accuracy"}
    found = {name: distilled.summary.get(key) for name, key in measures.items()}
    return {name: value for name, value in found.items() if value is not None}


def _d_init(begun: list[StageFacts]) -> dict[str, int]:
    collected = next((stage for stage in begun if stage.kind == "collect"), None)
    if collected is None or not collected.done:
        return {}
    return {"steps": collected.env_steps} | collected.summary["events"]
