"""Pokémon Red without its cartridge: facts and rewards from written memory, the way to the start.

Our own game runs in the console while the test writes what Pokémon Red would have written; the
script plays against a stand-in with the same maps, doors, texts and battles.
"""

from __future__ import annotations

import hashlib
import itertools
import re

import pytest

pytest.importorskip("pyboy")

from sensei.envs import make_env, pokemon_facts, wrap_env
from sensei.envs.pokemon import PokemonRed, Tally, level_term, segment_of
from sensei.envs.pokemon_facts import ROUTE, has_flag
from sensei.envs.pokemon_start import BALLS, EXITS, MOVES, play_to_start
from sensei.testing import rom
from sensei.types import SenseiError, UsageError

MEMBER, ENEMY, FLAGS = 0xD16B, 0xD8A4, 0xD747


class Written(PokemonRed):
    """The environment on a cartridge that leaves Pokémon's memory alone."""

    def cartridge(self, rom_path: str | None) -> bytes:
        return rom.BUILT.read_bytes()

    def boot(self) -> bytes:
        self.console.tick(150)
        place(self, 0x28, 5, 5)
        party(self, (6, 20, 22))
        return self.console.save()


def place(env: PokemonRed, map_number: int, x: int, y: int) -> None:
    for address, value in ((pokemon_facts.MAP, map_number), (0xD362, x), (0xD361, y)):
        env.console.write(address, value)


def party(env: PokemonRed, *members: tuple[int, int, int]) -> None:
    """Write level, HP and full HP of each member."""
    env.console.write(pokemon_facts.PARTY, len(members))
    for i, (level, hp, full) in enumerate(members):
        for offset, value in ((33, level), (1, hp >> 8), (2, hp & 255), (34, 0), (35, full)):
            env.console.write(MEMBER + 44 * i + offset, value)


@pytest.fixture(scope="module")
def env():
    made = Written(frames=9)
    yield made
    made.close()


def test_facts_are_read_where_they_are(env: Written) -> None:
    env.reset(seed=0)
    party(env, (6, 300, 301 - 256), (4, 0, 18))
    for address, value in ((0xD347, 0x01), (0xD348, 0x23), (0xD349, 0x45), (0xD356, 0b101)):
        env.console.write(address, value)
    facts = env.read()
    assert (facts["party"], facts["levels"], facts["hp"]) == (2, 10, 300)
    assert (facts["money"], facts["badges"], facts["map"]) == (12345, 2, 0x28)


def test_each_event_is_counted_once(env: Written) -> None:
    _, info = env.reset(seed=0)
    assert set(info["events"].values()) == {0}
    place(env, 0x00, 5, 6)
    party(env, (7, 20, 22), (3, 10, 12))
    for address, value in ((0xD356, 1), (FLAGS + 3, 0b11), (0xD349, 0x10), (0xD057, 1)):
        env.console.write(address, value)
    env.console.write(0xCFF3, 5)
    *_, ended, cut, info = env.step(0)
    assert not (ended or cut)
    assert info["events"] == {
        "map_entered": 1,
        "route_segment": 1,
        "badge_won": 1,
        "party_grown": 1,
        "level_gained": 4,
        "event_flag_set": 2,
        "money_gained": 1,
        "battle_started": 1,
        "blackout": 0,
    }
    assert env.oracle_score() == 10.0
    assert set(env.step(0)[4]["events"].values()) == {0}


def test_reward_is_four_times_the_change_of_each_part(env: Written) -> None:
    env.reset(seed=0)
    party(env, (8, 20, 22))
    env.console.write(FLAGS, 0b111)
    _, reward, *_, info = env.step(0)
    assert info["rewards"]["levels"] == 4 * 2 and info["rewards"]["flags"] == 4 * 3
    assert reward == pytest.approx(sum(info["rewards"].values()))
    env.console.write(FLAGS, 0)
    assert env.step(0)[1] == 0.0  # the most flags count, so nothing is taken back
    place(env, 0x28, 6, 5)
    assert env.step(0)[1] == pytest.approx(0.4)
    place(env, 0x28, 5, 5)
    assert env.step(0)[1] == 0.0


