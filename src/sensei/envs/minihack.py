"""The published MiniHack levels: KeyRoom and KeyChest in their sizes, as gymnasium environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from sensei.envs import minihack_facts as facts_of
from sensei.envs import minihack_levels as levels
from sensei.envs.minihack_env import NetHackEnv
from sensei.envs.minihack_game import ESCAPE, Game
from sensei.envs.minihack_rooms import multiroom
from sensei.envs.minihack_view import View

_MOVES = {"north": "k", "east": "l", "south": "j", "west": "h"}
_DIAGONAL_MOVES = {"northeast": "u", "southeast": "n", "southwest": "b", "northwest": "y"}
_DIRECTIONS = ("y", "k", "u", "h", ".", "l", "b", "j", "n")
"""Key of each of the nine cells around the hero, row by row."""
_OPEN, _APPLY, _YES = ord("o"), ord("a"), ord("y")
_TRIES = 50
"""Attempts at a lock or a stuck door before an action gives up."""


class MiniHackEnv(NetHackEnv[Game]):
    """One level. Subclasses give the level, the special action, the rule of success and the score.

    Reward 1 at success, which terminates; the time limit truncates.
    """

    description: str
    special: str
    default_steps: int

    def __init__(
        self,
        max_episode_steps: int | None = None,
        diagonals: bool = False,
        view: int | str = 5,
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """Start a game; ``diagonals`` adds the four diagonal moves to the actions.

        ``view`` is how many tiles around the hero are seen, or ``map`` (see ``View``). The stairs
        up, which mean nothing here, look like floor (published setting).
        """
        names = facts_of.glyphs()
        shown_as = {names.stairs_up: names.floor}
        seen = View(view, image_size, names.stone, shown_as)
        super().__init__(seen, max_episode_steps or self.default_steps, render_mode)
        self.game = Game(self.description)
        moves = _MOVES | (_DIAGONAL_MOVES if diagonals else {})
        self.action_names = (*moves, self.special)
        self._moves = tuple(ord(key) for key in moves.values())
        self.action_space = gymnasium.spaces.Discrete(len(self.action_names))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start a new game; the same seed gives the same game, byte for byte."""
        self.game.reset(*self._new_seeds(seed))
        self.solved, self.steps = False, 0
        self._look()
        return self._observe(), self._info(dict.fromkeys(self.events, 0))

    def step(
        self, action: int | np.integer
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move, or do the special action; see ``action_names``."""
        before = self.facts
        self.steps += 1
        if action < len(self._moves):
            self.game.send(self._moves[action])
        else:
            self._special()
        self._look()
        events = self._count(before) | {"reward": int(self.solved)}
        terminated = self.solved or self.game.over
        truncated = not terminated and self.steps >= self.max_episode_steps
        return self._observe(), float(self.solved), terminated, truncated, self._info(events)

    def oracle_score(self) -> float:
        """Return how interesting this moment is, 0 to 5; see the level's score function."""
        raise NotImplementedError

    def close(self) -> None:
        """End the game and delete its files."""
        self.game.close()

    def _special(self) -> None:
        raise NotImplementedError

    def _count(self, before: facts_of.Facts) -> dict[str, int]:
        now = self.facts
        return {
            "key_picked_up": int(now.key_held and not before.key_held),
            "door_opened": facts_of.doors_opened(before, self.game, self.names),
            "at_locked_door": int(now.door_near),
        }

    def _toward(self, wanted: tuple[int, ...]) -> int | None:
        """Return the key of the direction to the first of ``wanted`` around the hero."""
        near = facts_of.cells_near(self.game, self.names)
        for glyph, key in zip(near, _DIRECTIONS, strict=True):
            if glyph in wanted and key != ".":
                return ord(key)
        return None


class KeyChest(MiniHackEnv):
    """KeyChestCorridor-S4: find the key, find the chest, OPEN towards it. 800 steps.

    Doors open by walking into them. OPEN makes NetHack ask for a direction, and the next action
    answers: a move is the direction, another OPEN takes the question back. Opening towards the
    chest counts only with the key in the inventory.
    """

    description = levels.keychest(2)
    special = "open"
    default_steps = 800
    events = (
        "key_picked_up",
        "door_opened",
        "at_locked_door",
        "at_chest_without_key",
        "at_chest_with_key",
        "chest_opened",
        "reward",
    )

    def oracle_score(self) -> float:
        """Return ``keychest_score`` of this moment."""
        return facts_of.keychest_score(self.facts, self.solved)

    def _special(self) -> None:
        if self.game.asking:
            self.game.send(ESCAPE)
        else:
            self.game.press(_OPEN)

    def _look(self) -> None:
        super()._look()
        # NetHack's answer to opening a container from beside it (lock.c).
        self.solved = "lootable" in self.game.message and self.facts.key_held

    def _count(self, before: facts_of.Facts) -> dict[str, int]:
        now = self.facts
        return super()._count(before) | {
            "at_chest_without_key": int(now.chest_near and not now.key_held),
            "at_chest_with_key": int(now.chest_near and now.key_held),
            "chest_opened": int(self.solved),
        }


class KeyChestS3(KeyChest):
    """KeyChestCorridor-S3: the same with rooms of one cell; the published code's 400 steps."""

    description = levels.keychest(1)
    default_steps = 400


class MultiRoomChestN2(KeyChest):
    """MultiRoomChest-N2: key in the first of two rooms, chest in the second. 100 steps."""

    description = multiroom(2, 4)
    default_steps = 100


class MultiRoomChestN4(KeyChest):
    """MultiRoomChest-N4: four rooms in a chain, chest in the last, key before it. 400 steps."""

    description = multiroom(4, 5)
    default_steps = 400


class KeyRoom(MiniHackEnv):
    """KeyRoom-S15: take the key, unlock the inner room, walk onto the stairs. 600 steps.

    APPLY beside the closed door, with the key, unlocks and opens it; otherwise nothing happens and
    no time passes.
    """

    description = levels.keyroom(15, 15, 5)
    special = "apply"
    default_steps = 600
    events = ("key_picked_up", "door_opened", "at_locked_door", "at_exit", "reward")

    def oracle_score(self) -> float:
        """Return ``keyroom_score`` of this moment."""
        return facts_of.keyroom_score(self.facts, self.solved)

    def _special(self) -> None:
        direction = self._toward(self.names.closed_doors)
        if direction is None or not self.facts.key_held:
            self.game.send(ESCAPE)
            return
        letter = self.game.letter_of(self.names.key)
        for _ in range(_TRIES):
            self._unlock(letter, direction)
            self.game.send(_OPEN, direction)
            self._look()
            if self._toward(self.names.closed_doors) != direction:
                return

    def _unlock(self, letter: int, direction: int) -> None:
        self.game.press(_APPLY, letter, direction)
        # An unlocked door that is stuck is asked about as "Lock it?".
        answer = _YES if "Unlock" in self.game.message else ESCAPE
        self.game.send(answer)

    def _look(self) -> None:
        super()._look()
        self.solved = self.game.on_stairs_down

    def _count(self, before: facts_of.Facts) -> dict[str, int]:
        at_exit = self.facts.stairs_near or self.solved
        return super()._count(before) | {"at_exit": int(at_exit)}


class KeyRoomS5(KeyRoom):
    """KeyRoom-S5: the same in a 5×5 room with an inner one of 2×2; MiniHack's own 200 steps."""

    description = levels.keyroom(5, 5, 2)
    default_steps = 200


class KeyRoomS20(KeyRoom):
    """KeyRoom-S20: a room 20 wide and 15 high; 600 steps as for S15."""

    description = levels.keyroom(20, 15, 5)


PUBLISHED = {
    "MiniHack-KeyChestCorridor-S3-v0": KeyChestS3,
    "MiniHack-KeyChestCorridor-S4-v0": KeyChest,
    "MiniHack-MultiRoomChest-N2-v0": MultiRoomChestN2,
    "MiniHack-MultiRoomChest-N4-v0": MultiRoomChestN4,
    "MiniHack-KeyRoom-S20-v0": KeyRoomS20,
}
"""Levels of the published code that MiniHack does not bring, by their ids there."""
