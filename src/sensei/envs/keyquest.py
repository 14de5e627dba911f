"""KeyQuest: the package's own Game Boy game, free and small, played in a real emulator.

Four rooms of which the screen shows one; a key in one of two, a locked door, a chest behind it.
``roms/keyquest.c`` is its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from sensei.envs import roms
from sensei.envs.gameboy import Facts, GameBoyEnv
from sensei.types import SenseiError

READY = 0x4B
"""What the game writes once its world is made."""
WORLD_SHAPE = (16, 20)
"""Rows and columns of the world's cells; a room has 8×10."""
FLOOR, WALL, LOCKED, OPENED, KEY, CHEST, EMPTY_CHEST = range(7)
"""What a cell can be."""
FACING = 0xC006
"""Address of the hero's direction: 0 up, 1 right, 2 down, 3 left."""

_READY, _NEW_GAME, _SEED, _CELLS = 0xC000, 0xC001, 0xC002, 0xC100
_MOST_FRAMES = 600
_ROOMS = ("top left", "top right", "bottom left", "bottom right")


class KeyQuest(GameBoyEnv):
    """Find the key, open the door with it, open the chest with A: +1 and the end. 600 steps.

    Actions: up, right, down, left, A. The door opens by walking into it with the key; A opens the
    chest that the hero faces.
    """

    buttons: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "a")
    watched: ClassVar[Mapping[str, int]] = {
        "x": 0xC004,
        "y": 0xC005,
        "has_key": 0xC007,
        "door_open": 0xC008,
        "chest_open": 0xC009,
        "rooms_seen": 0xC00A,
    }
    default_frames = 5
    default_hold = 3
    default_steps = 600
    events = (
        "room_entered",
        "key_picked_up",
        "at_locked_door",
        "door_opened",
        "at_chest",
        "chest_opened",
        "reward",
    )

    def __init__(
        self,
        max_episode_steps: int | None = None,
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """Switch the game on."""
        super().__init__(
            max_episode_steps=max_episode_steps, image_size=image_size, render_mode=render_mode
        )

    def cartridge(self, rom: str | None) -> bytes:
        """Return the game that comes with the package."""
        return Path(roms.__file__).with_name("keyquest.gb").read_bytes()

    def boot(self) -> bytes:
        """Wait until the game runs."""
        self._wait()
        return self.console.save()

    def begin(self) -> None:
        """Ask the game for a new world with a seed of this episode."""
        seed = int(self.np_random.integers(1, 2**16))
        self.console.write(_READY, 0)
        self.console.write(_SEED, seed & 0xFF)
        self.console.write(_SEED + 1, seed >> 8)
        self.console.write(_NEW_GAME, 1)
        self._wait()

    def read(self) -> Facts:
        """Read the facts and ``cells``, the whole world (16, 20) uint8."""
        world = self.console.block(_CELLS, WORLD_SHAPE[0] * WORLD_SHAPE[1])
        self.cells = np.frombuffer(world, np.uint8).reshape(WORLD_SHAPE)
        first, *values = self.watched.values()
        state = self.console.block(first, values[-1] - first + 1)
        return {name: state[address - first] for name, address in self.watched.items()}

    def count(self, before: Facts, now: Facts) -> Facts:
        """Count the events of a step."""
        opened = now["chest_open"] - before["chest_open"]
        near = self._near()
        return {
            "room_entered": (now["rooms_seen"] & ~before["rooms_seen"]).bit_count(),
            "key_picked_up": now["has_key"] - before["has_key"],
            "at_locked_door": int(LOCKED in near),
            "door_opened": now["door_open"] - before["door_open"],
            "at_chest": int(CHEST in near or EMPTY_CHEST in near),
            "chest_opened": opened,
            "reward": opened,
        }

    def reward(self, before: Facts, now: Facts) -> float:
        """Return 1 when the chest opens."""
        return float(now["chest_open"] - before["chest_open"])

    def ended(self, now: Facts) -> bool:
        """Say whether the chest is open."""
        return bool(now["chest_open"])

    def oracle_score(self) -> float:
        """Grade this moment.

        5 chest opened · 4 in the chest's room · 3 key held, and the door open or in the hero's room
        · 2 key held · 1 the key or the locked door is on the screen · 0 nothing of it.
        """
        facts, shown = self.facts, self._shown()
        if facts["chest_open"]:
            return 5.0
        if CHEST in shown:
            return 4.0
        if facts["has_key"]:
            return 3.0 if LOCKED in shown or OPENED in shown else 2.0
        return 1.0 if KEY in shown or LOCKED in shown else 0.0

    def text(self) -> str:
        """Say where the hero is and what is carried."""
        room = _ROOMS[(self.facts["x"] >= 10) + 2 * (self.facts["y"] >= 8)]
        carried = "a key" if self.facts["has_key"] else "nothing"
        return f"Room: {room}\nInventory: {carried}"

    def _wait(self) -> None:
        for _ in range(_MOST_FRAMES):
            if self.console.byte(_READY) == READY:
                self.console.tick(1)
                return
            self.console.tick(1)
        raise SenseiError("KeyQuest did not start; reinstall the extra `gameboy`")

    def _near(self) -> set[int]:
        """What the four cells around the hero are."""
        cells, x, y = self.cells, self.facts["x"], self.facts["y"]
        return {int(cells[y + dy, x + dx]) for dx, dy in ((0, -1), (1, 0), (0, 1), (-1, 0))}

    def _shown(self) -> set[int]:
        """What the cells of the hero's room are."""
        left, top = self.facts["x"] // 10 * 10, self.facts["y"] // 8 * 8
        return set(self.cells[top : top + 8, left : left + 10].ravel().tolist())
