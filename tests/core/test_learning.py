"""Dreamer on environments whose answer is known, by the one loop, from the first step to the last.

Everything is small, and every discount horizon is 10, so that the values are quick to learn.
"""

from __future__ import annotations

import json
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from sensei.core.agent import Setup, TrainState, act, make_agent, make_state, start_acting
from sensei.core.behaviour import channel_values
from sensei.core.config import AgentConfig, Size
from sensei.core.methods import task
from sensei.core.nets import MLP
from sensei.envs.config import EnvConfig
from sensei.envs.pool import EnvPool
from sensei.run.loop import Job, Learner, Loop
from sensei.run.metrics import Metrics

SIZE = Size(deter=32, blocks=4, hidden=16, stoch=4, classes=4, units=32, layers=1, members=3)
CONFIG = AgentConfig(
    size=SIZE, batch=16, length=8, horizon=4, learning_rate=4e-3, warmup=20,
    discount_horizon=10.0, slow_critic_rate=0.1,
)  # fmt: skip
GAMMA = 0.9
CHANNELS = (task(),)
"""One object, so that all setups are equal and share one compiled step."""


@eqx.filter_jit
def fresh(setup: Setup) -> TrainState:
    k_agent, k_train = jax.random.split(jax.random.key(0))
    return make_state(setup, make_agent(setup, key=k_agent), key=k_train)


@jax.jit
def value_of(critics: MLP, feature: jax.Array) -> jax.Array:
    """What the only channel's critic says."""
    return channel_values(critics, feature)[0]


class Trained:
    """Dreamer after ``updates`` updates on a micro-environment."""

    def __init__(
        self,
        folder: Path,
        name: str,
        steps: int,
        updates: int,
        options: dict[str, int] | None = None,
    ) -> None:
        options = {"inner": name} | (options or {})
        self.config = EnvConfig("small_agent:OneShape", 8, processes=0, options=options)
        pool = EnvPool(self.config, seed=0)
        self.setup = Setup(env=pool.spec, config=CONFIG, channels=CHANNELS, shaping=("task",))
        state = fresh(self.setup)
        prefill = 64
        ratio = updates * CONFIG.batch * CONFIG.length / (steps - prefill)
        job = Job("solve", folder, steps, train_ratio=ratio, prefill=prefill, save_every=10**9)
        learner = Learner(self.setup, state)
        loop = Loop(job, pool, Metrics(folder / "metrics.jsonl"), learner)
        loop.run()
        assert loop.updates == pytest.approx(updates, abs=updates // 10)
        loop.store.close()
        pool.close()
        self.agent, self.folder = learner.state.agent, folder

    def play(self, rounds: int) -> tuple[float, dict[bytes, tuple[np.ndarray, float]]]:
        """Play greedily: mean return of the finished episodes, and the critic's mean value of each
        observation that is not an end."""
        pool, returns, values = EnvPool(self.config, seed=1), [], {}
        carry = start_acting(self.agent, 8, key=jax.random.key(3))
        actions, total = np.zeros((8, pool.spec.action.size), np.float32), np.zeros(8)
        for _ in range(rounds):
            rows, _ = pool.step(actions)
            seen = {k: rows[k] for k in ("vector", "prev_action", "is_first")}
            carry, chosen = act(self.agent, carry, seen, True)
            actions = np.array(chosen)
            value = np.asarray(value_of(self.agent.critics, carry.latent.feature))
            total = np.where(rows["is_first"], 0.0, total) + rows["reward"]
            returns += total[rows["is_last"]].tolist()
            for i in np.flatnonzero(~rows["is_last"]):
                values.setdefault(rows["vector"][i].tobytes(), []).append(value[i])
        pool.close()
        means = {
            key: (np.frombuffer(key, np.float32), float(np.mean(v))) for key, v in values.items()
        }
        return float(np.mean(returns)), means


def test_dreamer_learns_to_read_a_cue(tmp_path: Path) -> None:
    """Naming the cue earns 1; blind play among 3 earns ⅓, as the learning curve does at first."""
    trained = Trained(tmp_path, "CueReward", steps=1000, updates=550)
    assert trained.play(40)[0] > 0.9
    records = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    curve = [r["episode/return"] for r in records if "episode/return" in r]
    assert curve[0] < 0.6 < curve[-1]


def test_dreamer_walks_a_corridor_and_knows_how_far_it_is(tmp_path: Path) -> None:
    """The best policy earns 1 in 4 steps; from cell i its value is γ^(3 − i)."""
    trained = Trained(tmp_path, "Corridor", steps=800, updates=250, options={"cells": 4})
    mean, values = trained.play(40)
    assert mean > 0.95
    for shown, value in values.values():
        cell = int(shown.argmax())
        assert value == pytest.approx(GAMMA ** (3 - cell), abs=0.15), f"cell {cell}"


def test_a_time_limit_is_bootstrapped(tmp_path: Path) -> None:
    """Reward 1 for ever, cut every 5 steps: the value is 1/(1 − γ) = 10 everywhere. One who took
    the cut for an end would find at most (1 − γ⁵)/(1 − γ) = 4.1."""
    _, values = Trained(tmp_path, "TimeLimitOne", steps=600, updates=250).play(20)
    assert [v for _, v in values.values()] == pytest.approx([10.0], abs=2.0)


def test_a_termination_is_worth_nothing(tmp_path: Path) -> None:
    """With k of 5 steps left the value is (1 − γ^k)/(1 − γ): 4.10, 3.44, 2.71, 1.90, 1."""
    _, values = Trained(tmp_path, "TerminateOne", steps=600, updates=250).play(20)
    for shown, value in values.values():
        left = 5 - round(5 * float(shown[0]))
        assert value == pytest.approx((1 - GAMMA**left) / (1 - GAMMA), abs=0.5), f"{left} left"
