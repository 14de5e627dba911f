"""``sensei study``: its words, and what it does with them."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
import yaml

from sensei.doctor import estimate
from sensei.fields import read_file, to_plain, updated
from sensei.run.files import atomic_write
from sensei.run.lock import folder_lock
from sensei.run.progress import duration
from sensei.run.workspace import Workspace
from sensei.study import machines
from sensei.study.config import STUDIES, StudyConfig, named
from sensei.study.page import write
from sensei.study.plan import Job, Member, members, with_shared
from sensei.study.queue import Queue, choose_cores
from sensei.study.results import read_run
from sensei.study.status import is_done
from sensei.types import SenseiError, Stopped, UsageError

SWITCHES = ("dry_run", "report", "print_config")
_SINGULAR = {"env": "envs", "method": "methods", "seed": "seeds", "condition": "conditions"}
say = functools.partial(print, file=sys.stderr, flush=True)


def study(words: Sequence[str]) -> int:
    """Execute ``sensei study WORDS``; return the exit code.

    Raises:
        UsageError: a word is wrong.
        SenseiError: a run failed; the others were finished all the same.
        Stopped: somebody asked for it, or a run paused; the same command continues.
    """
    if any(word in ("-h", "--help") for word in words):
        return _help()
    config, switches = read_words(words)
    if "print_config" in switches:
        print(_yaml(config), end="")
        return 0
    runs = members(config)
    jobs = with_shared(machines.unfinished(runs, config.also))
    if "dry_run" in switches:
        return _dry_run(jobs)
    if "report" in switches:
        return _report(config, runs)
    return _work(config, runs, jobs)


def read_words(words: Sequence[str]) -> tuple[StudyConfig, set[str]]:
    """Return the study and the switches that the words ask for.

    A study by name, or the folder's own where there is one, with the fields given on top. Words
    that are not the study's are for ``sensei run`` and go to every run.
    """
    own, switches, rest = _split(words)
    name = rest.pop(0) if rest and not rest[0].startswith("--") else None
    saved = Path(str(own["dir"])) / "study.yaml" if "dir" in own else None
    if saved is not None and saved.exists() and name is None and "budget" not in own:
        base = updated(StudyConfig(), read_file(saved))
    else:
        base = named(name or "methods", str(own.get("budget", "quick")))
    for singular, plural in _SINGULAR.items():
        if f"--{singular}" in [word.partition("=")[0] for word in rest]:
            raise UsageError(f"--{singular} is for one run: give --{plural}, one or more")
    if rest and tuple(rest) != base.words:
        own["words"] = [*base.words, *rest]  # of two values for one field the later one holds
    return updated(base, own), switches


def _split(words: Sequence[str]) -> tuple[dict[str, Any], set[str], list[str]]:
    """Take the study's own flags, each with all values up to the next flag, from the words."""
    known = {field.name: field for field in dataclasses.fields(StudyConfig)}
    known.pop("words")
    own, switches, rest = dict[str, Any](), set[str](), list[str]()
    values = rest
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if word.startswith("--"):
            values = rest
        if word.startswith("--") and name in SWITCHES:
            switches.add(name)
        elif word.startswith("--") and name in known:
            values = own[name] = [value] if equals else []
        else:
            values.append(word)
    return {name: _typed(name, known[name], given) for name, given in own.items()}, switches, rest


def _typed(name: str, field: dataclasses.Field[Any], values: list[str]) -> Any:
    """Read the words of a flag: numbers where the field has numbers."""
    if not values:
        raise UsageError(f"--{name} has no value: give one after it")
    number = name in ("seeds", "processes", "score")
    typed = [yaml.safe_load(value) if number else value for value in values]
    if isinstance(field.default, tuple):
        return typed
    if len(typed) > 1:
        raise UsageError(f"--{name} has {len(typed)} values ({' '.join(values)}): give one")
    return typed[0]


def _work(config: StudyConfig, runs: list[Member], jobs: list[Job]) -> int:
    root = Path(config.dir)
    _check_is_ours(root)
    root.mkdir(parents=True, exist_ok=True)
    with folder_lock(root):
        atomic_write(root / "study.yaml", _yaml(config))
        cores = choose_cores(config.processes)
        say(f"{root}: {_amount(jobs)}, {len(cores)} at a time")
        try:
            outcomes = Queue(root, jobs, say).run(cores)
        except (Stopped, KeyboardInterrupt) as error:
            reason = str(error) or "interrupted"
            raise Stopped(f"{reason}; continue with: sensei study --dir {root}") from error
        _report(config, runs)
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    if failed:
        raise SenseiError(
            f"{len(failed)} of {len(jobs)} jobs failed ({', '.join(failed)}): see {root / 'logs'}; "
            f"sensei study --dir {root} tries them again"
        )
    paused = [name for name, outcome in outcomes.items() if outcome == "stopped"]
    if paused:
        raise Stopped(f"{', '.join(paused)} paused; continue with: sensei study --dir {root}")
    return 0


def _report(config: StudyConfig, runs: list[Member]) -> int:
    begun = [run for run in runs if Workspace(run.job.config.dir).exists()]
    here = [read_run(run.job.config.dir, run.group) for run in begun]
    machines.save(Path(config.dir), here)
    names = [Path(run.job.name).name for run in runs]
    page = write(config, machines.joined(here, config.also, runs), names)
    print(json.dumps({"page": str(page), "summary": str(page.with_name("summary.json"))}, indent=2))
    return 0


def _dry_run(jobs: list[Job]) -> int:
    for job in jobs:
        after = f", after {job.parent}" if job.parent else ""
        print(f"{job.name}: {'done' if is_done(job) else 'to do'}, until {job.until}{after}")
    print(f"from the beginning: {_amount(jobs)}")
    return 0


def _amount(jobs: list[Job]) -> str:
    """Say how much there is to do; what is shared counts for every run that has it."""
    alone = [estimate(job.config) for job in jobs if not job.name.startswith("shared/")]
    steps = sum(each.env_steps for each in alone)
    hours = sum(each.hours for each in alone)
    return f"{len(alone)} runs, {steps:,} env steps, at most {duration(3600 * hours)} in turn"


def _check_is_ours(root: Path) -> None:
    if root.exists() and any(root.iterdir()) and not (root / "study.yaml").exists():
        raise UsageError(f"--dir {root} is not empty and not a study: name another folder")


def _yaml(config: StudyConfig) -> str:
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


def _help() -> int:
    print("usage: sensei study [NAME] [--report] [--dry-run] [--print-config] [--FIELD VALUE …]\n")
    for name, (about, _) in STUDIES.items():
        print(f"  {name:10} {about}")
    print(
        """
Every run is an ordinary run folder below the study's. The same command again continues; --report
only makes the page again. Words of sensei run, such as --size or a dotted field, hold for every
run. In lists, give the values one after the other: --seeds 0 1 2.
"""
    )
    tyro.cli(StudyConfig, prog="sensei study", description="", args=["--help"])
    return 0
