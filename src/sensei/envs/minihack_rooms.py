"""MultiRoomChest: rooms in a chain, a key in one of them and a chest in the last, as a level.

MiniGrid draws such rooms anew for every episode, and a level would have to be compiled for each.
Here one compiled level holds many layouts, of which NetHack's own dice choose one.
"""

from __future__ import annotations

import dataclasses
import itertools
import random

from sensei.envs.minihack_levels import MAZE, Cell, key_and_chest

LAYOUTS = 20
"""Layouts of one level, as many as NetHack's compiler takes cases of a switch."""
_SIDES = ((0, -1), (1, 0), (0, 1), (-1, 0))


@dataclasses.dataclass(frozen=True)
class Room:
    """A room with its walls: the left upper corner and the size."""

    x: int
    y: int
    width: int
    height: int

    def inside(self) -> set[Cell]:
        """Return the cells within the walls."""
        columns = range(self.x + 1, self.x + self.width - 1)
        return set(itertools.product(columns, range(self.y + 1, self.y + self.height - 1)))

    def cells(self) -> set[Cell]:
        """Return the cells of the room, walls and all."""
        columns = range(self.x, self.x + self.width)
        return set(itertools.product(columns, range(self.y, self.y + self.height)))

    def overlaps(self, other: Room) -> bool:
        """Whether they share more than walls."""
        return bool(self.inside() & other.cells() or self.cells() & other.inside())

    def moved(self, x: int, y: int) -> Room:
        """Return the same room elsewhere."""
        return dataclasses.replace(self, x=self.x + x, y=self.y + y)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Rooms in the order in which one walks through them, and the doors between them."""

    rooms: tuple[Room, ...]
    doors: tuple[Cell, ...]


def multiroom(rooms: int, largest: int) -> str:
    """MultiRoomChest: ``rooms`` rooms of 4 to ``largest`` cells a side, their walls included.

    The player starts in the first, the chest is in the last, the key in any but the last. Doors are
    closed, not locked.
    """
    cases = [f"CASE {i}:\n{_body(layout(rooms, largest, i))}BREAK" for i in range(LAYOUTS)]
    return f"{MAZE}SWITCH [{LAYOUTS}] {{\n" + "\n".join(cases) + "\n}\n"


def layout(rooms: int, largest: int, seed: int) -> Layout:
    """Draw a chain of rooms; the same seed gives the same chain. NetHack's map holds 4 of 5."""
    rng = random.Random(seed)
    while True:
        chain, doors = [Room(0, 0, *_size(rng, largest))], []
        while len(chain) < rooms and (found := _next_room(chain, largest, rng)):
            chain.append(found[0])
            doors.append(found[1])
        if len(chain) == rooms:
            return _in_corner(chain, doors)


def _size(rng: random.Random, largest: int) -> tuple[int, int]:
    return rng.randint(4, largest), rng.randint(4, largest)


def _next_room(chain: list[Room], largest: int, rng: random.Random) -> tuple[Room, Cell] | None:
    """Attach a room to a wall of the last one, through a door; None where there is no space."""
    last = chain[-1]
    for dx, dy in rng.sample(_SIDES, len(_SIDES)):
        x = rng.randint(last.x + 1, last.x + last.width - 2)
        y = rng.randint(last.y + 1, last.y + last.height - 2)
        # The door's place in the wall, then a new room with that door in its opposite wall.
        x = {-1: last.x, 0: x, 1: last.x + last.width - 1}[dx]
        y = {-1: last.y, 0: y, 1: last.y + last.height - 1}[dy]
        width, height = _size(rng, largest)
        left = {-1: x - width + 1, 0: x - rng.randint(1, width - 2), 1: x}[dx]
        top = {-1: y - height + 1, 0: y - rng.randint(1, height - 2), 1: y}[dy]
        room = Room(left, top, width, height)
        if not any(room.overlaps(other) for other in chain):
            return room, (x, y)
    return None


def _in_corner(chain: list[Room], doors: list[Cell]) -> Layout:
    """Move the chain into the corner of its drawing."""
    left, top = min(room.x for room in chain), min(room.y for room in chain)
    rooms = tuple(room.moved(-left, -top) for room in chain)
    return Layout(rooms, tuple((x - left, y - top) for x, y in doors))


def _extent(found: Layout) -> tuple[int, int]:
    width = max(room.x + room.width for room in found.rooms)
    return width, max(room.y + room.height for room in found.rooms)


def _drawn(found: Layout) -> str:
    width, height = _extent(found)
    rows = [[" "] * width for _ in range(height)]
    for room in found.rooms:
        for x, y in room.cells():
            rows[y][x] = "-" if y in (room.y, room.y + room.height - 1) else "|"
    for room in found.rooms:
        for x, y in room.inside():
            rows[y][x] = "."
    return "\n".join("".join(row) for row in rows)


def _body(found: Layout) -> str:
    width, height = _extent(found)
    first, last = found.rooms[0], found.rooms[-1]
    keys = sorted(set.union(*(room.inside() for room in found.rooms[:-1])))
    start = (
        f"({first.x + 1},{first.y + 1},{first.x + first.width - 2},{first.y + first.height - 2})"
    )
    doors = "\n".join(f"DOOR: closed, ({x},{y})" for x, y in found.doors)
    return f"""GEOMETRY: center,center
MAP
{_drawn(found)}
ENDMAP
REGION: (0,0,{width - 1},{height - 1}), lit, "ordinary"
{doors}
{key_and_chest(keys, sorted(last.inside()))}
BRANCH: {start}, (0,0,0,0)
"""
