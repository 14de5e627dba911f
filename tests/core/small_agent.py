"""An agent so small that compiling it is most of the work, and batches for it."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from sensei.core.agent import Setup
from sensei.core.config import AgentConfig, Size
from sensei.core.methods import method_channels, method_gate
from sensei.testing import envs
from sensei.types import ActionSpec, EnvSpec, ObsSpec

SIZE = Size(
    deter=32, blocks=4, hidden=16, stoch=4, classes=4, depth=4, units=16, layers=1, members=3
)
CONFIG = AgentConfig(
    size=SIZE, batch=2, length=6, horizon=3, free_nats=0.0, warmup=0, task_weight=0.5
)
ENV = EnvSpec(ObsSpec(None, ("x", "y")), ActionSpec((3,)), rewards=("extra",))
HEADS = ("task", "extra", "semantic")


def setup_of(method: str, *, shaping: tuple[str, ...] = (), config: AgentConfig = CONFIG) -> Setup:
    """The small agent that trains by ``method``, all reward heads included."""
    return Setup(
        env=ENV,
        config=config,
        channels=method_channels(method, config),
        gate=method_gate(method, config),
        heads=(*HEADS, "rnd") if method == "rnd" else HEADS,
        shaping=shaping,
    )


def random_batch(seed: int = 0, b: int = 2, t: int = 6) -> dict[str, jax.Array]:
    """Replayed rows with one cut, one termination and a reset after each, and every reward."""
    rng = np.random.default_rng(seed)
    first, last, terminal = (np.zeros((b, t), bool) for _ in range(3))
    first[:, 0] = True
    last[:, 2] = True
    first[:, 3] = True
    terminal[1, 2] = True
    rows = {
        "vector": rng.normal(size=(b, t, 2)).astype(np.float32),
        "prev_action": np.eye(3, dtype=np.float32)[rng.integers(3, size=(b, t))],
        "reward": rng.normal(size=(b, t)).astype(np.float32),
        "rewards": rng.normal(size=(b, t, 1)).astype(np.float32),
        "semantic": rng.normal(size=(b, t)).astype(np.float32),
        "is_first": first,
        "is_last": last,
        "is_terminal": terminal,
    }
    return {name: jnp.asarray(value) for name, value in rows.items()}


class OneShape(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A micro-environment in one shape common to all, so that one compiled agent does for all.

    Six numbers are seen, the last ones always 0; of three actions the last may repeat the first.
    """

    def __init__(self, inner: str, **options: int) -> None:
        super().__init__(getattr(envs, inner)(**options))
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (6,), np.float32)
        self.choices, self.action_space = self.env.action_space.n, gymnasium.spaces.Discrete(3)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(**options)
        return self._padded(obs), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, *rest = self.env.step(action % self.choices)
        return self._padded(obs), *rest

    def _padded(self, obs: np.ndarray) -> np.ndarray:
        return np.pad(obs, (0, 6 - len(obs)))
