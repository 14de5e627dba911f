"""How far the jobs of a study are, read from their folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sensei.fields import to_plain
from sensei.presets import RunConfig
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import Step
from sensei.study.plan import Job

_TAIL = 32_768
"""Bytes at the end of the metrics that are looked at."""


def is_done(job: Job) -> bool:
    """Whether every stage of a job is finished with exactly the job's configuration."""
    workspace = Workspace(job.config.dir)
    if not workspace.exists():
        return False
    had = workspace.config() | {"dir": job.config.dir}
    same = had == json.loads(json.dumps(to_plain(job.config)))
    return same and all(workspace.finished(step.key) for step in job.steps)


def env_steps_wanted(job: Job) -> int:
    """Environment steps of its own stages that take long: explore and solve."""
    return sum(_wanted(job.config, step) for step in job.own_steps)


def env_steps_done(job: Job) -> int:
    """How many of these are made."""
    workspace = Workspace(job.config.dir)
    if not workspace.exists():
        return 0
    return sum(_made(workspace, job.config, step) for step in job.own_steps)


def _wanted(config: RunConfig, step: Step) -> int:
    lengths = {"explore": config.explore.env_steps, "solve": config.solve.env_steps}
    return lengths.get(step.kind, 0)


def _made(workspace: Workspace, config: RunConfig, step: Step) -> int:
    wanted = _wanted(config, step)
    if not wanted or workspace.record(step.key) is None:
        return 0
    if workspace.finished(step.key):
        return wanted
    return min(wanted, _latest_step(workspace.metrics.path, step.key))


def _latest_step(path: Path, stage: str) -> int:
    """The last step that a stage has logged; long files are read from their end."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        lines = file.read().split(b"\n")
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # cut off at the beginning or at the end
        if record.get("stage") == stage:
            return int(record["step"])
    return 0
