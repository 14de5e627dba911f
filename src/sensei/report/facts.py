"""What a run says about itself, as numbers: read from manifests and metrics, without JAX."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from sensei.core.config import SIZES
from sensei.presets import RunConfig
from sensei.run.metrics import read_metrics
from sensei.run.stage_record import generation_of
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import plan

ACTING = ("collect", "explore", "solve")
"""Kinds of stages whose environment steps are spent on learning."""


@dataclasses.dataclass(frozen=True)
class StageFacts:
    """One stage of the plan, done or not."""

    key: str
    kind: str
    status: str
    """done, running, stopped, failed, or ``not started``."""
    seconds: float = 0.0
    begins_at: int = 0
    """Environment steps that earlier stages had spent."""
    env_steps: int = 0
    updates: int = 0
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def generation(self) -> int:
        """Which round of labels it belongs to, from 1."""
        return generation_of(self.key)

    @property
    def done(self) -> bool:
        """Whether it reached its end."""
        return self.status == "done"

    @property
    def acts(self) -> bool:
        """Whether its environment steps count as spent."""
        return self.kind in ACTING


@dataclasses.dataclass(frozen=True)
class EventFacts:
    """How often one event happened, by stage."""

    name: str
    counts: dict[str, int]
    """Stage key → count."""
    rates: dict[str, float]
    """Stage key → count in 1,000 environment steps."""
    first_by: int | None
    """It had happened by this step, counted from the first step of the run."""
    evaluated: dict[str, float]
    """Way of acting → share of the evaluated episodes with the event."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """Everything on the page that is not a picture."""

    folder: str
    env: str
    method: str
    seed: int
    size: str
    uses_labels: bool
    gate: str
    quantile: float
    task: str
    stages: list[StageFacts]
    events: list[EventFacts]
    total_steps: int
    total_seconds: float
    manifest: dict[str, Any]

    def of(self, kind: str) -> list[StageFacts]:
        """List the finished stages of a kind, one a generation."""
        return [stage for stage in self.stages if stage.kind == kind and stage.done]

    def last(self, kind: str) -> StageFacts | None:
        """Return the last finished stage of a kind."""
        return (self.of(kind) or [None])[-1]

    @property
    def annotators(self) -> list[str]:
        """Everyone whose labels are learned from."""
        return sorted({stage.summary["annotator"] for stage in self.of("annotate")})

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is no finite number becomes null."""
        return finite(dataclasses.asdict(self) | {"annotators": self.annotators})


Records = dict[str, list[dict[str, Any]]]
"""Stage key → its metrics, in order."""


def read_facts(config: RunConfig, workspace: Workspace, records: Records) -> Facts:
    """Read the stages of the run's plan, as far as they got."""
    stages, spent = [], 0
    for step in plan(config):
        if step.kind != "report":
            stage = _stage(workspace, step.key, step.kind, spent, records.get(step.key, []))
            spent += stage.env_steps if stage.acts else 0
            stages.append(stage)
    return Facts(
        folder=str(workspace.root),
        env=config.env.name,
        method=config.explore.method,
        seed=config.seed,
        size=_size_name(config),
        uses_labels=config.uses_reward,
        gate=config.agent.gate if config.explore.method == "sensei" else "fixed",
        quantile=config.agent.quantile,
        task=", ".join(config.solve.tasks),
        stages=stages,
        events=_events(stages, records),
        total_steps=spent,
        total_seconds=sum(stage.seconds for stage in stages),
        manifest=workspace.manifest(),
    )


def read_records(workspace: Workspace) -> Records:
    """Read the metrics by stage; evaluation's are left out, it learns nothing."""
    records: Records = {}
    for record in read_metrics(workspace.metrics.path):
        if not record["stage"].startswith("evaluate"):
            records.setdefault(record["stage"], []).append(record)
    return records


def finite(value: Any) -> Any:
    """Replace every number that JSON has no word for by None."""
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _stage(
    workspace: Workspace, key: str, kind: str, begins_at: int, records: list[dict[str, Any]]
) -> StageFacts:
    record = workspace.record(key)
    if record is None:
        return StageFacts(key, kind, "not started", begins_at=begins_at)
    latest = records[-1] if records else {}
    steps = record.summary.get("env_steps", latest.get("step", 0))
    if kind == "evaluate":
        steps = sum(sum(way["lengths"]) for way in record.summary.values())
    return StageFacts(
        key=key,
        kind=kind,
        status=record.status,
        seconds=record.seconds,
        begins_at=begins_at,
        env_steps=int(steps),
        updates=int(record.summary.get("updates", latest.get("update", 0))),
        summary=record.summary,
        settings=record.settings,
    )


def _size_name(config: RunConfig) -> str:
    size = config.agent.size
    names = [name for name, known in SIZES.items() if known == size]
    return names[0] if names else f"custom ({size.deter} recurrent units)"


def _events(stages: list[StageFacts], records: Records) -> list[EventFacts]:
    counted = {stage.key: _counts(stage, records) for stage in stages if stage.acts}
    names = dict.fromkeys(name for counts in counted.values() for name in counts)
    ways = next((stage.summary for stage in stages if stage.kind == "evaluate"), {})
    return [
        EventFacts(
            name=name,
            counts={key: counts[name] for key, counts in counted.items() if name in counts},
            rates={
                stage.key: 1000 * counted[stage.key][name] / stage.env_steps
                for stage in stages
                if name in counted.get(stage.key, {}) and stage.env_steps
            },
            first_by=_first_by(name, stages, records),
            evaluated={way: s["events"][name] for way, s in ways.items() if name in s["events"]},
        )
        for name in names
    ]


def _counts(stage: StageFacts, records: Records) -> dict[str, int]:
    """Count a stage's events: its summary's when it is done, the last logged ones before."""
    if "events" in stage.summary:
        return stage.summary["events"]
    latest = (records.get(stage.key) or [{}])[-1]
    return {
        name.removeprefix("event/"): int(count)
        for name, count in latest.items()
        if name.startswith("event/")
    }


def _first_by(name: str, stages: list[StageFacts], records: Records) -> int | None:
    for stage in stages:
        for record in records.get(stage.key, []) if stage.acts else []:
            if record.get(f"event/{name}", 0) > 0:
                return stage.begins_at + record["step"]
    return None
