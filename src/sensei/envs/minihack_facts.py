"""What is true on a NetHack screen: key held, doors, chest, stairs; from it events and a score.

Everything is read from glyphs, the numbers of map symbols and objects. They are looked up by name
in the running NetHack where it has names for them.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sensei.envs.minihack_game import nethack


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
    )


@dataclasses.dataclass(frozen=True)
class Facts:
    """One moment of a game. "Visible" is in the 5×5 crop, "near" in the 8 cells around the hero."""

    key_held: bool
    key_visible: bool
    door_near: bool
    """A closed door is near."""
    door_visible: bool
    open_door_visible: bool
    chest_near: bool
    chest_visible: bool
    stairs_near: bool
    stairs_visible: bool
    doors: frozenset[int]
    """Flat map positions of the closed doors that have been seen."""


def read_facts(
    crop: np.ndarray, map_glyphs: np.ndarray, inventory: np.ndarray, names: Glyphs
) -> Facts:
    """Read the facts from the crop (5, 5), the map (21, 79) and the inventory's glyphs (55,)."""
    seen = crop.ravel().tolist()
    near = crop[1:4, 1:4].ravel().tolist()
    near_door, far_door = names.closed_doors
    flat = map_glyphs.ravel()
    closed = np.flatnonzero((flat == near_door) | (flat == far_door))
    return Facts(
        key_held=bool((inventory == names.key).any()),
        key_visible=names.key in seen,
        door_near=near_door in near or far_door in near,
        door_visible=near_door in seen or far_door in seen,
        open_door_visible=any(glyph in seen for glyph in names.open_doors),
        chest_near=names.chest in near,
        chest_visible=names.chest in seen,
        stairs_near=names.stairs_down in near,
        stairs_visible=names.stairs_down in seen,
        doors=frozenset(closed.tolist()),
    )


def doors_opened(before: Facts, map_glyphs: np.ndarray, names: Glyphs) -> int:
    """Count the doors that were closed in ``before`` and are open now."""
    flat = map_glyphs.ravel()
    return sum(int(flat[position]) in names.open_doors for position in before.doors)


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
