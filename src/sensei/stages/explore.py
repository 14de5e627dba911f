"""Stage 4, explore: the SENSEI rule, or one of its rivals, on the real environment."""

from __future__ import annotations

import contextlib
from typing import Any

from sensei.data.label_store import LabelStore
from sensei.envs.pool import EnvPool
from sensei.presets import RunConfig
from sensei.run import checkpoint
from sensei.run.loop import Learner
from sensei.run.workspace import Workspace
from sensei.stages.online import Online
from sensei.stages.setups import (
    earlier_episodes,
    exploration_setup,
    fresh_state,
    job,
    load_reward_model,
    play,
    stage_input,
    stage_seed,
)
from sensei.types import EnvSpec


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Explore; return the counts. A later generation continues the one before it."""
    explore, seed = config.explore, stage_seed(config, workspace.key)
    with EnvPool(config.env, seed) as pool, LabelStore(workspace.labels) as labels:
        todo = job(
            config,
            workspace,
            env_steps=explore.env_steps,
            train_ratio=explore.train_ratio,
            prefill=explore.prefill if workspace.generation == 1 else 0,
            epsilon=explore.epsilon,
            epsilon_repeat=float(explore.epsilon_repeat),
            offline_updates=explore.offline_updates if workspace.generation == 1 else 0,
            rise_share=explore.rise_share if config.uses_reward else 0.0,
            save_every=explore.save_every,
            replay_gb=explore.replay_gb,
            label_frames=explore.label_frames,
        )
        if explore.method == "random":
            return play(todo, workspace, pool, None, labels)
        learner = _learner(config, pool.spec, workspace)
        if not explore.online_every:
            return play(todo, workspace, pool, learner, labels)
        assert learner.reward_model is not None
        online = Online(config, workspace, learner.reward_model, pool.spec.has_oracle)
        learner.relabel = online
        with contextlib.closing(online):
            summary = play(todo, workspace, pool, learner, labels)
            checkpoint.save(workspace.here / "reward.safetensors", learner.reward_model)
            return summary | {"online": online.summary()}


def _learner(config: RunConfig, spec: EnvSpec, workspace: Workspace) -> Learner:
    setup = exploration_setup(config, spec, config.explore.method)
    state = fresh_state(setup, config.seed)
    reward = stage_input(workspace, "distill")
    before = stage_input(workspace, "explore")
    if before:
        path = workspace.folder(before) / "checkpoint.safetensors"
        state = checkpoint.load_part(path, state, "['state']")
    sources = earlier_episodes(config, workspace, before)
    reward_model = load_reward_model(config, spec, workspace, reward) if reward else None
    return Learner(setup, state, reward_model, sources)
