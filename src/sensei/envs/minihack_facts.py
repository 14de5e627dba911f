"""What is true on a NetHack screen: key held, doors, chest, stairs; from it events and a score.

Everything is read from glyphs, the numbers of map symbols and objects. They are looked up by name
in the running NetHack where it has names for them.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sensei.envs.minihack_game import nethack
from sensei.envs.minihack_screen import Screen
from sensei.envs.minihack_tiles import crop_around


@dataclasses.dataclass(frozen=True)
class Glyphs:
    """The glyph numbers of the things that matter."""

    key: int
    chest: int
    open_doors: tuple[int, int]
    closed_doors: tuple[int, int]
    stairs_down: int
    stairs_up: int
    floor: int
    stone: int
    tourist: int
    doorway: int
    """A doorway without door, or with a broken one."""
    objects: range
    """Everything that can lie on the floor."""


def _object_number(name: str) -> int:
    game = nethack()
    names = (game.OBJ_NAME(game.objclass(i)) for i in range(game.NUM_OBJECTS))
    return game.GLYPH_OBJ_OFF + next(i for i, found in enumerate(names) if found == name)


def _monster_number(name: str) -> int:
    game = nethack()
    names = (game.permonst(i).mname for i in range(game.NUMMONS))
    return game.GLYPH_MON_OFF + next(i for i, found in enumerate(names) if found == name)


@functools.cache
def glyphs() -> Glyphs:
    """Look the numbers up; the offsets of map symbols are NetHack 3.6's defsym order (rm.h)."""
    symbol = nethack().GLYPH_CMAP_OFF
    return Glyphs(
        key=_object_number("skeleton key"),
        chest=_object_number("chest"),
        open_doors=(symbol + 13, symbol + 14),
        closed_doors=(symbol + 15, symbol + 16),
        stairs_down=symbol + 24,
        stairs_up=symbol + 23,
        floor=symbol + 19,
        stone=symbol,
        tourist=_monster_number("tourist"),
        doorway=symbol + 12,
        objects=range(nethack().GLYPH_OBJ_OFF, symbol),
    )


@dataclasses.dataclass(frozen=True)
class Facts:
    """One moment of a game. "Visible" is in the view, "near" in the 8 cells around the hero."""

    key_held: bool
    key_visible: bool
    door_near: bool
    """A closed door is near."""
    door_visible: bool
    open_door_visible: bool
    chest_near: bool
    chest_visible: bool
    object_visible: bool
    stairs_near: bool
    stairs_visible: bool
    doors: frozenset[int]
    """Flat map positions of the closed doors that have been seen."""
    depth: int


def cells_near(screen: Screen, names: Glyphs) -> list[int]:
    """Return the glyphs of the nine cells around the hero, row by row."""
    return crop_around(screen.glyphs, *screen.position, 3, names.stone).ravel().tolist()


def read_facts(window: np.ndarray, screen: Screen, names: Glyphs) -> Facts:
    """Read the facts from the screen and the part of its map that is in view."""
    seen = window.ravel().tolist()
    near = cells_near(screen, names)
    near_door, far_door = names.closed_doors
    flat = screen.glyphs.ravel()
    closed = np.flatnonzero((flat == near_door) | (flat == far_door))
    return Facts(
        key_held=bool((screen.carried == names.key).any()),
        key_visible=names.key in seen,
        door_near=near_door in near or far_door in near,
        door_visible=near_door in seen or far_door in seen,
        open_door_visible=any(glyph in seen for glyph in names.open_doors),
        chest_near=names.chest in near,
        chest_visible=names.chest in seen,
        object_visible=any(glyph in names.objects for glyph in seen),
        stairs_near=names.stairs_down in near,
        stairs_visible=names.stairs_down in seen,
        doors=frozenset(closed.tolist()),
        depth=screen.depth,
    )


def doors_opened(before: Facts, screen: Screen, names: Glyphs) -> int:
    """Count the doors that were closed in ``before`` and are open or broken now."""
    if screen.depth != before.depth:
        return 0
    flat, open_now = screen.glyphs.ravel(), (*names.open_doors, names.doorway)
    return sum(int(flat[position]) in open_now for position in before.doors)


def keyroom_score(facts: Facts, solved: bool) -> float:
    """Grade a moment of KeyRoom.

    5 exit visible, beside it or on it · 4 open door visible · 3 key held, closed door visible ·
    2 key held · 1 key visible · 0 nothing of it.
    """
    if solved or facts.stairs_visible:
        return 5.0
    if facts.open_door_visible:
        return 4.0
    if facts.key_held:
        return 3.0 if facts.door_visible else 2.0
    return 1.0 if facts.key_visible else 0.0


def stairs_score(facts: Facts, solved: bool, carries_more: bool) -> float:
    """Grade a moment of any level whose task is to find the stairs down: KeyRoom's ladder, longer.

    5 stairs down visible or reached · 4 open door visible · 3 key held, closed door visible ·
    2 key held, or more carried than at the start · 1 key, another object or a closed door visible ·
    0 nothing of it.
    """
    score = keyroom_score(facts, solved)
    if score < 2.0 and carries_more:
        return 2.0
    return max(score, float(facts.object_visible or facts.door_visible))


def keychest_score(facts: Facts, solved: bool) -> float:
    """Grade a moment of KeyChest.

    5 chest opened · 4 beside the chest with the key · 3 key held, chest visible · 2 key held ·
    1 chest or key visible · 0 nothing of it.
    """
    if solved:
        return 5.0
    if facts.key_held:
        return 4.0 if facts.chest_near else 3.0 if facts.chest_visible else 2.0
    return 1.0 if facts.chest_visible or facts.key_visible else 0.0
