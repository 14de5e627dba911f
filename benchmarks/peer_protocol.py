"""A measured program in a process of its own: it says what it is, then makes a step when told to.

Standard library only, because the peers run in another environment than ours.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

IMAGE, ACTIONS = 64, 6
"""Side of the pictures in pixels, and discrete actions: the same work for every program."""
BATCH, LENGTH, HORIZON = 16, 64, 15
"""Sequences in a batch, their steps, and imagined steps."""


class Program(NamedTuple):
    """A training step that is ready to be timed."""

    step: Callable[[], None]
    """Make one training step and wait for its end."""
    parameters: int
    """Trained parameters, all parts together; slow copies do not count."""
    count: Callable[[], float]
    """Floating-point operations of the products in one step, two per multiply-add."""
    packages: Iterable[str]
    """The packages whose versions matter."""


def serve(build: Callable[[str, str], Program]) -> None:
    """Build what ``sys.argv`` names (algorithm, preset), then answer each line of the input."""
    answer = _own_output()
    algorithm, preset = sys.argv[1:]
    began = time.perf_counter()
    program = build(algorithm, preset)
    program.step()
    first_seconds = time.perf_counter() - began
    versions = {name: importlib.metadata.version(name) for name in program.packages}
    answer(parameters=program.parameters, versions=versions, first_seconds=first_seconds)
    for line in sys.stdin:
        began = time.perf_counter()
        if line.strip() == "count":
            answer(gflop=program.count() / 1e9)
            continue
        program.step()
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        answer(seconds=time.perf_counter() - began, peak_gb=peak_gb)


def _own_output() -> Callable[..., None]:
    """Keep stdout for answers: what the programs print goes to stderr."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=stream, flush=True)

    return answer
