"""Runs as processes of one machine, one core each, until all are done."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import yaml

from sensei.fields import to_plain
from sensei.run.files import atomic_write
from sensei.run.fork import fork
from sensei.run.interrupts import Interrupts
from sensei.run.progress import Progress
from sensei.run.workspace import Workspace
from sensei.study.plan import Job
from sensei.study.status import env_steps_done, env_steps_wanted, is_done
from sensei.types import SenseiError, Stopped, UsageError

Outcome = Literal["done", "failed", "stopped"]

OUTCOMES: dict[int, Outcome] = {0: "done", Stopped.exit_code: "stopped"}
"""By exit code; every other one means failed."""
POLL_SECONDS = 0.2
LOOK_SECONDS = 5.0
"""Between two looks at how far the runs are."""
_DIES_WITH_ITS_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
)
"""PR_SET_PDEATHSIG, SIGKILL: a study that is killed outright leaves no run behind; each continues
from its last checkpoint. (SIGTERM comes once a thread, and the second interrupts the saving.)"""
_BEFORE = [sys.executable, "-Sc", _DIES_WITH_ITS_PARENT] if sys.platform == "linux" else []
_ONE_CORE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass
class _Running:
    job: Job
    core: int | None
    process: subprocess.Popen[bytes]


class Queue:
    """Executes jobs; ``outcomes`` says how each one that ended did so."""

    def __init__(self, root: Path, jobs: Sequence[Job], say: Callable[[str], None]) -> None:
        """``root`` is the study's folder; parents come before the jobs that need them."""
        self.root, self.jobs, self.say = root, list(jobs), say
        self.waiting = [job for job in self.jobs if not is_done(job)]
        self.outcomes: dict[str, Outcome] = {
            job.name: "done" for job in self.jobs if job not in self.waiting
        }
        self.running: list[_Running] = []

    def run(self, cores: Sequence[int | None]) -> dict[str, Outcome]:
        """Work on as many jobs at a time as there are cores; return every job's outcome.

        A job that fails is told of and left alone, like those that need it. A request to stop is
        passed on once to every run, which saves and ends; a second one as well.
        """
        total = sum(env_steps_wanted(job) for job in self.jobs)
        with Interrupts() as asked, Progress(self.root.name, max(total, 1)) as progress:
            try:
                self._work(cores, asked, progress)
            except BaseException:
                self._signal(signal.SIGINT)
                raise
            finally:
                for running in self.running:
                    running.process.wait()
        if asked.requested:
            raise Stopped(f"{self._count('done')} of {len(self.jobs)} jobs are done")
        return self.outcomes

    def _work(self, cores: Sequence[int | None], asked: Interrupts, progress: Progress) -> None:
        looked, passed_on = 0.0, False
        while self.running or (self.waiting and not asked.requested):
            if asked.requested and not passed_on:
                self._signal(signal.SIGINT)
                passed_on = True
            elif not asked.requested:
                self._start(cores)
            self._collect()
            if time.monotonic() - looked >= LOOK_SECONDS:
                done = sum(env_steps_done(job) for job in self.jobs)
                progress.update(done, **self._shown())
                looked = time.monotonic()
            time.sleep(POLL_SECONDS)

    def _start(self, cores: Sequence[int | None]) -> None:
        free = [core for core in cores if core not in [one.core for one in self.running]]
        free = free if None not in cores else [None] * (len(cores) - len(self.running))
        for core, job in zip(free, list(self._ready()), strict=False):
            self.waiting.remove(job)
            try:
                process = self._begin(job, core)
            except SenseiError as error:
                self._end(job, "failed", str(error))
                continue
            self.running.append(_Running(job, core, process))

    def _ready(self) -> Iterator[Job]:
        """The jobs that may start; those whose parent failed are given up here."""
        for job in list(self.waiting):
            parent = self.outcomes.get(job.parent)
            if not job.parent or parent == "done":
                yield job
            elif parent is not None:
                self.waiting.remove(job)
                self._end(job, parent, f"it needs {job.parent}")

    def _begin(self, job: Job, core: int | None) -> subprocess.Popen[bytes]:
        folder = self.root / job.name
        if job.parent and not folder.exists():
            inherited = [step.key for step in job.steps[: job.inherited]]
            fork(Workspace(self.root / job.parent), folder, inherited)
        log = log_of(self.root, job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file, _on_core(core):
            return subprocess.Popen(
                [*_BEFORE, *self.command(job)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | ({} if core is None else dict.fromkeys(_ONE_CORE, "1")),
                # A Ctrl-C at the terminal reaches the study alone, which passes it on once: a
                # second one would interrupt the saving.
                start_new_session=True,
            )

    def command(self, job: Job) -> list[str]:
        """Write the job's configuration; return the command line that executes it."""
        config = self.root / "configs" / (job.name.replace("/", "-") + ".yaml")
        atomic_write(config, yaml.safe_dump(to_plain(job.config), sort_keys=False))
        words = ["--config", str(config), "--dir", str(self.root / job.name), "--until", job.until]
        return [sys.executable, "-m", "sensei", "run", *words]

    def _collect(self) -> None:
        for running in list(self.running):
            code = running.process.poll()
            if code is None:
                continue
            self.running.remove(running)
            outcome = OUTCOMES.get(code, "failed")
            self._end(running.job, outcome, _last_words(log_of(self.root, running.job), code))

    def _end(self, job: Job, outcome: Outcome, why: str) -> None:
        self.outcomes[job.name] = outcome
        self.say(f"{job.name}: {outcome}" + ("" if outcome == "done" else f" ({why})"))

    def _signal(self, number: signal.Signals) -> None:
        for running in self.running:
            running.process.send_signal(number)

    def _count(self, outcome: Outcome) -> int:
        return sum(found == outcome for found in self.outcomes.values())

    def _shown(self) -> dict[str, str]:
        names = ", ".join(running.job.name.rpartition("/")[2] for running in self.running)
        return {"jobs": f"{self._count('done')}/{len(self.jobs)}", "running": names or "nothing"}


def log_of(root: Path, job: Job) -> Path:
    """Where a job's output goes."""
    return root / "logs" / (job.name.replace("/", "-") + ".log")


def choose_cores(processes: int) -> list[int | None]:
    """Return the core of each of ``processes`` runs at a time; 0 takes all this process may use.

    Where a process cannot be bound to a core, each is None.

    Raises:
        UsageError: there are fewer cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [None] * (processes or os.cpu_count() or 1)
    cores = sorted(os.sched_getaffinity(0))
    if processes > len(cores):
        raise UsageError(
            f"--processes is {processes}, and this machine offers {len(cores)} cores: a run needs "
            f"one of its own, give --processes {len(cores)}"
        )
    return list(cores[: processes or len(cores)])


class _on_core:
    """What is started inside inherits the core; this process gets its own cores back."""

    def __init__(self, core: int | None) -> None:
        self.core = core

    def __enter__(self) -> None:
        if self.core is not None:
            self.before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {self.core})

    def __exit__(self, *_: object) -> None:
        if self.core is not None:
            os.sched_setaffinity(0, self.before)


def _last_words(log: Path, code: int) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix("sensei: ") for line in lines if line.startswith("sensei: ")]
    last = (told or lines or ["no output"])[-1]
    return f"exit code {code}; {last}; all of it in {log}"
