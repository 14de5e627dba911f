"""One environment as other Gymnasium libraries take it: what our agents see, and their rows."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sensei.envs import make_adapter
from sensei.envs.config import EnvConfig
from sensei.envs.contract import Row
from sensei.envs.pool import episode_seed
from sensei.types import EnvSpec, UsageError

Obs = dict[str, np.ndarray]


class CanonicalEnv(gymnasium.Env[Obs, Any]):
    """The ``index``-th environment of a pool, with the same episodes, by itself.

    Observations are the agent's image and vector, actions choices or numbers in [−1, 1], the reward
    is that of a task. ``info["row"]`` is the row (``row_fields``) without its image.
    """

    def __init__(self, env: EnvConfig, seed: int, index: int = 0, task: str = "task") -> None:
        """Make it; ``task`` is ``task`` or one of its extra rewards.

        Raises:
            UsageError: its actions are choices and numbers together.
        """
        self._adapter = make_adapter(env, seed)
        self.spec_of_rows: EnvSpec = self._adapter.spec
        self.task, self.seed, self.index = task, seed, index
        self.episode = -1
        """Number of the running episode; the next ``reset`` begins the one after it."""
        obs = self.spec_of_rows.obs
        seen: dict[str, spaces.Space[Any]] = {}
        if obs.image is not None:
            seen["image"] = spaces.Box(0, 255, obs.image, np.uint8)
        if obs.vector:
            seen["vector"] = spaces.Box(-np.inf, np.inf, (len(obs.vector),), np.float32)
        self.observation_space = spaces.Dict(seen)
        self.action_space = _action_space(self.spec_of_rows, env.name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin the next episode; its seed is the pool's, whatever ``seed`` says."""
        super().reset(seed=seed, options=options)
        self.episode += 1
        row = self._adapter.reset(episode_seed(self.seed, self.index, self.episode))
        return self._seen(row), {"row": _numbers(row)}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Act."""
        row = self._adapter.step(self._vector(action))
        terminated = bool(row["is_terminal"])
        truncated = bool(row["is_last"]) and not terminated
        return self._seen(row), self._reward(row), terminated, truncated, {"row": _numbers(row)}

    def close(self) -> None:
        """Close the environment."""
        self._adapter.close()

    def _seen(self, row: Row) -> Obs:
        return {name: row[name] for name in self.observation_space.spaces}  # type: ignore[attr-defined]

    def _reward(self, row: Row) -> float:
        if self.task == "task":
            return float(row["reward"])
        return float(row["rewards"][self.spec_of_rows.rewards.index(self.task)])

    def _vector(self, action: Any) -> np.ndarray:
        """Turn choices into one-hot blocks; numbers stay as they are."""
        if self.spec_of_rows.action.continuous:
            return np.asarray(action, np.float32)
        sizes = self.spec_of_rows.action.discrete
        blocks = [np.eye(n)[i] for n, i in zip(sizes, np.ravel(action), strict=True)]
        return np.concatenate(blocks).astype(np.float32)


def _action_space(spec: EnvSpec, name: str) -> spaces.Space[Any]:
    choices, numbers = spec.action.discrete, spec.action.continuous
    if choices and numbers:
        raise UsageError(
            f"--method ppo on {name}: its actions are {len(choices)} choices and {numbers} numbers "
            "together, which this PPO has no policy for: give another --method"
        )
    if numbers:
        return spaces.Box(-1.0, 1.0, (numbers,), np.float32)
    return spaces.Discrete(choices[0]) if len(choices) == 1 else spaces.MultiDiscrete(list(choices))


def _numbers(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "image"}
