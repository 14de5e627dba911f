"""Pokémon Red with the user's own cartridge: the environment, its events and its shaped reward.

Follows the published experiments (SENSEI, arXiv 2503.01584, appendix on Pokémon), without three
defects of their code, each marked "Fixed" below.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sensei.envs import pokemon_facts as facts_of
from sensei.envs.gameboy import Facts, GameBoyEnv, load_rom
from sensei.envs.pokemon_start import play_to_start

SCALE = 4.0
_LEVEL_BEND = 30


def level_term(levels: int) -> float:
    """Return the sum of levels, a quarter as steep from 30 on.

    Fixed: the published term is ``levels / 4`` there, a drop of 4 × 21.5 = 86 on reaching 30.
    """
    over = max(0, levels - _LEVEL_BEND)
    return min(levels, _LEVEL_BEND) + over / 4


@dataclasses.dataclass
class Tally:
    """What an episode has achieved; every value only grows, but for the levels."""

    start_flags: int
    flags: int = 0
    opponent: int = 0
    blackouts: int = 0
    healed: float = 0.0
    places: set[tuple[int, int, int]] = dataclasses.field(default_factory=set)
    maps: set[int] = dataclasses.field(default_factory=set)
    segment: int = -1
    """The furthest segment of the route so far."""

    def take(self, before: Facts, now: Facts) -> None:
        """Add a moment; ``before`` is the moment one step earlier."""
        self.flags = max(self.flags, now["flags"] - self.start_flags)
        self.opponent = max(self.opponent, now["opponent"])
        if now["battle"] == 0:
            self.places.add((now["x"], now["y"], now["map"]))
        self.maps.add(now["map"])
        self.segment = max(self.segment, segment_of(now["map"]))
        # Fixed: the published code never stores the last HP and party size, so that it sees
        # neither healing nor blackouts.
        if now["party"] == before["party"] and now["hp"] > before["hp"]:
            if before["hp"] == 0:
                self.blackouts += 1
            else:
                self.healed += _health(now) - min(_health(before), _health(now))

    def terms(self, now: Facts) -> dict[str, float]:
        """Return the parts of the shaped sum, already weighted."""
        return {
            "flags": float(self.flags),
            "levels": level_term(now["levels"]),
            "opponents": 0.2 * self.opponent,
            "blackouts": -0.05 * self.blackouts,
            "badges": 100.0 * now["badges"],
            "healing": self.healed,
            "places": 0.1 * len(self.places),
        }


def segment_of(map_number: int) -> int:
    """Return how far along the route to the first gym a map is, −1 off the route."""
    return facts_of.ROUTE.index(map_number) if map_number in facts_of.ROUTE else -1


class PokemonRed(GameBoyEnv):
    """Pixels and six buttons, held 8 of 96 frames; reward 4 × the change of the shaped sum.

    Never terminal. ``info["rewards"]`` has the parts of the reward, which add up to it. Episodes
    start after Oak's parcel, with the starter and Poké Balls, unless ``state`` is given.
    """

    default_frames = 96
    default_steps = 1000
    rom_variable = "SENSEI_POKEMON_ROM"

    def cartridge(self, rom: str | None) -> bytes:
        """Return the user's cartridge, if it is the one whose addresses are known."""
        return load_rom(rom, self.rom_variable, facts_of.SHA1, "Pokémon Red (English)")

    def boot(self) -> bytes:
        """Play from power-on to the start by script."""
        play_to_start(self.console)
        return self.console.save()

    def begin(self) -> None:
        """Forget the last episode."""
        start = self.read()
        self.tally = Tally(start["flags"])
        self.tally.take(start, start)
        self._terms = self.tally.terms(start)
        self._changes = dict.fromkeys(self._terms, 0.0)

    def read(self) -> Facts:
        """Read the facts of this moment."""
        return facts_of.read_facts(self.console)

    def count(self, before: Facts, now: Facts) -> Facts:
        """Count the events of a step.

        Fixed: each is what happened in this step; the published log adds up running totals.
        """
        maps, segment = len(self.tally.maps), self.tally.segment
        blackouts = self.tally.blackouts
        self.tally.take(before, now)
        return {
            "map_entered": len(self.tally.maps) - maps,
            "route_segment": self.tally.segment - segment,
            "badge_won": _rise(before, now, "badges"),
            "party_grown": _rise(before, now, "party"),
            "level_gained": _rise(before, now, "levels"),
            "event_flag_set": _rise(before, now, "flags"),
            "money_gained": int(_rise(before, now, "money") > 0),
            "battle_started": int(now["battle"] in (1, 2) and before["battle"] == 0),
            "blackout": self.tally.blackouts - blackouts,
        }

    def reward(self, before: Facts, now: Facts) -> float:
        """Return 4 × the change of the shaped sum."""
        terms = self.tally.terms(now)
        self._changes = {name: SCALE * (terms[name] - self._terms[name]) for name in terms}
        self._terms = terms
        return sum(self._changes.values())

    def oracle_score(self) -> float:
        """Return the furthest segment of the route reached in this episode, 10 with the badge."""
        return 10.0 if self.facts["badges"] else float(self.tally.segment)

    def text(self) -> str:
        """Say where the player is, and what the party is like."""
        facts = self.facts
        place = facts_of.MAPS.get(facts["map"], f"map {facts['map']}")
        return (
            f"Place: {place}\nParty: {facts['party']}, levels {facts['levels']} in sum,"
            f" HP {facts['hp']} of {facts['max_hp']}\nBadges: {facts['badges']}"
        )

    def _info(self, events: Facts) -> dict[str, Any]:
        return super()._info(events) | {"rewards": dict(self._changes)}


def _rise(before: Facts, now: Facts, name: str) -> int:
    return max(0, now[name] - before[name])


def _health(facts: Facts) -> float:
    return facts["hp"] / max(1, facts["max_hp"])
