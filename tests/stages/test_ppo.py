"""PPO through the same pipeline: counts, scores, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensei.fields import with_dotted
from sensei.presets import RunConfig, preset
from sensei.run.metrics import read_metrics, series
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import execute, plan
from sensei.types import UsageError

pytest.importorskip("stable_baselines3")

from sensei.stages.ppo import Keeper

SMALL: dict[str, Any] = {
    "env.num_envs": 2,
    "solve.env_steps": 400,
    "solve.save_every": 128,
    "ppo.rollout": 32,
    "ppo.batch": 32,
    "ppo.epochs": 1,
    "evaluate.episodes": 3,
}


def config_of(folder: Path, **fields: Any) -> RunConfig:
    return with_dotted(preset("tiny", "smoke", method="ppo"), SMALL | {"dir": str(folder)} | fields)


def run(folder: Path, last: str = "evaluate", **fields: Any) -> Workspace:
    workspace = Workspace(folder, say=lambda _: None)
    execute(config_of(folder, **fields), workspace, last=last)
    return workspace


def test_it_solves_and_is_evaluated_like_every_method(tmp_path: Path) -> None:
    assert [step.key for step in plan(config_of(tmp_path))] == [
        "solve/task", "evaluate/task", "report",
    ]  # fmt: skip
    workspace = run(tmp_path, "report")
    solved = workspace.summary("solve/task")
    assert solved["env_steps"] == 400 and solved["episodes"] >= 6  # of at most 64 steps, in 2 envs
    assert solved["updates"] == 400 // (2 * 32)
    records = read_metrics(tmp_path / "metrics.jsonl", "solve/task")
    assert series(records, "event/at_locked_door")[1][-1] == solved["events"]["at_locked_door"]
    assert records[-1]["step"] == 400 and np.isfinite(records[-1]["loss/value_loss"])
    for way, played in workspace.summary("evaluate/task").items():
        assert played["episodes"] == len(played["returns"]) == 3 and max(played["lengths"]) <= 64
        assert list((tmp_path / "evaluate/task" / way).glob("episode-*.mp4"))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Method ppo solves a task and does not explore" in page and "Not made yet" not in page


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_killed_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        saves = iter(range(10))
        real = Keeper.save

        def save(keeper: Keeper) -> None:
            if next(saves) == 2:
                raise Killed
            real(keeper)

        patch.setattr(Keeper, "save", save)
        with pytest.raises(Killed):
            run(tmp_path, "solve")
    seen: list[dict[str, Any]] = []
    resume = Keeper.resume

    def look(keeper: Keeper, model: Any) -> None:
        resume(keeper, model)
        seen.append({"steps": model.num_timesteps, "updates": model._n_updates})
        state = model.policy.optimizer.state_dict()["state"]
        assert state[0]["step"] > 0 and float(state[0]["exp_avg_sq"].sum()) > 0

    monkeypatch.setattr(Keeper, "resume", look)
    workspace = run(tmp_path, "solve")
    assert seen == [{"steps": 256, "updates": 4}]
    assert workspace.summary("solve/task")["env_steps"] == 400
    steps = [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl", "solve/task")]
    assert steps == sorted(set(steps)) and steps[-1] == 400


def test_what_ppo_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PPO learns from steps alone"):
        run(tmp_path, "solve", **{"solve.env_steps": 0, "solve.offline_updates": 5})
    with pytest.raises(UsageError, match="is no reward of tiny"):
        run(tmp_path / "x", "solve", **{"solve.task": "tusk"})


def test_it_learns(tmp_path: Path) -> None:
    fields = {"env.name": "sensei.testing.envs:CueReward", "env.num_envs": 4}
    fields |= {"solve.env_steps": 4_000, "solve.save_every": 10_000, "ppo.learning_rate": 3e-3}
    fields |= {"ppo.rollout": 64, "ppo.batch": 64, "ppo.epochs": 4, "evaluate.episodes": 40}
    scores = run(tmp_path, **fields).summary("evaluate/task")
    assert scores["mode"]["mean_return"] > 0.9  # a blind policy earns a third
