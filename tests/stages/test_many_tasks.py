"""Several tasks from one exploration, as a user starts them, where the returns are known."""

from __future__ import annotations

from pathlib import Path

from sensei.run.metrics import read_metrics, series
from sensei.run.workspace import Workspace
from small_run import Commands

RETURNS = {"twice": 10.0, "cost": -5.0}
"""Of each episode of five steps; the environment's own reward would add up to 5."""


def test_each_task_has_its_own_policy_and_returns(commands: Commands, tmp_path: Path) -> None:
    words = ["--env", "sensei.testing.envs:ManyTasks", "--method", "p2e", "--budget", "smoke"]
    commands(
        "run",
        *words,
        "--config",
        commands.config,
        "--dir",
        tmp_path,
        "--until",
        "explore",
        "--explore.label-frames",
        0,
    )
    commands("solve", "--dir", tmp_path, "--task", *RETURNS)
    commands("evaluate", "--dir", tmp_path, "--task", *RETURNS)
    workspace = Workspace(tmp_path)
    for task, known in RETURNS.items():
        assert workspace.summary(f"solve/{task}")["env_steps"] == 100
        records = read_metrics(tmp_path / "metrics.jsonl", f"solve/{task}")
        assert set(series(records, "episode/return")[1]) == {known}
        for way in ("sampled", "mode"):
            assert workspace.summary(f"evaluate/{task}")[way]["returns"] == [known] * 2
