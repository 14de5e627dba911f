"""One running NetHack with a compiled level: press keys, read the screen.

This is ``nle.nethack.Nethack`` directly. It avoids what the stock environments do to an agent: a
blank last observation, a time limit reported as a termination, unseeded resets, and copies of every
observation each step.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import warnings
from typing import Any

import numpy as np

from sensei.envs.minihack_levels import compile_level
from sensei.envs.minihack_screen import OBSERVED, Screen
from sensei.types import SenseiError

ESCAPE = 27
_SPACE = ord(" ")
_MOST_QUESTIONS = 50
_MOST_START_SCREENS = 1000


@functools.cache
def nethack() -> Any:
    """Return NLE's module of NetHack (its constants come from C, without types).

    Raises
    ------
    SenseiError
        When the extra ``minihack`` is not installed.
    """
    try:
        with warnings.catch_warnings():
            # minihack imports pkg_resources, which announces its own removal.
            warnings.simplefilter("ignore")
            importlib.import_module("minihack.base")
            return importlib.import_module("nle.nethack")
    except ImportError as error:
        raise SenseiError(
            "the levels of MiniHack need the extra `minihack`:"
            f" pip install 'sensei-rl[minihack]' ({error})"
        ) from error


class Game(Screen):
    """A rogue without pet on one level without monsters; things are picked up by walking."""

    def __init__(self, description: str) -> None:
        """Compile the level and load NetHack; ``reset`` starts to play."""
        module = nethack()
        options = importlib.import_module("minihack.base").MH_NETHACKOPTIONS
        self._nethack: Any = module.Nethack(
            observation_keys=OBSERVED,
            playername="Agent-rog-hum-cha-mal",
            options=(*options, "pettype:none"),
            ttyrec=None,
            spawn_monsters=False,
            # The moon of the real date changes the hero's luck; from the seed, it cannot.
            fix_moon_phase=True,
        )
        try:
            compile_level(description, pathlib.Path(self._nethack._vardir))
        except SenseiError:
            self.close()
            raise
        super().__init__()
        self.over = True

    def reset(self, core: int, display: int) -> None:
        """Start a game with these seeds of NetHack's two random generators."""
        self._nethack.set_initial_seeds(core, display, False)
        self.over = False
        self._take(self._nethack.reset())
        for _ in range(_MOST_START_SCREENS):
            # program_state[3]: the game takes commands.
            if self._obs["program_state"][3]:
                return
            self.press(_SPACE)
        raise SenseiError("NetHack never left its start screens; reinstall the extra `minihack`")

    def press(self, *keys: int) -> None:
        """Press keys one after the other; does nothing once the game is over."""
        for key in keys:
            if not self.over:
                observation, self.over = self._nethack.step(key)
                self._take(observation)

    def send(self, *keys: int) -> None:
        """Press keys, then click through whatever the game wants to say or ask."""
        self.press(*keys)
        for _ in range(_MOST_QUESTIONS):
            _, asked, asked_line, wants_space = self._obs["internal"][:4].tolist()
            if self.over or not (asked or asked_line or wants_space):
                return
            self.press(_SPACE if wants_space else ESCAPE)

    def close(self) -> None:
        """End NetHack and delete its files; a second call does nothing."""
        if self._nethack is not None:
            self._nethack.close()
            self._nethack = None

    def _take(self, observation: tuple[np.ndarray, ...]) -> None:
        self._obs = dict(zip(OBSERVED, observation, strict=True))
