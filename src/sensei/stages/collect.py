"""Stage 1, collect: a self-supervised dataset D_init with label frames."""

from __future__ import annotations

from typing import Any

from sensei.annotate.annotator import resolve
from sensei.data.label_store import LabelStore
from sensei.envs.pool import EnvPool
from sensei.presets import RunConfig
from sensei.run.loop import Learner
from sensei.run.workspace import Workspace
from sensei.stages.setups import exploration_setup, fresh_state, job, play, stage_seed


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Collect episodes and label frames; return the counts."""
    collect, seed = config.collect, stage_seed(config, workspace.key)
    with EnvPool(config.env, seed) as pool, LabelStore(workspace.labels) as labels:
        if collect.label_frames:  # that nobody could label them is found out before the first step
            resolve(config.annotator, pool.spec.has_oracle, config.env.name)
        learner = None
        if collect.policy == "p2e":
            setup = exploration_setup(config, pool.spec, "p2e")
            learner = Learner(setup, fresh_state(setup, seed))
        todo = job(
            config,
            workspace,
            env_steps=collect.env_steps,
            train_ratio=config.explore.train_ratio,
            prefill=config.explore.prefill,
            save_every=max(config.explore.save_every, collect.env_steps // 10),
            replay_gb=config.explore.replay_gb,
            label_frames=collect.label_frames,
            action_repeat=float(collect.action_repeat),
        )
        return play(todo, workspace, pool, learner, labels)
