"""Scripted players that solve the built-in levels, for tests and for demonstration episodes.

They are privileged: they read the whole map that the game has shown, where an agent sees 5×5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from sensei.envs.keyquest import CHEST, FACING, KEY, LOCKED, WALL, KeyQuest
from sensei.envs.minihack import KeyChest, KeyRoom, MiniHackEnv
from sensei.envs.minihack_facts import Glyphs, glyphs
from sensei.envs.minihack_game import nethack
from sensei.envs.tiny import TinyRooms

Cell = tuple[int, int]
"""A column and a row."""

_MOVES: tuple[Cell, ...] = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""North, east, south, west: the first four actions of every built-in level."""
_SPECIAL = 4
"""The action after the four moves: OPEN or APPLY (without diagonals)."""


def solve(env: gymnasium.Env[Any, Any], epsilon: float = 0.0, seed: int = 0) -> Iterator[int]:
    """Yield the next action for the environment as it is now, for ever.

    Step the environment with each action before asking for the next. With probability ``epsilon``
    the action is random. Works for KeyChest, KeyRoom, KeyQuest and TinyRooms.
    """
    rng = np.random.default_rng(seed)
    game = env.unwrapped
    choose = _player(game)
    while True:
        action = choose()
        yield int(rng.integers(_SPECIAL + 1)) if rng.random() < epsilon else action


def _player(game: Any) -> Callable[[], int]:
    if isinstance(game, TinyRooms):
        return _TinyPlayer(game)
    if isinstance(game, KeyQuest):
        return _KeyQuestPlayer(game)
    if isinstance(game, KeyChest):
        return _KeyChestPlayer(game)
    if isinstance(game, KeyRoom):
        return _KeyRoomPlayer(game)
    raise TypeError(f"no scripted player for {type(game).__name__}")


def _path_step(start: Cell, goals: set[Cell], walkable: set[Cell]) -> int | None:
    """Return the first action of a shortest walk to a goal other than the start, or None."""
    first: dict[Cell, int] = {start: -1}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for action, (dx, dy) in enumerate(_MOVES):
            following = (cell[0] + dx, cell[1] + dy)
            if following in first or following not in walkable:
                continue
            first[following] = action if cell == start else first[cell]
            if following in goals:
                return first[following]
            queue.append(following)
    return None


def _beside(cells: set[Cell]) -> set[Cell]:
    """Return the cells one move away from any of ``cells``."""
    return {(x + dx, y + dy) for x, y in cells for dx, dy in _MOVES}


