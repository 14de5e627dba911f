"""Play Pokémon Red from power-on to where the published episodes start, by rules.

The player knows where the doors are and what the story asks for next, nothing of the walls: it
walks as if everything were free and remembers where it did not get on. So it needs no map data, and
people in the way, lost battles and being sent home only cost time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from sensei.envs import pokemon_facts as facts_of
from sensei.types import SenseiError

Cell = tuple[int, int]
"""Column and row of a step on a map."""

MOVES: dict[str, Cell] = {"up": (0, -1), "right": (1, 0), "down": (0, 1), "left": (-1, 0)}
BALLS = 5
"""Poké Balls to buy."""

_PALLET, _VIRIDIAN, _ROUTE_1, _DOWNSTAIRS, _UPSTAIRS, _LAB, _MART = 0, 1, 12, 37, 38, 40, 42
_ASKED, _STARTER, _RIVAL, _POKEDEX, _PARCEL = 0x21, 0x22, 0x23, 0x25, 0x39
"""Event flags: Oak asked to choose, starter taken, rival fought, Pokédex and parcel received."""
_MOST_PRESSES = 40_000
_HOLD, _FRAMES = 8, 24
_PATIENCE = 3
"""Presses without getting on before a step counts as blocked."""
_FORGET = 3_000
"""Presses after which a blocked step is tried again."""


def _north(width: int) -> set[Cell]:
    return {(x, -1) for x in range(width)}


def _south(width: int, height: int) -> set[Cell]:
    return {(x, height) for x in range(width)}


EXITS: dict[int, dict[int, set[Cell]]] = {
    _UPSTAIRS: {_DOWNSTAIRS: {(7, 1)}},
    _DOWNSTAIRS: {_PALLET: {(2, 8), (3, 8)}},
    _PALLET: {_LAB: {(12, 11)}, _ROUTE_1: _north(20)},
    _LAB: {_PALLET: {(4, 12), (5, 12)}},
    _ROUTE_1: {_VIRIDIAN: _north(20), _PALLET: _south(20, 36)},
    _VIRIDIAN: {_MART: {(29, 19)}, _ROUTE_1: _south(40, 36)},
    _MART: {_VIRIDIAN: {(3, 8), (4, 8)}},
}
"""Where one map leads to another: a door's cell, or the cells beyond the edge."""
_OTHER_HOUSES: dict[int, set[Cell]] = {
    _PALLET: {(5, 5), (13, 5)},
    _VIRIDIAN: {(23, 25), (21, 15), (21, 9), (32, 7)},
}
"""Doors not to fall into."""
_WAY_OUT: set[Cell] = {(2, 8), (3, 8), (4, 8)}
"""Below the mat of any other house."""


@runtime_checkable
class Machine(facts_of.Memory, Protocol):
    """What is played on."""

    def hold(self, button: str, frames: int) -> None:
        """Press a button for some frames."""
        ...

    def tick(self, frames: int) -> None:
        """Let frames pass."""
        ...


def play_to_start(machine: Machine) -> None:
    """Play until the Pokédex is received and Poké Balls are bought.

    Raises
    ------
    SenseiError
        When that is not reached in 40,000 presses.
    """
    player = _Player(machine)
    buttons = player.buttons()
    for _ in range(_MOST_PRESSES):
        button = next(buttons, None)
        if button is None:
            return
        machine.hold(button, _HOLD)
        machine.tick(_FRAMES)
        player.presses += 1
    raise SenseiError(
        f"Pokémon Red: the script did not reach the start (stopped at {player.goal});"
        " play there yourself and give the saved state as --env.options.state PATH"
    )


