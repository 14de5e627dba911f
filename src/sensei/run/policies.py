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
        drawn = self.draw(len(rows["is_first"]))
        again = self.rng.random(len(drawn)) < 1.0 / self.repeat
        self.held = np.where((again | rows["is_first"])[:, None], drawn, self.held)
        return self.held

    def draw(self, count: int) -> Float32[np.ndarray, "n a"]:
        """Draw uniform actions."""
        blocks = [
            np.eye(width, dtype=np.float32)[self.rng.integers(width, size=count)]
            for width in self.spec.discrete
        ]
        rest = self.rng.uniform(-1, 1, (count, self.spec.continuous)).astype(np.float32)
        return np.concatenate([*blocks, rest], axis=1)


class Interludes:
    """Random actions between a policy's own, each held for a geometric time of mean ``repeat``.

    Temporally extended ε-greedy (Dabney et al. 2021): a policy that goes to and fro covers little
    of what it does not know, and held actions take it elsewhere. ``epsilon`` is the chance of each
    step of the policy that one begins.
    """

    def __init__(self, random: RandomPolicy, epsilon: float, repeat: float) -> None:
        self.random, self.epsilon, self.repeat = random, epsilon, repeat
        self.left = np.zeros(len(random.held), np.int64)
        """Steps for which each environment still holds ``random.held``."""

    def __call__(
        self, rows: Rows, chosen: Float32[np.ndarray, "n a"]
    ) -> Float32[np.ndarray, "n a"]:
        """Return the actions chosen by the policy, but where a random one is held."""
        if not self.epsilon:
            return chosen
        random, count = self.random, len(chosen)
        self.left = np.where(rows["is_first"], 0, np.maximum(self.left - 1, 0))
        begins = (self.left == 0) & (random.rng.random(count) < self.epsilon)
        lengths = random.rng.geometric(1.0 / self.repeat, count)
        self.left = np.where(begins, lengths, self.left)
        random.held = np.where(begins[:, None], random.draw(count), random.held)
        return np.where((self.left > 0)[:, None], random.held, chosen)


class AgentPolicy:
    """The agent's actor on its own filtered state. Whoever trains sets ``agent``."""

    def __init__(self, agent: Agent, carry: Carry, greedy: bool = False) -> None:
        self.agent, self.carry, self.greedy = agent, carry, greedy

    def __call__(self, rows: Rows) -> Float32[np.ndarray, "n a"]:
        """Filter the latest rows and sample (or take the mode of) the policy."""
        seen: dict[str, Any] = {name: rows[name] for name in POLICY_FIELDS if name in rows}
        self.carry, action = act(self.agent, self.carry, seen, self.greedy)
        return np.asarray(action)
