"""A NetHack game as pixels: picture, label picture, text, facts and the time limit.

What an action does, when a level is solved and what is counted is up to its subclasses.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np
from jaxtyping import UInt8

from sensei.envs import minihack_facts as facts_of
from sensei.envs import minihack_tiles as tiles
from sensei.envs.minihack_screen import Screen
from sensei.envs.minihack_view import View

ScreenT = TypeVar("ScreenT", bound=Screen)


class NetHackEnv(gymnasium.Env[dict[str, np.ndarray], Any], Generic[ScreenT]):
    """One level of NetHack.

    Observation: ``image`` (size, size, 3) uint8, the tiles in view, and ``key`` (1,), 1 while the
    key is in the inventory. ``render_label`` is the same view at 16 pixels a tile.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)
    events: tuple[str, ...]
    game: ScreenT

    def __init__(
        self,
        view: View,
        max_episode_steps: int,
        render_mode: str | None,
        shares: tuple[str, ...] = ("key",),
    ) -> None:
        """Prepare to show a game; subclasses bring ``game``, ``action_space`` and ``events``.

        ``shares`` names the numbers from 0 to 1 that are observed beside the picture.
        """
        self.names = facts_of.glyphs()
        self.view = view
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        shape = (view.image_size, view.image_size, 3)
        spaces: dict[str, gymnasium.Space[Any]]
        spaces = {name: gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32) for name in shares}
        spaces["image"] = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.solved = False
        self.steps = 0

    def render_label(self) -> UInt8[np.ndarray, "side side 3"]:
        """Return the picture for an annotator: the agent's tiles at full resolution."""
        return self.view.label(self._shown)

    def render(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Draw the whole known map, 336×1264 pixels, for a person to look at."""
        return tiles.draw(self.game.glyphs, tiles.tile_table())

    def _new_seeds(self, seed: int | None) -> tuple[int, int]:
        """Draw the seeds of NetHack's two random generators; the same ``seed``, the same seeds."""
        gymnasium.Env.reset(self, seed=seed)
        core, display = self.np_random.integers(0, 2**31, 2).tolist()
        return core, display

    def _look(self) -> None:
        """Cut the view and read the facts. Once per step, after all keys."""
        window = self.view.window(self.game)
        self.facts = facts_of.read_facts(window, self.game, self.names)
        self._shown = self.view.shown(window, self.game, self.names.tourist)

    def _observe(self) -> dict[str, np.ndarray]:
        key = np.array([self.facts.key_held], np.float32)
        return {"image": self.view.image(self._shown), "key": key}

    def _info(self, events: dict[str, int]) -> dict[str, Any]:
        message, items = self.game.message or "none", self.game.inventory or "nothing"
        return {"events": events, "text": f"Message: {message}\nInventory: {items}"}
