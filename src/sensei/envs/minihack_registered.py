"""Every registered level of MiniHack by its id: ``--env minihack:MiniHack-Room-5x5-v0``."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium
import numpy as np

from sensei.envs import minihack_facts as facts_of
from sensei.envs.minihack import PUBLISHED
from sensei.envs.minihack_env import NetHackEnv
from sensei.envs.minihack_stock import DEATH, SUCCESS, Recorder, Stock, registered_ids
from sensei.envs.minihack_view import View
from sensei.types import SenseiError, UsageError


def make_level(
    env_id: str,
    max_episode_steps: int | None = None,
    view: int | str = 5,
    image_size: int = 64,
    render_mode: str | None = None,
    **options: Any,
) -> NetHackEnv[Any]:
    """Make a level by its id: MiniHack's own, or one of the published code's.

    Further options go to the level: ``character``, ``pet``, ``des_file`` … of MiniHack's,
    ``diagonals`` of ours.

    Raises
    ------
    UsageError
        For an id or an option that there is not.
    """
    shown: Any = {"view": view, "image_size": image_size, "render_mode": render_mode}
    shown["max_episode_steps"] = max_episode_steps
    if env_id in PUBLISHED:
        try:
            return PUBLISHED[env_id](**shown, **options)
        except TypeError as error:
            raise UsageError(f"--env minihack:{env_id} refuses {options}: {error}") from error
    known = registered_ids()
    if env_id not in known:
        near = difflib.get_close_matches(env_id, [*known, *PUBLISHED], 3, 0.5)
        hint = f"near: {', '.join(near)}" if near else "an id is like MiniHack-Room-5x5-v0"
        raise UsageError(f"--env minihack:{env_id}: MiniHack has no such level; {hint}")
    stock = Stock(env_id, options)
    return (StairsLevel if stock.wants_stairs else RegisteredLevel)(stock, **shown)


class RegisteredLevel(NetHackEnv[Recorder]):
    """A level of MiniHack with its own actions, rewards and limit.

    Beside ``image`` and ``key``, the observation has ``health`` (1,), the share of hit points, and
    ``asking`` (1,), 1 while the game waits for the answer to a question. The reward is the level's,
    without MiniHack's penalty for steps that change nothing. Success and death terminate, the time
    limit truncates.

    Events, each step: ``item_picked_up`` (a letter of the inventory more), ``key_picked_up``,
    ``door_opened`` (or broken), ``at_closed_door``, ``stairs_seen`` (down, once a depth),
    ``new_depth`` (deeper than before in this episode), ``died``, ``reward`` (it was positive).
    """

    events = (
        "item_picked_up",
        "key_picked_up",
        "door_opened",
        "at_closed_door",
        "stairs_seen",
        "new_depth",
        "died",
        "reward",
    )

    def __init__(
        self,
        stock: Stock,
        max_episode_steps: int | None = None,
        view: int | str = 5,
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """Show a stock level; ``view`` is how many tiles around the hero are seen, or ``map``."""
        seen = View(view, image_size, facts_of.glyphs().stone, {})
        limit = max_episode_steps or stock.limit
        super().__init__(seen, limit, render_mode, ("key", "health", "asking"))
        self._stock, self.game = stock, stock.screen
        self.action_names = stock.action_names
        self.action_space = gymnasium.spaces.Discrete(len(self.action_names))
        self.ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start a new game; the same seed gives the same game, byte for byte."""
        self._stock.reset(*self._new_seeds(seed))
        self.solved, self.ended, self.steps = False, False, 0
        self._deepest, self._stairs_seen = self.game.depth, set[int]()
        self._items = self.game.items
        self._look()
        return self._observe(), self._info(dict.fromkeys(self.events, 0))

    def step(
        self, action: int | np.integer
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Do what the level's action is; see ``action_names``."""
        if self.ended:
            raise SenseiError("the episode is over: call reset() before the next step()")
        before, items = self.facts, self.game.items
        self.steps += 1
        reward, status = self._stock.step(int(action))
        self.solved = status == SUCCESS
        self._look()
        events = self._count(before, items) | {
            "died": int(status == DEATH),
            "reward": int(reward > 0),
        }
        terminated = status in (SUCCESS, DEATH)
        truncated = not terminated and self.steps >= self.max_episode_steps
        self.ended = terminated or truncated
        return self._observe(), reward, terminated, truncated, self._info(events)

    def close(self) -> None:
        """End the game and delete its files."""
        self._stock.close()

    def _observe(self) -> dict[str, np.ndarray]:
        more = {"health": self.game.health, "asking": self.game.asking}
        return super()._observe() | {n: np.array([v], np.float32) for n, v in more.items()}

    def _count(self, before: facts_of.Facts, items: int) -> dict[str, int]:
        now, deeper = self.facts, self.game.depth > self._deepest
        new_stairs = self._sees_stairs() and now.depth not in self._stairs_seen
        if new_stairs:
            self._stairs_seen.add(now.depth)
        self._deepest = max(self._deepest, self.game.depth)
        return {
            "item_picked_up": max(0, self.game.items - items),
            "key_picked_up": int(now.key_held and not before.key_held),
            "door_opened": facts_of.doors_opened(before, self.game, self.names),
            "at_closed_door": int(now.door_near),
            "stairs_seen": int(new_stairs),
            "new_depth": int(deeper),
        }

    def _sees_stairs(self) -> bool:
        return self.game.on_stairs_down or bool((self.game.glyphs == self.names.stairs_down).any())


class StairsLevel(RegisteredLevel):
    """A level whose task is to reach the stairs down, which a rule can grade."""

    def oracle_score(self) -> float:
        """Return ``stairs_score`` of this moment."""
        more = self.game.items > self._items
        return facts_of.stairs_score(self.facts, self.solved, more)