def test_the_museum_ticket_earns_nothing(env: Written) -> None:
    env.reset(seed=0)
    env.console.write(0xD754, 1)
    assert env.step(0)[1] == 0.0


def test_trainers_levels_count_in_their_battle_only(env: Written) -> None:
    env.reset(seed=0)
    env.console.write(0xD89C, 2)
    env.console.write(ENEMY + 33, 9)
    env.console.write(ENEMY + 44 + 33, 11)
    assert env.step(0)[1] == 0.0
    env.console.write(0xD057, 2)
    assert env.step(0)[4]["rewards"]["opponents"] == pytest.approx(4 * 0.2 * 11)


def test_level_term_never_drops() -> None:
    terms = [level_term(levels) for levels in range(601)]
    assert all(b > a for a, b in itertools.pairwise(terms))
    assert (level_term(29), level_term(30), level_term(34)) == (29, 30, 31)


def test_healing_and_blackouts_are_seen(env: Written) -> None:
    env.reset(seed=0)
    party(env, (6, 11, 22))
    assert env.step(0)[4]["rewards"]["healing"] == 0.0
    party(env, (6, 22, 22))
    assert env.step(0)[4]["rewards"]["healing"] == pytest.approx(4 * 0.5)
    party(env, (6, 0, 22))
    env.step(0)
    party(env, (6, 22, 22))
    *_, info = env.step(0)
    assert info["events"]["blackout"] == 1
    assert info["rewards"]["healing"] == 0.0
    assert info["rewards"]["blackouts"] == pytest.approx(-4 * 0.05)


def test_a_new_member_is_no_healing(env: Written) -> None:
    env.reset(seed=0)
    party(env, (6, 20, 22), (6, 20, 22))
    assert env.step(0)[4]["rewards"]["healing"] == 0.0


def test_route_and_maps() -> None:
    assert len(ROUTE) == len(set(ROUTE)) == 10
    assert len(pokemon_facts.MAPS) == 25 and set(ROUTE) <= set(pokemon_facts.MAPS)
    assert [segment_of(number) for number in ROUTE] == list(range(10))
    assert segment_of(0x25) == -1
    assert Tally(0).segment == -1


def test_adapter_sees_rewards_events_and_text(env: Written) -> None:
    adapter = wrap_env(env)
    assert adapter.spec.obs.image == (64, 64, 3) and adapter.spec.action.discrete == (6,)
    assert "badges" in adapter.spec.rewards and "map_entered" in adapter.spec.events
    assert "Oak's laboratory" in adapter.label_frame().text


