"""Where Pokémon Red keeps what matters, and the maps on the way to the first gym.

Addresses and numbers are facts about the game, as the disassembly pret/pokered names them
(ram/wram.asm, constants/map_constants.asm, constants/event_constants.asm).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sensei.envs.gameboy import Facts

SHA1 = "ea9bcae617fdf159b045185467ae58b2e4a48b9a"
"""Of the English Pokémon Red, the version that was published outside Japan."""

MAP, X, Y, MAP_HEIGHT, MAP_WIDTH = 0xD35E, 0xD362, 0xD361, 0xD368, 0xD369
"""wCurMap, wXCoord, wYCoord in steps; height and width of the map in blocks of 2×2 steps."""
PARTY = 0xD163
BATTLE = 0xD057
"""wIsInBattle: 0 none, 1 wild, 2 trainer, 255 lost."""
BAG = 0xD31D
"""wNumBagItems, then pairs of item and quantity."""
POKE_BALL = 4

_BADGES, _MONEY, _WILD_LEVEL, _OPPONENTS = 0xD356, 0xD347, 0xCFF3, 0xD89C
_FLAGS, _FLAG_BYTES = 0xD747, 0xA00 // 8
_MUSEUM_TICKET = 0x68
_PARTY_SIZE = 6
_MEMBERS, _MEMBER_BYTES = 0xD16B, 44
_ENEMIES = 0xD8A4
_HP, _LEVEL, _MAX_HP = 1, 33, 34
"""Offsets inside a party member; HP in two bytes, high byte first."""

ROUTE = (0x28, 0x00, 0x0C, 0x01, 0x0D, 0x32, 0x33, 0x2F, 0x02, 0x36)
"""The ten segments from Oak's laboratory to the first gym."""
MAPS = {
    0x00: "Pallet Town",
    0x01: "Viridian City",
    0x02: "Pewter City",
    0x0C: "Route 1",
    0x0D: "Route 2",
    0x21: "Route 22",
    0x25: "Red's house, ground floor",
    0x26: "Red's house, upper floor",
    0x27: "Blue's house",
    0x28: "Oak's laboratory",
    0x29: "Viridian Pokémon Center",
    0x2A: "Viridian Mart",
    0x2B: "Viridian school",
    0x2C: "a house in Viridian",
    0x2F: "Viridian Forest, north gate",
    0x32: "Viridian Forest, south gate",
    0x33: "Viridian Forest",
    0x34: "Pewter museum, ground floor",
    0x35: "Pewter museum, upper floor",
    0x36: "Pewter gym",
    0x37: "a house in Pewter",
    0x38: "Pewter Mart",
    0x39: "another house in Pewter",
    0x3A: "Pewter Pokémon Center",
    0xC1: "Route 22 gate",
}
"""The 25 maps that can be reached before the first badge."""


@runtime_checkable
class Memory(Protocol):
    """What facts are read from: a console, or a stand-in for one."""

    def byte(self, address: int) -> int:
        """Read one byte."""
        ...

    def block(self, start: int, count: int) -> bytes:
        """Read ``count`` bytes."""
        ...


def read_facts(memory: Memory) -> Facts:
    """Read place, party, battle, badges, event flags and money."""
    members = _members(memory, _MEMBERS, memory.byte(PARTY))
    return {
        "map": memory.byte(MAP),
        "x": memory.byte(X),
        "y": memory.byte(Y),
        "battle": memory.byte(BATTLE),
        "party": len(members),
        "levels": sum(member[_LEVEL] for member in members),
        "hp": sum(_word(member, _HP) for member in members),
        "max_hp": sum(_word(member, _MAX_HP) for member in members),
        "opponent": _opponent(memory),
        "badges": memory.byte(_BADGES).bit_count(),
        "flags": _flags(memory),
        "money": _decimal(memory.block(_MONEY, 3)),
    }


def has_flag(memory: Memory, flag: int) -> bool:
    """Say whether an event flag is set."""
    return bool(memory.byte(_FLAGS + flag // 8) >> flag % 8 & 1)


def count_item(memory: Memory, item: int) -> int:
    """Count an item in the bag."""
    count = min(memory.byte(BAG), 20)
    pairs = memory.block(BAG + 1, 2 * count)
    return sum(n for kind, n in zip(pairs[::2], pairs[1::2], strict=True) if kind == item)


def _members(memory: Memory, start: int, count: int) -> list[bytes]:
    size = _MEMBER_BYTES
    everyone = memory.block(start, size * min(count, _PARTY_SIZE))
    return [everyone[at : at + size] for at in range(0, len(everyone), size)]


def _opponent(memory: Memory) -> int:
    """Return the highest level among the opponents of this battle, 0 outside of battles."""
    battle = memory.byte(BATTLE)
    if battle == 1:
        return memory.byte(_WILD_LEVEL)
    if battle != 2:
        return 0
    enemies = _members(memory, _ENEMIES, memory.byte(_OPPONENTS))
    return max((enemy[_LEVEL] for enemy in enemies), default=0)


def _flags(memory: Memory) -> int:
    """Count the event flags, without the museum's ticket, which can be bought again and again."""
    every = int.from_bytes(memory.block(_FLAGS, _FLAG_BYTES), "little")
    return every.bit_count() - (every >> _MUSEUM_TICKET & 1)


def _word(member: bytes, offset: int) -> int:
    return member[offset] * 256 + member[offset + 1]


def _decimal(digits: bytes) -> int:
    """Read a number of two decimal digits a byte."""
    return int(digits.hex()) if digits.hex().isdigit() else 0
