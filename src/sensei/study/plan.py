"""From a study to the runs it needs, and the stages that several of them can share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sensei.arguments import resolve
from sensei.fields import to_plain, with_dotted
from sensei.presets import RunConfig
from sensei.run.stage_record import flatten
from sensei.stages.pipeline import Step, plan, until
from sensei.study.config import Condition, StudyConfig, read_condition
from sensei.types import UsageError

_SHARED = ("collect", "annotate", "distill")
"""Stages that do not depend on how the agent explores."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run, or the first stages of several runs."""

    name: str
    """Its folder below the study."""
    config: RunConfig
    until: str
    """Kind of its last stage."""
    parent: str = ""
    """Name of the job whose finished stages it begins with; empty when it begins with nothing."""

    @property
    def steps(self) -> list[Step]:
        """Its stages in order."""
        return until(plan(self.config), self.until)


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of the comparison."""

    env: str
    group: str
    """Method and condition: what the runs of different seeds have in common."""
    seed: int
    job: Job


def members(study: StudyConfig) -> list[Member]:
    """List the runs, first seed first, so that a study cut short still compares everything.

    A method that a condition does not touch, such as one without labels where only the labels
    differ, has one run for both conditions.

    Raises:
        UsageError: a word or a field is wrong, or a method's name is no folder.
    """
    conditions = [read_condition(word) for word in study.conditions]
    found, seen = [], set()
    for env in study.envs:
        bases = {method: _base(study, env, method) for method in study.methods}
        for seed in study.seeds:
            for condition in conditions:
                for method in study.methods:
                    member = _member(study, bases[method], env, method, condition, seed)
                    made = _digest(member.job.steps)
                    if made not in seen:
                        found.append(member)
                    seen.add(made)
    return sorted(found, key=lambda member: study.seeds.index(member.seed))


def with_shared(members: Iterable[Member]) -> list[Job]:
    """Return every job in an order in which parents come first.

    Two runs with the same labels share D_init, labels and R_ψ; two with different labels on the
    same D_init share that. What only one run needs, it makes itself.
    """
    jobs = [member.job for member in members]
    labelled = [job for job in jobs if job.config.uses_reward]
    users: dict[str, set[str]] = {}
    for job in labelled:
        users.setdefault(_shared_name(job, 1), set()).add(_shared_name(job, 3))
        users.setdefault(_shared_name(job, 3), set()).add(job.name)
    shared: dict[str, Job] = {}
    for job in labelled:
        for depth in (1, 3):
            name = _shared_name(job, depth)
            if len(users[name]) > 1 and name not in shared:
                # The labels of a later generation are the run's own.
                config = dataclasses.replace(job.config, generations=1)
                config = _placed(config, _root(job) / name)
                shared[name] = Job(name, config, _SHARED[depth - 1], _parent(job, shared, depth))
    runs = [dataclasses.replace(job, parent=_parent(job, shared, 4)) for job in jobs]
    return [*shared.values(), *runs]


def _parent(job: Job, shared: dict[str, Job], depth: int) -> str:
    """The deepest shared job above one that shares ``depth`` stages."""
    if not job.config.uses_reward:
        return ""
    above = [_shared_name(job, at) for at in (3, 1) if at < depth]
    return next((name for name in above if name in shared), "")


def _shared_name(job: Job, depth: int) -> str:
    config = job.config
    steps = plan(config)[:depth]
    return f"shared/{_slug(config.env.name)}-seed{config.seed}-{_digest(steps)[:8]}"


def _digest(steps: Iterable[Step]) -> str:
    made = [(step.key, step.inputs, step.settings) for step in steps]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def _root(job: Job) -> Path:
    return Path(job.config.dir).parents[1]


def _base(study: StudyConfig, env: str, method: str) -> RunConfig:
    # A preset's values depend on the method. A run has one core, so a second process for the
    # environments would only wait for it.
    words = [env, "--method", method, "--budget", study.budget, "--env.processes", "1"]
    words += study.words
    return resolve("run", words)[1]


def _member(
    study: StudyConfig, base: RunConfig, env: str, method: str, condition: Condition, seed: int
) -> Member:
    group = f"{method} {condition.name}".strip()
    name = f"runs/{_slug(env)}-{_slug(group)}-seed{seed}"
    fields = {"explore.method": method, "seed": seed} | condition.fields
    config = with_dotted(base, fields | _scaled(base, condition))
    if (config.env.name, config.seed) != (base.env.name, seed):
        raise UsageError(
            f"condition {condition.name!r} sets env.name or seed: give --envs and --seeds"
        )
    return Member(env, group, seed, Job(name, _placed(config, Path(study.dir) / name), study.until))


def _scaled(base: RunConfig, condition: Condition) -> dict[str, Any]:
    """Multiply the numbers that a condition has factors for; whole ones stay whole."""
    flat, scaled = flatten(to_plain(base)), {}
    for name, factor in condition.factors.items():
        value = flat.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"condition {condition.name!r} multiplies {name}, which is {value!r}")
        scaled[name] = round(value * factor) if isinstance(value, int) else value * factor
    return scaled


def _placed(config: RunConfig, folder: Path) -> RunConfig:
    return dataclasses.replace(config, dir=str(folder))


def _slug(text: str) -> str:
    return re.sub(r"[^\w.=]+", "-", text).strip("-")