def test_the_cartridge_is_the_users_own(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSEI_POKEMON_ROM", raising=False)
    with pytest.raises(UsageError, match=r"your own cartridge image.*SENSEI_POKEMON_ROM"):
        make_env("pokemon")
    other = tmp_path / "other.gb"
    other.write_bytes(rom.BUILT.read_bytes())
    sha1 = hashlib.sha1(other.read_bytes()).hexdigest()
    with pytest.raises(UsageError, match=re.escape(sha1) + ".*ea9bcae6"):
        make_env("pokemon", rom=str(other))


class FakeRed:
    """The outside of Pokémon Red: maps without content, doors, texts, battles and the story."""

    SIZES = {0: (10, 9), 1: (20, 18), 12: (10, 18), 37: (4, 4), 38: (4, 4), 40: (5, 6), 42: (4, 4)}  # noqa: RUF012
    ARRIVALS = {  # noqa: RUF012
        (38, 37): (7, 1), (37, 0): (5, 6), (0, 40): (5, 11), (0, 12): (10, 35), (40, 0): (12, 12),
        (12, 1): (20, 35), (12, 0): (10, 0), (1, 42): (3, 7), (1, 12): (10, 0), (42, 1): (29, 20),
        (0, 39): (2, 7), (39, 0): (13, 6),
    }  # fmt: skip

    def __init__(self) -> None:
        self.speech, self.text, self.battle, self.bag = 60, 0, 0, 0
        self.place, self.cell = 38, (3, 6)
        self.flags: set[int] = set()
        self.party = self.presses = 0

    def byte(self, address: int) -> int:
        width, height = self.SIZES.get(self.place, (4, 4))
        known = {
            0xD35E: self.place, 0xD362: self.cell[0], 0xD361: self.cell[1], 0xD368: height,
            0xD369: width, 0xD163: self.party, 0xD057: self.battle > 0, 0xD31D: 1,
        }  # fmt: skip
        if FLAGS <= address < FLAGS + 320:
            return sum(1 << bit for bit in range(8) if (address - FLAGS) * 8 + bit in self.flags)
        return int(known[address])

    def block(self, start: int, count: int) -> bytes:
        assert (start, count) == (0xD31E, 2)
        return bytes([4, self.bag])

    def tick(self, frames: int) -> None:
        assert frames >= 16

    def hold(self, button: str, frames: int) -> None:
        self.presses += 1
        if self.speech:
            self.speech -= button == "a"
        elif self.battle:
            self.battle -= button == "a"
        elif self.text:
            self.text -= button in "ab"
            if not self.text and self.party and 0x22 not in self.flags:
                self.flags.add(0x22)
        elif button in MOVES:
            self.move(*MOVES[button])
            self.faced = button
        elif button == "a":
            self.talk()

    def wall(self, x: int, y: int) -> bool:
        """A few fences with gaps, and a person who stands in the way for a while."""
        if self.place in (0, 1, 12) and y % 6 == 3:
            return not (x in (8, 9) and not (x == 8 and self.presses < 900))
        things = {40: {(6, 3), (7, 3), (8, 3), (5, 2)}, 42: {(1, 5)}}
        return (x, y) in things.get(self.place, set())

    def move(self, dx: int, dy: int) -> None:
        goal = (self.cell[0] + dx, self.cell[1] + dy)
        if self.place == 0 and goal[1] < 1 and 0x21 not in self.flags:
            self.place, self.cell, self.text = 40, (5, 4), 30
            self.flags |= {0, 0x20, 0x21}
            return
        if self.place == 40 and self.party and goal[1] >= 6 and 0x23 not in self.flags:
            self.battle = 12
            self.flags.add(0x23)
            return
        exits = EXITS.get(self.place, {0: {(2, 8)}}) | ({39: {(13, 5)}} if self.place == 0 else {})
        for following, cells in exits.items():
            if goal in cells:
                self.cell = self.ARRIVALS[self.place, following]
                self.place = following
                if following == 42 and 0x39 not in self.flags:
                    self.cell, self.text = (2, 5), 9
                    self.flags.add(0x39)
                return
        width, height = (2 * n for n in self.SIZES.get(self.place, (4, 4)))
        if 0 <= goal[0] < width and 0 <= goal[1] < height and not self.wall(*goal):
            self.cell = goal
            if self.place == 12 and self.party and self.presses % 29 == 0:
                self.battle = 5

    def talk(self) -> None:
        at = (self.place, self.cell, self.faced)
        if at == (40, (7, 4), "up") and not self.party:
            self.party, self.text = 1, 6
        elif at == (40, (5, 3), "up") and 0x39 in self.flags:
            self.flags |= {0x25, 0x38}
            self.text = 12
        elif at == (42, (2, 5), "left") and 0x25 in self.flags:
            self.bag, self.text = self.bag + 1, 4


def test_the_script_plays_the_story_to_its_start() -> None:
    red = FakeRed()
    play_to_start(red)
    assert red.bag == BALLS and red.party == 1 and has_flag(red, 0x25)
    assert red.battle == 0 and red.text == 0


def test_a_script_that_gets_nowhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensei.envs.pokemon_start._MOST_PRESSES", 50)
    with pytest.raises(SenseiError, match=r"stopped at the title.*--env.options.state"):
        play_to_start(FakeRed())
