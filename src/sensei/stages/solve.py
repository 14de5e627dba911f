"""Stage 5, solve: a downstream task on the explored world model."""

from __future__ import annotations

import importlib
from typing import Any

import jax

from sensei.core.agent import make_state
from sensei.data.episodes import EpisodeStore
from sensei.envs.pool import EnvPool
from sensei.fields import nearest
from sensei.presets import RunConfig
from sensei.run.loop import Learner
from sensei.run.workspace import Workspace
from sensei.stages.setups import (
    earlier_episodes,
    explored_actor,
    explored_reward_model,
    explored_world_model,
    fresh_state,
    job,
    play,
    stage_input,
    stage_seed,
    task_setup,
)
from sensei.types import EnvSpec, SenseiError, UsageError


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Train a task's actor-critic on the explored world model; return the counts."""
    if config.explore.method == "ppo":
        return ppo_stage().solve(config, workspace)
    solve = config.solve
    with EnvPool(config.env, stage_seed(config, workspace.key)) as pool:
        check_tasks(config, pool.spec)
        todo = job(
            config,
            workspace,
            task=solve.task,
            env_steps=solve.env_steps,
            train_ratio=solve.train_ratio,
            epsilon=solve.epsilon,
            epsilon_repeat=float(solve.epsilon_repeat),
            offline_updates=solve.offline_updates,
            rise_share=config.explore.rise_share if config.uses_reward else 0.0,
            own_weight=solve.own_weight,
            save_every=solve.save_every,
            replay_gb=config.explore.replay_gb,
        )
        return play(todo, workspace, pool, _learner(config, pool.spec, workspace))


def ppo_stage() -> Any:
    """Import the module that solves and evaluates by PPO.

    Raises:
        SenseiError: its extra is missing.
    """
    try:
        return importlib.import_module("sensei.stages.ppo")
    except ModuleNotFoundError as error:
        raise SenseiError(
            f"method ppo needs {error.name}: install the extra, pip install 'sensei-rl[ppo]'"
        ) from error


def check_tasks(config: RunConfig, spec: EnvSpec) -> None:
    """Find a wrong name before the first task is solved, not after it."""
    known = ("task", *spec.rewards)
    for task in config.solve.tasks:
        if task not in known:
            near = nearest(task, known)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"--task {task!r} is no reward of {config.env.name}: {hint}")


def _learner(config: RunConfig, spec: EnvSpec, workspace: Workspace) -> Learner:
    setup = task_setup(config, spec, config.solve.task)
    seed = stage_seed(config, workspace.key)
    explored = stage_input(workspace, "explore")
    sources: tuple[EpisodeStore, ...] = ()
    if explored and config.solve.keep_replay:
        sources = earlier_episodes(config, workspace, explored)
    state = fresh_state(setup, seed)
    if explored and config.explore.method != "random":
        model = explored_world_model(config, spec, workspace, explored)
        heads = {name: model.rewards[name] for name in setup.heads}
        agent = state.agent.replace(world_model=model.with_rewards(heads))
        if config.solve.policy == "explorer":
            agent = agent.replace(actor=explored_actor(config, spec, workspace, explored))
        state = make_state(setup, agent, key=jax.random.key(seed + 1, impl="rbg"))
    reward_model = explored_reward_model(config, spec, workspace, explored)
    return Learner(setup, state, reward_model, sources)
