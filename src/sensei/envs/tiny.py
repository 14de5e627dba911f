"""A key, a door and a chest on 8×8 cells: KeyChest in small, in numpy alone, for trials."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

_SIZE = 8
_WALL_COLUMN = 4
_LEFT, _RIGHT, _ROWS = (1, 4), (5, 7), (1, 7)
_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
_FLOOR, _WALL, _CLOSED, _OPEN, _KEY, _CHEST, _HERO, _OPENED = range(8)
_COLOURS = np.array(
    [
        (30, 30, 30),
        (110, 110, 120),
        (150, 80, 20),
        (70, 50, 30),
        (250, 220, 40),
        (40, 120, 250),
        (240, 240, 240),
        (60, 250, 90),
    ],
    np.uint8,
)

Cell = tuple[int, int]
"""A column and a row."""


class TinyRooms(gymnasium.Env[dict[str, np.ndarray], Any]):
    """Two rooms: take the key in the left, OPEN beside the chest in the right: +1 and the end.

    Actions: north, east, south, west, OPEN. The door between the rooms opens by walking into it.
    Observation: ``image`` (16, 16, 3), the whole map at 2 pixels a cell, and the bit ``key`` (1,).
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)
    events = (
        "key_picked_up",
        "door_opened",
        "at_locked_door",
        "at_chest_without_key",
        "at_chest_with_key",
        "chest_opened",
        "reward",
    )
    action_names = ("north", "east", "south", "west", "open")

    def __init__(self, max_episode_steps: int = 64, render_mode: str | None = None) -> None:
        """Make the rooms; the time limit truncates."""
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(len(self.action_names))
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8),
                "key": gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Draw new places for door, key, chest and hero."""
        super().reset(seed=seed, options=options)
        self.door: Cell = (_WALL_COLUMN, self._draw(_ROWS))
        self.key: Cell = (self._draw(_LEFT), self._draw(_ROWS))
        self.chest: Cell = (self._draw(_RIGHT), self._draw(_ROWS))
        self.hero: Cell = self.key
        while self.hero == self.key:
            self.hero = (self._draw(_LEFT), self._draw(_ROWS))
        self.has_key = self.door_open = self.chest_open = False
        self._steps = 0
        return self._observe(), self._info(dict.fromkeys(self.events, 0))

    def step(
        self, action: int | np.integer
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move or open; see ``action_names``."""
        had_key, was_open = self.has_key, self.door_open
        self._steps += 1
        if action < len(_MOVES):
            self._move(*_MOVES[action])
        elif self.has_key and _beside(self.hero, self.chest):
            self.chest_open = True
        reward = float(self.chest_open)
        truncated = not self.chest_open and self._steps >= self.max_episode_steps
        at_chest = _beside(self.hero, self.chest)
        counts = {
            "key_picked_up": int(self.has_key and not had_key),
            "door_opened": int(self.door_open and not was_open),
            "at_locked_door": int(not self.door_open and _beside(self.hero, self.door)),
            "at_chest_without_key": int(at_chest and not self.has_key),
            "at_chest_with_key": int(at_chest and self.has_key),
            "chest_opened": int(self.chest_open),
            "reward": int(reward > 0),
        }
        return self._observe(), reward, self.chest_open, truncated, self._info(counts)

    def render_label(self) -> UInt8[np.ndarray, "80 80 3"]:
        """Draw the map at 10 pixels a cell."""
        return self._draw_map(10)

    def render(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> UInt8[np.ndarray, "80 80 3"]:
        """Draw the map for a person."""
        return self._draw_map(10)

    def oracle_score(self) -> float:
        """Grade this moment.

        5 chest opened · 4 beside the chest with the key · 3 key held, in the chest's room or the
        doorway · 2 key held · 1 beside the key or the chest · 0 nothing of it.
        """
        at_chest = _beside(self.hero, self.chest)
        if self.chest_open:
            return 5.0
        if self.has_key:
            return 4.0 if at_chest else 3.0 if self.hero[0] >= _WALL_COLUMN else 2.0
        return 1.0 if at_chest or _beside(self.hero, self.key) else 0.0

    def _draw(self, span: Cell) -> int:
        return int(self.np_random.integers(*span))

    def _move(self, dx: int, dy: int) -> None:
        goal = (self.hero[0] + dx, self.hero[1] + dy)
        if goal == self.door and not self.door_open:
            self.door_open = True
        elif self._walkable(goal):
            self.hero = goal
            self.has_key = self.has_key or goal == self.key

    def _walkable(self, cell: Cell) -> bool:
        x, y = cell
        inside = 0 < x < _SIZE - 1 and 0 < y < _SIZE - 1
        return inside and cell != self.chest and (x != _WALL_COLUMN or cell == self.door)

    def _draw_map(self, pixels: int) -> UInt8[np.ndarray, "side side 3"]:
        cells = np.full((_SIZE, _SIZE), _WALL, np.uint8)
        cells[1:-1, 1:-1] = _FLOOR
        cells[:, _WALL_COLUMN] = _WALL
        marks = [
            (self.door, _OPEN if self.door_open else _CLOSED),
            (self.chest, _OPENED if self.chest_open else _CHEST),
        ]
        marks += [] if self.has_key else [(self.key, _KEY)]
        for (x, y), code in [*marks, (self.hero, _HERO)]:
            cells[y, x] = code
        return _COLOURS[cells.repeat(pixels, 0).repeat(pixels, 1)]

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": self._draw_map(2), "key": np.array([self.has_key], np.float32)}

    def _info(self, events: dict[str, int]) -> dict[str, Any]:
        text = f"Inventory: {'a key' if self.has_key else 'nothing'}"
        return {"events": events, "text": text}


def _beside(cell: Cell, other: Cell) -> bool:
    """Tell whether two cells touch, corners included, and are not the same."""
    return max(abs(cell[0] - other[0]), abs(cell[1] - other[1])) == 1
