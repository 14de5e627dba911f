"""One real run, as small as a run can be, and its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sensei.fields import with_dotted
from sensei.presets import RunConfig, preset
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import execute

SMALL: dict[str, Any] = {
    "env.num_envs": 2,
    "env.processes": 1,
    "agent.size.deter": 16,
    "agent.size.blocks": 2,
    "agent.size.hidden": 8,
    "agent.size.stoch": 2,
    "agent.size.classes": 4,
    "agent.size.depth": 4,
    "agent.size.units": 8,
    "agent.size.layers": 1,
    "agent.size.members": 2,
    "agent.batch": 2,
    "agent.length": 4,
    "agent.horizon": 2,
    "collect.env_steps": 800,
    "collect.label_frames": 150,
    "annotate.pairs": 60,
    "distill.epochs": 2,
    "explore.env_steps": 300,
    "explore.prefill": 100,
    "explore.train_ratio": 0.2,
    "solve.env_steps": 300,
    # Without updates, so that only exploration's training is compiled: that is what is slow here.
    "solve.train_ratio": 0.0,
    "evaluate.episodes": 2,
    "evaluate.videos": 1,
}


@pytest.fixture(scope="session")
def small_run() -> Callable[..., tuple[RunConfig, Workspace]]:
    """A function from a folder and a method to a small run, of which nothing is made yet."""

    def make(folder: Path, method: str = "sensei") -> tuple[RunConfig, Workspace]:
        config = preset("tiny", "smoke", method=method)
        config = with_dotted(config, SMALL | {"dir": str(folder)})
        return config, Workspace(folder, say=lambda _: None)

    return make


@pytest.fixture(scope="session")
def finished(small_run: Callable, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The run after all its stages, report included."""
    config, workspace = small_run(tmp_path_factory.mktemp("runs") / "whole")
    execute(config, workspace)
    return workspace
