"""From a study to the runs it needs, and the stages that several of them can share."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sensei.arguments import resolve
from sensei.fields import to_plain, with_dotted
from sensei.presets import LEARNS_NO_POLICY, RunConfig
from sensei.run.stage_record import flatten
from sensei.stages.pipeline import Step, plan, until
from sensei.study.config import Condition, StudyConfig, read_condition
from sensei.types import UsageError

_SHARED = ("collect", "distill", "explore")
"""Stages, those of the first generation, after which the ways of several runs may part."""


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
    inherited: int = 0
    """How many of its stages these are."""

    @property
    def steps(self) -> list[Step]:
        """Its stages in order."""
        return until(plan(self.config), self.until)

    @property
    def own_steps(self) -> list[Step]:
        """The stages that it makes itself."""
        return self.steps[self.inherited :]


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
    differ, has one run for both conditions. One that learns no policy begins a task untrained,
    whatever the others begin it with.

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
    """Return every job, each parent right before the first run that needs it.

    Runs with the same labels share D_init, labels and R_ψ; those with other labels on the same
    D_init share that; those that solve one exploration in different ways share all of it. What only
    one run needs, it makes itself.
    """
    jobs = [member.job for member in members]
    users: dict[str, set[str]] = {}
    for job in jobs:
        chain = [*_beginnings(job), job.name]
        for parent, child in itertools.pairwise(chain):
            users.setdefault(parent, set()).add(child)
    found: dict[str, Job] = {}
    for job in jobs:
        begins_with: dict[str, Any] = {}
        for name, made in _beginnings(job).items():
            if len(users[name]) == 1:
                continue
            # The labels of a later generation are the run's own.
            config = dataclasses.replace(job.config, generations=1)
            config = _placed(config, _root(job) / name)
            found.setdefault(name, Job(name, config, job.steps[made - 1].kind, **begins_with))
            begins_with = {"parent": name, "inherited": made}
        found[job.name] = dataclasses.replace(job, **begins_with)
    return list(found.values())


def _beginnings(job: Job) -> dict[str, int]:
    """Names of the jobs that could make its first stages, and how many those are, ascending."""
    steps, place = job.steps, f"shared/{_slug(job.config.env.name)}-seed{job.config.seed}"
    return {
        f"{place}-{_digest(steps[:made])[:8]}": made
        for made, step in enumerate(steps[:-1], 1)
        if step.key in _SHARED
    }


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
    if method in LEARNS_NO_POLICY:
        words += ["--solve.policy", "fresh"]
    return resolve("run", words)[1]


def _member(
    study: StudyConfig, base: RunConfig, env: str, method: str, condition: Condition, seed: int
) -> Member:
    group = f"{method} {condition.name}".strip()
    name = f"runs/{_slug(env)}-{_slug(group)}-seed{seed}"
    fields = {"explore.method": method, "seed": seed} | condition.fields
    if method in LEARNS_NO_POLICY:
        fields["solve.policy"] = "fresh"
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