class _Player:
    """Chooses buttons by what memory says."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.presses = 0
        self.goal = "the title"
        self.blocked: dict[tuple[int, Cell, str], int] = {}

    def buttons(self) -> Iterator[str]:
        """Yield the next button until the start is reached."""
        yield from self.wake_up()
        for goal, done, act in self.story():
            self.goal = goal
            while not done():
                yield from ("a",) if self.machine.byte(facts_of.BATTLE) else act()
        yield from ["b"] * 20

    def story(self) -> list[tuple[str, Callable[[], bool], Callable[[], Iterator[str]]]]:
        """List what has to happen: a name, whether it has, and what to do for it."""
        machine = self.machine

        def flag(number: int) -> Callable[[], bool]:
            return lambda: facts_of.has_flag(machine, number)

        return [
            ("Oak's question", flag(_ASKED), lambda: self.travel(_ROUTE_1)),
            (
                "the starter",
                lambda: machine.byte(facts_of.PARTY) > 0,
                lambda: self.talk(_LAB, (7, 4), "up"),
            ),
            ("no nickname", flag(_STARTER), lambda: iter("b")),
            ("the rival", flag(_RIVAL), lambda: self.travel(_PALLET)),
            ("the parcel", flag(_PARCEL), lambda: self.travel(_MART)),
            ("the Pokédex", flag(_POKEDEX), lambda: self.talk(_LAB, (5, 3), "up")),
            (
                "Poké Balls",
                lambda: facts_of.count_item(machine, facts_of.POKE_BALL) >= BALLS,
                lambda: self.talk(_MART, (2, 5), "left"),
            ),
        ]

    def wake_up(self) -> Iterator[str]:
        """Press through title and speech until the player walks in the bedroom."""
        while True:
            for direction in ("down", "up"):
                yield from ["start" if self.presses < 40 else "a"] * 6
                before = self.here()
                yield direction
                if self.machine.byte(facts_of.MAP) == _UPSTAIRS and self.here() != before:
                    return

    def here(self) -> Cell:
        return self.machine.byte(facts_of.X), self.machine.byte(facts_of.Y)

    def travel(self, goal: int) -> Iterator[str]:
        """Take one step towards another map; on that map, walk nowhere and talk."""
        place = self.machine.byte(facts_of.MAP)
        following = _next_map(place, goal)
        if place == goal:
            yield "b"
        elif following is None:
            yield from self.step(_WAY_OUT)
        else:
            yield from self.step(EXITS[place][following])

    def talk(self, place: int, cell: Cell, direction: str) -> Iterator[str]:
        """Go to a cell, look in a direction and say yes to everything."""
        if self.machine.byte(facts_of.MAP) != place:
            yield from self.travel(place)
        elif self.here() != cell:
            yield from self.step({cell})
        else:
            yield direction
            yield from "aaaaaaa"

    def step(self, goals: set[Cell]) -> Iterator[str]:
        """Take one step of a shortest way; where it does not get on, remember that."""
        place, start = self.machine.byte(facts_of.MAP), self.here()
        direction = self.first_step(place, start, goals)
        if direction is None:
            self.blocked = {key: t for key, t in self.blocked.items() if key[0] != place}
            yield "b"
            return
        for _ in range(_PATIENCE):
            yield direction
            if self.machine.byte(facts_of.BATTLE) or self.machine.byte(facts_of.MAP) != place:
                return
            if self.here() != start:
                return
            yield "b"  # a text may be in the way
        self.blocked[place, start, direction] = self.presses + _FORGET

    def first_step(self, place: int, start: Cell, goals: set[Cell]) -> str | None:
        """Return the first direction of a shortest walk through what is not known to be blocked."""
        width = 2 * self.machine.byte(facts_of.MAP_WIDTH)
        height = 2 * self.machine.byte(facts_of.MAP_HEIGHT)
        closed = _OTHER_HOUSES.get(place, set()) | set().union(*EXITS.get(place, {}).values())
        first: dict[Cell, str] = {start: ""}
        queue = deque([start])
        while queue:
            cell = queue.popleft()
            for name, (dx, dy) in MOVES.items():
                following = (cell[0] + dx, cell[1] + dy)
                if following in first or self.is_blocked(place, cell, name):
                    continue
                first[following] = first[cell] or name
                if following in goals:
                    return first[following]
                inside = 0 <= following[0] < width and 0 <= following[1] < height
                if inside and following not in closed:
                    queue.append(following)
        return None

    def is_blocked(self, place: int, cell: Cell, direction: str) -> bool:
        return self.blocked.get((place, cell, direction), 0) > self.presses


def _next_map(place: int, goal: int) -> int | None:
    """Return the map to go to next on the way to ``goal``, None from an unknown house."""
    first: dict[int, int] = {place: place}
    queue = deque([place])
    while queue:
        at = queue.popleft()
        for following in EXITS.get(at, {}):
            if following not in first:
                first[following] = following if at == place else first[at]
                queue.append(following)
    return first.get(goal) if goal != place else place
