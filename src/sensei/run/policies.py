"""Who chooses the actions: chance, or the agent."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from sensei.core.agent import Agent, Carry, act
from sensei.types import ActionSpec

Rows = dict[str, np.ndarray]
POLICY_FIELDS = ("image", "vector", "prev_action", "is_first")


class Policy(Protocol):
    """Chooses one action vector per environment from its latest row."""

    def __call__(self, rows: Rows) -> Float32[np.ndarray, "n a"]:
        """Look at the rows and act."""
        ...


class RandomPolicy:
    """Uniform actions, each held for a geometric time of mean ``repeat`` steps."""

    def __init__(
        self, spec: ActionSpec, count: int, repeat: float, rng: np.random.Generator
    ) -> None:
        self.spec, self.repeat, self.rng = spec, repeat, rng
        self.held = np.zeros((count, spec.size), np.float32)

    def __call__(self, rows: Rows) -> Float32[np.ndarray, "n a"]:
        """Keep an action, or draw another; an episode's first action is always drawn."""
        drawn = self._draw(len(rows["is_first"]))
        again = self.rng.random(len(drawn)) < 1.0 / self.repeat
        self.held = np.where((again | rows["is_first"])[:, None], drawn, self.held)
        return self.held

    def _draw(self, count: int) -> Float32[np.ndarray, "n a"]:
        blocks = [
            np.eye(width, dtype=np.float32)[self.rng.integers(width, size=count)]
            for width in self.spec.discrete
        ]
        rest = self.rng.uniform(-1, 1, (count, self.spec.continuous)).astype(np.float32)
        return np.concatenate([*blocks, rest], axis=1)


class AgentPolicy:
    """The agent's actor on its own filtered state. Whoever trains sets ``agent``."""

    def __init__(self, agent: Agent, carry: Carry, greedy: bool = False) -> None:
        self.agent, self.carry, self.greedy = agent, carry, greedy

    def __call__(self, rows: Rows) -> Float32[np.ndarray, "n a"]:
        """Filter the latest rows and sample (or take the mode of) the policy."""
        seen: dict[str, Any] = {name: rows[name] for name in POLICY_FIELDS if name in rows}
        self.carry, action = act(self.agent, self.carry, seen, self.greedy)
        return np.asarray(action)
