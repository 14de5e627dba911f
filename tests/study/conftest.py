"""Runs with invented numbers, written by the pipeline itself, so that reading them is tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sensei.presets import RunConfig
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import Body, execute
from sensei.study.plan import Job


def invented(rate: float, reached: int, found: float, accuracy: float) -> Callable[[str], Body]:
    """Bodies of a run that picks up a key every 1 / ``rate`` steps and returns ``found``."""

    def counts(steps: int) -> dict[str, Any]:
        events = {"key_picked_up": int(rate * steps), "reward": 0}
        return {"env_steps": steps, "updates": 0, "episodes": 1, "events": events, "restarts": 0}

    def explore(workspace: Workspace) -> Mapping[str, Any]:
        for step in range(100, reached + 1, 100):
            values = {f"event/{name}": n for name, n in counts(step)["events"].items()}
            workspace.metrics.write(workspace.key, step, 0, values)
        return counts(reached)

    def solve(workspace: Workspace) -> Mapping[str, Any]:
        for step in range(100, 1_100, 100):
            ended = {"episode/return": found, "episode/count": step // 20}
            workspace.metrics.write(workspace.key, step, 0, ended)
        return counts(1_000)

    def evaluate(workspace: Workspace) -> Mapping[str, Any]:
        way = {"mean_return": found, "returns": [found], "lengths": [9], "episodes": 1}
        return {"sampled": way | {"events": {}}, "mode": way | {"events": {}}}

    def distill(workspace: Workspace) -> Mapping[str, Any]:
        return {"validation_accuracy": accuracy, "true_order_accuracy": accuracy}

    work = {"distill": distill, "explore": explore, "solve": solve, "evaluate": evaluate}

    def body(kind: str) -> Body:
        def run(config: RunConfig, workspace: Workspace) -> Mapping[str, Any]:
            return work[kind](workspace) if kind in work else counts(1_000)

        return run

    return body


@pytest.fixture
def make() -> Callable[..., Workspace]:
    """A function that makes a job's run with invented numbers."""

    def run(
        job: Job,
        rate: float = 0.01,
        reached: int = 1_000,
        found: float = 1.0,
        accuracy: float = 0.9,
    ) -> Workspace:
        workspace = Workspace(job.config.dir, say=lambda _: None)
        body = invented(rate, reached, found, accuracy)
        execute(job.config, workspace, last=job.until, body=body)
        return workspace

    return run
