"""Stage 6, evaluate: episodes by the task policy, way by way, with scores and videos."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from sensei.data.episodes import EpisodeStore
from sensei.envs.pool import EnvPool
from sensei.presets import RunConfig
from sensei.run import checkpoint
from sensei.run.loop import Learner
from sensei.run.tally import task_reward
from sensei.run.video import write_video
from sensei.run.workspace import Workspace
from sensei.stages.setups import fresh_state, job, play, stage_input, stage_seed, task_setup
from sensei.stages.solve import ppo_stage
from sensei.types import EnvSpec

EPISODE_LIMIT = 100_000
"""Environment steps after which an environment that never ends is given up."""

Way = Literal["sampled", "mode", "interludes"]
"""How the policy acts: by samples, by its likeliest action, or by samples with random actions held
between, as while it learned."""


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Play the solved task from fresh starts; return scores by way of acting."""
    if config.explore.method == "ppo":
        return ppo_stage().evaluate(config, workspace)
    ways: tuple[Way, ...] = ("sampled", "mode")
    if config.solve.epsilon:
        ways += ("interludes",)
    return {way: _play(config, workspace, way) for way in ways}


def _play(config: RunConfig, workspace: Workspace, way: Way) -> dict[str, Any]:
    solve, greedy = config.solve, way == "mode"
    with EnvPool(config.env, stage_seed(config, f"evaluate/{greedy}")) as pool:
        setup = task_setup(config, pool.spec, solve.task)
        state = fresh_state(setup, config.seed)
        solved = workspace.folder(stage_input(workspace, "solve")) / "checkpoint.safetensors"
        state = checkpoint.load_part(solved, state, "['state']")
        each = -(-config.evaluate.episodes // pool.num_envs)
        todo = job(
            config,
            workspace,
            task=solve.task,
            env_steps=EPISODE_LIMIT,
            episodes_each=each,
            greedy=greedy,
            epsilon=solve.epsilon if way == "interludes" else 0.0,
            epsilon_repeat=float(solve.epsilon_repeat),
            save_every=EPISODE_LIMIT,
            replay_gb=config.explore.replay_gb,
        )
        todo = todo.part(way)
        play(todo, workspace, pool, Learner(setup, state))
    return _scores(todo.folder, pool.spec, config, each)


def _scores(folder, spec: EnvSpec, config: RunConfig, each: int) -> dict[str, Any]:
    """Returns, lengths and event rates of each environment's first ``each`` episodes, so that short
    episodes are not favoured."""
    store = EpisodeStore.open(folder / "episodes", read_only=True)
    by_env: dict[int, list] = {}
    for episode in store.episodes():
        by_env.setdefault(episode.env, []).append(episode)
    chosen = [e for episodes in by_env.values() for e in episodes[:each]]
    chosen = chosen[: config.evaluate.episodes]
    rows = {name: store.column(name) for name in ("reward", "rewards")}
    reward, counts = task_reward(rows, spec, config.solve.task), store.column("events")
    returns = [float(reward[e.env, e.start : e.stop].sum()) for e in chosen]
    happened = [(counts[e.env, e.start : e.stop] > 0).any(0) for e in chosen]
    for i, e in enumerate(chosen[: config.evaluate.videos]):
        images = store.window(e.env, e.start, e.stop - e.start).get("image")
        if images is not None:
            write_video(folder / f"episode-{i}.mp4", images)
    return {
        "episodes": len(chosen),
        "returns": returns,
        "mean_return": float(np.mean(returns)),
        "lengths": [e.stop - e.start - 1 for e in chosen],
        "events": dict(zip(spec.events, np.mean(happened, 0).tolist(), strict=True)),
    }
