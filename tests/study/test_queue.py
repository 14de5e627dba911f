"""Jobs as processes; what each would do is replaced by a line of Python."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sensei.presets import preset
from sensei.study.plan import Job
from sensei.study.queue import Queue, choose_cores, log_of
from sensei.types import Stopped, UsageError


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Queue]:
    """A function from lines of Python by job name, and parents, to a queue of these jobs."""

    def make(lines: dict[str, str], parents: dict[str, str] | None = None) -> Queue:
        def command(_: Queue, job: Job) -> list[str]:
            return [sys.executable, "-c", lines[job.name]]

        monkeypatch.setattr(Queue, "command", command)
        monkeypatch.setattr("sensei.study.queue.fork", lambda parent, root, stages: root.mkdir())
        (tmp_path / "runs").mkdir()
        jobs = [
            Job(
                name, preset("tiny", "smoke", method="p2e"), "report", (parents or {}).get(name, "")
            )
            for name in lines
        ]
        return Queue(tmp_path, jobs, lambda _: None)

    return make


def test_a_failed_job_stops_only_what_needs_it(queue: Callable[..., Queue], tmp_path: Path) -> None:
    fail = "print('sensei: error: no luck'); raise SystemExit(1)"
    lines = {"base": fail, "runs/a": "pass", "runs/b": "pass", "runs/c": "raise SystemExit(3)"}
    jobs = queue(lines, {"runs/a": "base"})
    told: list[str] = []
    jobs.say = told.append
    outcomes = jobs.run(choose_cores(1))
    assert outcomes == {"base": "failed", "runs/a": "failed", "runs/b": "done", "runs/c": "stopped"}
    assert any("no luck" in line and "logs" in line for line in told)
    assert "runs/a: failed (it needs base)" in told
    assert log_of(tmp_path, jobs.jobs[0]).read_text() == "sensei: error: no luck\n"


def test_a_child_begins_after_its_parent(queue: Callable[..., Queue], tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'order')!r}, 'a').write"
    jobs = queue({"base": f"{note}('b')", "runs/a": f"{note}('a')"}, {"runs/a": "base"})
    assert set(jobs.run(choose_cores(0)).values()) == {"done"}
    assert (tmp_path / "order").read_text() == "ba"
    assert (tmp_path / "runs" / "a").is_dir()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no cores to choose here")
def test_each_job_has_one_core(queue: Callable[..., Queue], tmp_path: Path) -> None:
    mine = os.sched_getaffinity(0)
    look = "import os; print(os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"
    jobs = queue({"runs/a": look})
    jobs.run(choose_cores(1))
    assert log_of(tmp_path, jobs.jobs[0]).read_text() == f"{{{min(mine)}}} 1\n"
    assert os.sched_getaffinity(0) == mine
    with pytest.raises(UsageError, match=f"offers {len(mine)} cores"):
        choose_cores(len(mine) + 1)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_study_killed_outright_ends_its_runs(queue: Callable[..., Queue], tmp_path: Path) -> None:
    look = (
        "import ctypes; told = ctypes.c_int(); "
        "ctypes.CDLL(None).prctl(2, ctypes.byref(told)); print(told.value)"  # PR_GET_PDEATHSIG
    )
    jobs = queue({"runs/a": look})
    jobs.run(choose_cores(1))
    assert log_of(tmp_path, jobs.jobs[0]).read_text() == f"{signal.SIGKILL:d}\n"


def test_a_request_to_stop_reaches_every_run_once(
    queue: Callable[..., Queue], tmp_path: Path
) -> None:
    wait = (
        "import signal, sys, time\n"
        f"def stop(*_): open({str(tmp_path / 'stops')!r}, 'a').write('x'); sys.exit(3)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\n"
        "time.sleep(60)\n"
    )
    jobs = queue({"runs/a": wait, "runs/b": "pass"})

    def ask() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Stopped, match="0 of 2 jobs are done"):
        jobs.run(choose_cores(1))
    thread.join()
    assert (tmp_path / "stops").read_text() == "x"
    assert jobs.outcomes == {"runs/a": "stopped"}
