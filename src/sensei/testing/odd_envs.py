"""One small world behind every kind of observation and action that an environment may have."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sensei.envs.pictures import is_picture, picture_shape

CELLS = 4
"""Cells on a side of the world."""


def _bytes(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


KINDS: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "tall": (_bytes(210, 160, 3), spaces.Discrete(4, start=1)),
    "grey": (_bytes(84, 84), spaces.MultiDiscrete([3, 2])),
    "channels_first": (_bytes(3, 48, 64), spaces.MultiBinary(3)),
    "stack": (_bytes(4, 40, 40, 3), spaces.Box(-3.0, 5.0, (2, 2), np.float32)),
    "real_image": (spaces.Box(-1.0, 1.0, (32, 32, 1), np.float32), spaces.Discrete(4)),
    "two_cameras": (
        spaces.Dict({"left": _bytes(64, 48, 3), "right": _bytes(48, 48)}),
        spaces.Box(0, 10, (2,), np.int8),
    ),
    "nested": (
        spaces.Dict(
            {
                "camera": _bytes(48, 64, 3),
                "arm": spaces.Dict(
                    {"angles": spaces.Box(-np.inf, np.inf, (3,)), "grip": spaces.Discrete(2)}
                ),
            }
        ),
        spaces.Dict(
            {
                "move": spaces.Box(-1.0, 1.0, (2,), np.float32),
                "tool": spaces.Dict({"which": spaces.Discrete(3), "on": spaces.MultiBinary(2)}),
            }
        ),
    ),
    "tuple": (
        spaces.Tuple(
            [spaces.Box(-1.0, 1.0, (2, 3)), spaces.MultiDiscrete([4, 4]), spaces.MultiBinary(2)]
        ),
        spaces.Tuple([spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float64)]),
    ),
    "rank_three": (
        spaces.Box(-np.inf, np.inf, (2, 3, 2), np.float64),
        spaces.Box(-1.0, 1.0, (), np.float32),
    ),
    "render_only": (spaces.Discrete(CELLS**2), spaces.Discrete(4)),
}
"""Name → what is observed and how one acts."""


class OddWorld(gymnasium.Env[Any, Any]):
    """A point among 4×4 cells, observed and moved as ``kind`` says; reward 1 in the last cell."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, kind: str, length: int = 30) -> None:
        """Choose the spaces by name; an episode is cut off after ``length`` steps."""
        self.observation_space, self.action_space = KINDS[kind]
        self.render_mode, self.length = "rgb_array", length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Put the point somewhere."""
        super().reset(seed=seed)
        self._steps = 0
        self._at = self.np_random.integers(CELLS, size=2)
        return _show(self.observation_space, self._at), self._info(0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move in a direction that all numbers of the action decide on.

        One that is not in its space is an error.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"{action} is not in {self.action_space}")
        numbers = np.ravel(np.asarray(spaces.flatten(self.action_space, action)))
        side, way = divmod(int(100.0 * np.abs(numbers).sum() + numbers.argmax()) % 4, 2)
        before = self._at.copy()
        self._at[side] = np.clip(self._at[side] + 2 * way - 1, 0, CELLS - 1)
        self._steps += 1
        moved = int((self._at != before).any())
        reward = float(self.oracle_score() == 2 * (CELLS - 1))
        shown = _show(self.observation_space, self._at)
        return shown, reward, False, self._steps >= self.length, self._info(moved)

    def oracle_score(self) -> float:
        """The nearer to the last cell, the more interesting."""
        return float(self._at.sum())

    def render(self) -> Any:
        """Draw the world as an RGB picture of 48×32 pixels."""
        return _show(_bytes(48, 32, 3), self._at)

    def _info(self, moved: int) -> dict[str, Any]:
        return {"events": {"moved": moved}, "text": f"at {self._at.tolist()}"}


def odd_vector(kind: str, num_envs: int) -> gymnasium.vector.SyncVectorEnv:
    """Make a vector environment of ``num_envs`` such worlds."""
    return gymnasium.vector.SyncVectorEnv([lambda: OddWorld(kind)] * num_envs)


def _show(space: spaces.Space[Any], at: np.ndarray) -> Any:
    """Tell a place in the words of a space."""
    if isinstance(space, spaces.Dict):
        return {key: _show(sub, at) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_show(sub, at) for sub in space.spaces)
    if isinstance(space, spaces.Discrete):
        return space.start + int(at @ [CELLS, 1]) % space.n
    if isinstance(space, spaces.MultiDiscrete):
        return (at % space.nvec).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return (at > 1).astype(space.dtype)
    assert isinstance(space, spaces.Box)
    if is_picture(space):
        return _draw(space, at)
    return np.resize(at / CELLS, space.shape).astype(space.dtype)


def _draw(space: spaces.Box, at: np.ndarray) -> np.ndarray:
    shape = picture_shape(space.shape)
    assert shape is not None
    sides = (shape.height, shape.width)
    picture = np.full((shape.frames, *sides, shape.channels), space.low.min(), space.dtype)
    rows, columns = (
        slice(i * side // CELLS, (i + 1) * side // CELLS) for i, side in zip(at, sides, strict=True)
    )
    picture[:, rows, columns] = space.high.max()
    return (picture.transpose(0, 3, 1, 2) if shape.channels_first else picture).reshape(space.shape)
