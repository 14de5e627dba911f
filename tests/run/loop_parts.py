"""Loops small enough to run often, and ways to stop and compare them."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import gymnasium
import jax
import numpy as np
import safetensors.numpy

from sensei.core.agent import Setup, TrainState
from sensei.core.config import AgentConfig, Size
from sensei.core.methods import method_channels, method_gate
from sensei.core.reward_model import RewardModel
from sensei.data.label_store import LabelStore
from sensei.envs.config import EnvConfig
from sensei.envs.pool import EnvPool
from sensei.run import checkpoint
from sensei.run.interrupts import Interrupts
from sensei.run.loop import Job, Learner, Loop
from sensei.run.metrics import Metrics
from sensei.stages.setups import fresh_state
from sensei.types import EnvSpec

SIZE = Size(deter=16, blocks=2, hidden=8, stoch=2, classes=4, depth=2, units=8, layers=1, members=2)
CONFIG = AgentConfig(size=SIZE, batch=2, length=8, horizon=2, warmup=0)
ENV = EnvConfig(name="tiny", num_envs=3, processes=0, image_size=16)
JOB = Job(key="explore", folder=Path(), env_steps=240, save_every=10**9, replay_gb=0.01)
ROUND_STEPS = ENV.num_envs


class StopAfter(Interrupts):
    """Ask to stop when the loop has looked ``rounds`` times."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self._before = {}

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left <= 0


class RecordedPool(EnvPool):
    """Remembers a copy of every row it returned."""

    def __init__(self, env: EnvConfig, seed: int) -> None:
        super().__init__(env, seed)
        self.returned: list[dict[str, np.ndarray]] = []
        self.asked: list[np.ndarray] = []

    def step_async(self, actions: Any, want_label: Any = None) -> None:
        self.asked.append(np.array(actions))
        super().step_async(actions, want_label)

    def step_wait(self) -> Any:
        rows, labels = super().step_wait()
        self.returned.append({name: value.copy() for name, value in rows.items()})
        return rows, labels


def small_learner(spec: EnvSpec, seed: int = 0, **fields: Any) -> Learner:
    """A Plan2Explore learner on the tiny networks."""
    setup = Setup(
        env=spec,
        config=CONFIG,
        channels=method_channels("p2e", CONFIG),
        gate=method_gate("p2e", CONFIG),
        heads=("task",),
    )
    state = jax.tree.map(
        lambda leaf: leaf.copy() if eqx.is_array(leaf) else leaf, _fresh_state(setup, seed)
    )
    return Learner(setup, state, **fields)


@functools.cache
def _fresh_state(setup: Setup, seed: int) -> TrainState:
    """Compile once, not once a loop. Training consumes a state, so take copies."""
    return fresh_state(setup, seed)


def play(
    folder: Path,
    *,
    agent: bool = False,
    env: EnvConfig = ENV,
    interrupts: Interrupts | None = None,
    sources: tuple = (),
    judged: bool = False,
    **fields: Any,
) -> tuple[Loop, RecordedPool]:
    """Run a job in ``folder``, or go on with it; ``Stopped`` passes through."""
    job = dataclasses.replace(JOB, folder=folder / "stage", **fields)
    with (
        RecordedPool(env, job.seed) as pool,
        LabelStore(folder / "labels.sqlite") as labels,
    ):
        learner = small_learner(pool.spec, job.seed, sources=sources) if agent else None
        if learner and judged:
            key = jax.random.key(0, impl="rbg")
            learner.reward_model = RewardModel(pool.spec.obs, members=2, key=key)
        loop = Loop(job, pool, Metrics(folder / "metrics.jsonl"), learner, labels)
        try:
            loop.run(interrupts)
        finally:
            loop.store.close()
        return loop, pool


def everything(folder: Path) -> dict[str, Any]:
    """All that a finished loop left, comparable with ``==``."""
    from sensei.data.episodes import EpisodeStore

    store = EpisodeStore.open(folder / "stage" / "episodes", read_only=True)
    rows = {name: store.column(name).tobytes() for name in store.layout.fields}
    with LabelStore(folder / "labels.sqlite") as labels:
        table = labels.frame_table()
        frames = [dataclasses.replace(f, id=0) for f in labels.frames(table.id)]
    frames.sort(key=lambda f: (f.step, f.env))
    state = whole_checkpoint(folder / "stage" / "checkpoint.safetensors")
    return {"steps": store.steps, "rows": rows, "frames": frames, "checkpoint": state}


def whole_checkpoint(path: Path) -> dict[str, Any]:
    """Every number in a checkpoint, bit for bit; the file's own header has no fixed order."""
    arrays = safetensors.numpy.load_file(path)
    exact = {name: (a.dtype.name, a.shape, a.tobytes()) for name, a in arrays.items()}
    return exact | {"meta": checkpoint.read_meta(path)}


class Forgetful(gymnasium.Env):
    """Observations that no seed repeats."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> Any:
        return self._look(), 0.0, False, False, {}

    def _look(self) -> np.ndarray:
        return np.frombuffer(os.urandom(4), np.uint32).astype(np.float32) / 2.0**32