def _around(cell: Cell) -> set[Cell]:
    """Return the nine cells around and including ``cell``."""
    x, y = cell
    return {(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}


class _TinyPlayer:
    """Key first, then the chest; the whole map is known."""

    def __init__(self, env: TinyRooms) -> None:
        self.env = env

    def __call__(self) -> int:
        env = self.env
        beside_chest = _around(env.chest) - {env.chest}
        if env.has_key and env.hero in beside_chest:
            return _SPECIAL
        walkable = {(x, y) for x in range(8) for y in range(8) if env._walkable((x, y))}
        step = _path_step(env.hero, beside_chest if env.has_key else {env.key}, walkable)
        assert step is not None
        return step


class _KeyQuestPlayer:
    """Key, then through the door, then face the chest and press A; the whole world is known."""

    def __init__(self, env: KeyQuest) -> None:
        self.env = env

    def __call__(self) -> int:
        cells, facts = self.env.cells, self.env.facts
        hero = (facts["x"], facts["y"])
        chest = _cells_of(cells, CHEST)
        ahead = _MOVES[self.env.console.byte(FACING)]
        if (hero[0] + ahead[0], hero[1] + ahead[1]) in chest:
            return _SPECIAL
        blocked = {WALL} if facts["has_key"] else {WALL, LOCKED}
        walkable = {cell for cell in _cells_of(cells) if cells[cell[1], cell[0]] not in blocked}
        # Walking into the chest turns the hero towards it.
        step = _path_step(hero, chest if facts["has_key"] else _cells_of(cells, KEY), walkable)
        assert step is not None
        return step


def _cells_of(cells: np.ndarray, *wanted: int) -> set[Cell]:
    """Return the places of ``wanted``, or all of them."""
    found = np.isin(cells, wanted) if wanted else np.ones(cells.shape, bool)
    return {(int(x), int(y)) for y, x in np.argwhere(found)}


class _NetHackPlayer:
    """Walk to what is wanted and known; else look behind doors and at the edges of the known."""

    def __init__(self, env: MiniHackEnv) -> None:
        self.env = env
        self.names: Glyphs = glyphs()
        self.visited: set[Cell] = set()
        self.known: dict[Cell, int] = {}
        self.walkable: set[Cell] = set()
        self.enterable = _walkable_glyphs(self.names)

    def __call__(self) -> int:
        if self.env.steps == 0:
            self.visited.clear()
        self.visited.add(self.env.game.position)
        rows, stone = self.env.game.glyphs.tolist(), self.names.stone
        self.known = {
            (x, y): glyph for y, row in enumerate(rows) for x, glyph in enumerate(row)
            if glyph != stone
        }  # fmt: skip
        self.walkable = {cell for cell, glyph in self.known.items() if glyph in self.enterable}
        return self.wanted()

    def wanted(self) -> int:
        """Return the next action on this level."""
        raise NotImplementedError

    def walk_to(self, goals: set[Cell]) -> int | None:
        return _path_step(self.env.game.position, goals, self.walkable)

    def where(self, *wanted: int) -> set[Cell]:
        return {cell for cell, glyph in self.known.items() if glyph in wanted}

    def direction_of(self, glyph: int) -> int | None:
        """Return the move that leads onto a glyph next to the hero, or None."""
        x, y = self.env.game.position
        here = (self.known.get((x + dx, y + dy)) for dx, dy in _MOVES)
        return next((action for action, there in enumerate(here) if there == glyph), None)

    def explore(self) -> int:
        """Go to the nearest unvisited door or edge of the known map; failing that, anywhere new."""
        fresh = self.walkable - self.visited
        doors = self.where(*self.names.closed_doors, *self.names.open_doors)
        reveals = {cell for cell in fresh if cell in doors or not _around(cell) <= set(self.known)}
        for goals in (reveals, fresh):
            step = self.walk_to(goals)
            if step is not None:
                return step
        self.visited.clear()
        return 0


class _KeyChestPlayer(_NetHackPlayer):
    """Key, then OPEN beside the chest."""

    def wanted(self) -> int:
        facts, names = self.env.facts, self.names
        if facts.key_held and (towards := self.direction_of(names.chest)) is not None:
            return towards if self.env.game.asking else _SPECIAL
        goals = _beside(self.where(names.chest)) if facts.key_held else self.where(names.key)
        step = self.walk_to(goals)
        return self.explore() if step is None else step


class _KeyRoomPlayer(_NetHackPlayer):
    """Key, then APPLY beside the door, then the stairs."""

    def __init__(self, env: MiniHackEnv) -> None:
        super().__init__(env)
        # Here closed doors are locked; they are opened by APPLY, not by walking.
        self.enterable -= set(self.names.closed_doors)

    def wanted(self) -> int:
        facts, names = self.env.facts, self.names
        step = self.walk_to(self.where(names.stairs_down))
        if step is None and not facts.key_held:
            step = self.walk_to(self.where(names.key))
        elif step is None and facts.door_near:
            return _SPECIAL
        elif step is None:
            step = self.walk_to(_beside(self.where(*names.closed_doors)))
        return self.explore() if step is None else step


def _walkable_glyphs(names: Glyphs) -> set[int]:
    """Doorways, doors, floors, corridors, stairs (rm.h's order) and every object on the floor."""
    game = nethack()
    symbols = {names.stone + offset for offset in (12, 13, 14, 15, 16, 19, 20, 21, 22, 23, 24)}
    return symbols | set(range(game.GLYPH_OBJ_OFF, game.GLYPH_CMAP_OFF))
