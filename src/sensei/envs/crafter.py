"""Crafter: gather, craft and survive in an open world, 22 achievements, from pictures.

The game is the package crafter 1.8.3 (Hafner 2021), unchanged but for two things that made it
inexact: which creature leaves depended on memory addresses, and drawing a picture at night changed
what happened next.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

from sensei.envs import crafter_facts
from sensei.types import SenseiError

LABEL_SIZE = 288
"""Side of the annotator's picture: 9 × 9 tiles, each texture of 16 pixels doubled."""
VIEW = (9, 7)
"""Columns and rows of the world that a picture shows; the inventory is below."""
_CREATURES = ("player", "cow", "zombie", "skeleton", "arrow", "plant")
_VITALS = ("health", "food", "drink", "energy")


class Crafter(gymnasium.Env[dict[str, np.ndarray], Any]):
    """The game. Observation: ``image`` (64, 64, 3) uint8, the world around and the inventory.

    Reward: 1 at a step that unlocks an achievement for the first time in the episode, and a tenth
    of each point of health won or lost. Death terminates, the time limit truncates. Each
    achievement is an event and, 1 each time, an extra reward. ``render_label`` is the same view at
    288×288.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(
        self,
        max_episode_steps: int = 10_000,
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """Make the game; every reset makes a new world.

        Raises
        ------
        SenseiError
            When the extra ``crafter`` is not installed.
        """
        size = (image_size, image_size)
        self.game = _game_class()(size=size, length=max_episode_steps, seed=0)
        constants = _crafter().constants
        self.achievements = tuple(constants.achievements)
        self.events = (*self.achievements, "unlocked", "died")
        self.action_names = tuple(constants.actions)
        self._things = ("", *constants.materials, *_CREATURES)
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(len(self.action_names))
        box = gymnasium.spaces.Box(0, 255, (*size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": box})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start in a new world; the same seed gives the world of ``crafter.Env(seed=seed)``."""
        super().reset(seed=seed, options=options)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        self.game._seed, self.game._episode = seed, 0
        picture = self.game.reset()
        self._look(self.game._sem_view())
        return {"image": picture}, self._info(self._counts(), died=False)

    def step(
        self, action: int | np.integer
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act; see ``action_names``."""
        before = self._counts()
        picture, reward, over, facts = self.game.step(int(action))
        died = facts["discount"] == 0.0
        self._look(facts["semantic"])
        return {"image": picture}, float(reward), died, over and not died, self._info(before, died)

    def render_label(self) -> UInt8[np.ndarray, "288 288 3"]:
        """Return the agent's view for an annotator, larger."""
        return self._draw(LABEL_SIZE)

    def render(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> UInt8[np.ndarray, "288 288 3"]:
        """Return the agent's view for a person."""
        return self._draw(LABEL_SIZE)

    def oracle_score(self) -> float:
        """Grade this moment, 0 to 7, by how far the shown inventory has come."""
        level = crafter_facts.level(self.game._player.inventory)
        near = not self.in_view.isdisjoint(crafter_facts.LEADS_ON[level])
        return level + crafter_facts.NEAR * near

    def _draw(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        # The noise of the night is drawn from the numbers that also move the creatures.
        random = self.game._world.random
        state = random.get_state()
        picture = self.game.render((size, size))
        random.set_state(state)
        return picture

    def _look(self, world: UInt8[np.ndarray, "width height"]) -> None:
        """Remember what the view shows of the world's codes."""
        (x, y), (columns, rows) = self.game._player.pos, VIEW
        left, top = max(0, x - columns // 2), max(0, y - rows // 2)
        shown = world[left : x + columns // 2 + 1, top : y + rows // 2 + 1]
        self.in_view = {self._things[code] for code in shown.ravel().tolist()} - {"player"}

    def _counts(self) -> dict[str, int]:
        return dict(self.game._player.achievements)

    def _info(self, before: dict[str, int], died: bool) -> dict[str, Any]:
        now = self._counts()
        events = {name: now[name] - before[name] for name in self.achievements}
        rewards = {name: float(count) for name, count in events.items()}
        events["unlocked"] = sum(now[name] > 0 == before[name] for name in self.achievements)
        events["died"] = int(died)
        return {"events": events, "rewards": rewards, "text": self._text()}

    def _text(self) -> str:
        player = self.game._player
        vitals = ", ".join(f"{name} {player.inventory[name]}" for name in _VITALS)
        carried = [
            f"{count} {name.replace('_', ' ')}"
            for name, count in player.inventory.items()
            if count and name not in _VITALS
        ]
        return (
            f"Condition: {vitals}{', asleep' if player.sleeping else ''}\n"
            f"Inventory: {', '.join(carried) or 'nothing'}\n"
            f"In view: {', '.join(sorted(self.in_view))}"
        )


@functools.cache
def _game_class() -> Any:
    crafter = _crafter()

    class Game(crafter.Env):
        """The game, the same in every process."""

        def _balance_chunk(self, chunk: Any, objs: Any) -> None:
            # A set of objects is in the order of their addresses, and one is chosen by number.
            super()._balance_chunk(chunk, sorted(objs, key=lambda thing: tuple(thing.pos)))

    return Game


def _crafter() -> Any:
    try:
        return importlib.import_module("crafter")
    except ImportError as error:
        raise SenseiError(
            f"--env crafter needs the extra `crafter`: pip install 'sensei-rl[crafter]' ({error})"
        ) from error
