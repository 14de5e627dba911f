"""The micro-environments, whose answer is known, seen through pictures instead of numbers."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

from sensei.testing import envs

SIDE, SQUARE = 16, 3


class Drawn(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A micro-environment whose observation is one-hot: number i is a white square in column i.

    The square's height is drawn anew at every step and means nothing, so one number has many
    pictures; columns are as wide as the square, so its edges meet those of patches anyhow. Of three
    actions the last may repeat the first, so that one compiled agent does for all environments.
    """

    def __init__(self, inner: str, **options: int) -> None:
        super().__init__(getattr(envs, inner)(**options))
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.choices, self.action_space = self.env.action_space.n, gymnasium.spaces.Discrete(3)

    def reset(self, **options: Any) -> tuple[UInt8[np.ndarray, "16 16 3"], dict[str, Any]]:
        """Start an episode."""
        shown, info = self.env.reset(**options)
        return self._draw(shown), info

    def step(self, action: int) -> tuple[UInt8[np.ndarray, "16 16 3"], float, bool, bool, dict]:
        """Act and look."""
        shown, *rest = self.env.step(action % self.choices)
        return self._draw(shown), *rest

    def _draw(self, shown: np.ndarray) -> UInt8[np.ndarray, "16 16 3"]:
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        left = SQUARE * int(shown.argmax())
        top = int(self.env.unwrapped.np_random.integers(SIDE - SQUARE + 1))
        picture[top : top + SQUARE, left : left + SQUARE] = 255
        return picture
