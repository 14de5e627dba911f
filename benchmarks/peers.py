"""Time our training step beside the peers' in one run, step by step in turn.

    python -m venv PEERS
    PEERS/bin/pip install torch==2.13.0 sheeprl==0.8.4 torchrl==0.14.1
    python benchmarks/peers.py --preset 1m --python PEERS/bin/python --json OUT.json

Every program does the same work a step: 16 × 64 pictures of 64 × 64 × 3, imagination of 15 steps
from all 1,024 states, six discrete actions, float32. Each runs in a process of its own on the same
cores, and one step of each is timed before the next step of any, so that what else the machine does
falls on all alike. Peers that are not installed are named and left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import tyro

from sensei.run import machine

HERE = Path(__file__).parent
PINS = {"sheeprl": "sheeprl==0.8.4", "torchrl": "torchrl==0.14.1"}
"""What was tested; another version runs as far as it kept its interface."""
TORCH = "torch==2.13.0"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One program of the comparison."""

    name: str
    package: str
    algorithm: str


ENTRIES = (
    Entry("sensei", "sensei", "sensei"),
    Entry("sensei, Plan2Explore", "sensei", "p2e"),
    Entry("sheeprl, Plan2Explore", "sheeprl", "p2e_dv3_exploration"),
    Entry("sensei, DreamerV3 alone", "sensei", "dreamer"),
    Entry("sheeprl, DreamerV3 alone", "sheeprl", "dreamer_v3"),
    Entry("TorchRL, DreamerV3 alone", "torchrl", "dreamer_v3"),
)


@dataclasses.dataclass(frozen=True)
class Args:
    """What is timed, and where the peers are."""

    preset: Literal["1m", "12m"] = "1m"
    """Widths of DreamerV3's presets of this name; ours are the sizes xs and s."""
    python: Path | None = None
    """The interpreter of the environment that holds the peers."""
    programs: tuple[str, ...] = ()
    """Only these, by name (the 12m ones together need more than 24 GB); all when none is named."""
    steps: int = 5
    """Timed steps of each program, after two of warm-up."""
    threads: int = 2
    """Cores that the programs may use."""
    json: Path | None = None
    """Write the figures here too."""


class Child:
    """A program in its own process."""

    def __init__(self, entry: Entry, python: str, args: Args) -> None:
        """Start it; ``ready`` waits until it has made its first step."""
        self.entry, self.seconds, self.peak_gb = entry, [], 0.0
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, set(sorted(own)[: args.threads]))  # inherited by what is started
        try:
            self.process = subprocess.Popen(
                [python, str(HERE / f"peer_{entry.package}.py"), entry.algorithm, args.preset],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": str(args.threads)},
            )
        finally:
            os.sched_setaffinity(0, own)

    def ready(self) -> None:
        """Wait for the first step and ask for the operations in one, which warms up further."""
        self.about = self._answer()
        self.about |= self.ask("count")
        self.ask("step")

    def time(self) -> float:
        """Make one step and keep its seconds."""
        answer = self.ask("step")
        self.seconds.append(answer["seconds"])
        self.peak_gb = answer["peak_gb"]
        return answer["seconds"]

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command and return the answer."""
        assert self.process.stdin is not None
        print(command, file=self.process.stdin, flush=True)
        return self._answer()

    def result(self) -> dict[str, Any]:
        """What was measured, JSON-able."""
        about = {"name": self.entry.name, "algorithm": self.entry.algorithm, **self.about}
        return about | {
            "seconds": self.seconds,
            "seconds_median": statistics.median(self.seconds),
            "seconds_min": min(self.seconds),
            "peak_gb": self.peak_gb,
        }

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.entry.name} ended early, its error is above")
        return json.loads(line)


def main(args: Args) -> None:
    """Print and save one comparison."""
    load = os.getloadavg()[0]
    with started(args) as children:
        for step in range(args.steps):
            for child in children:
                seconds = child.time()
                print(f"{step + 1}/{args.steps} {child.entry.name:26} {seconds:8.3f} s", flush=True)
        programs = [child.result() for child in children]
    result = {
        "preset": args.preset,
        "threads": args.threads,
        "cpu": machine.hardware()["cpu"],
        "load_before": load,
        "programs": programs,
    }
    for program in programs:
        print(f"{program['name']:26} median {program['seconds_median']:.3f} s")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


@contextlib.contextmanager
def started(args: Args) -> Iterator[list[Child]]:
    """Start what is installed, one after the other, and end it again."""
    children: list[Child] = []
    absent = {package for package in PINS if not installed(package, args.python)}
    for package in sorted(absent):
        where = args.python or "the python of an environment of its own, given as --python,"
        print(f"{package} is left out: {where} -m pip install {TORCH} {PINS[package]}")
    try:
        for entry in ENTRIES:
            unwanted = args.programs and entry.name not in args.programs
            if unwanted or entry.package in absent:
                continue
            python = sys.executable if entry.package == "sensei" else str(args.python)
            children.append(Child(entry, python, args))
            children[-1].ready()
            seconds = children[-1].about["first_seconds"]
            print(f"{entry.name} is ready, its first step took {seconds:.0f} s", flush=True)
        yield children
    finally:
        for child in children:
            with child.process:  # closes the pipes and waits
                child.process.kill()


def installed(package: str, python: Path | None) -> bool:
    """Say whether an interpreter can import a package."""
    if python is None:
        return False
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", probe], check=False).returncode == 0


if __name__ == "__main__":
    main(tyro.cli(Args))
