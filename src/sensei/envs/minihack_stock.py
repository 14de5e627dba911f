"""A registered level of MiniHack as its authors made it, without what it does to an agent.

The stock environment decides what an action is, what is rewarded and when the task is done. Its
defects are mended from outside: seeds reach NetHack, the layout and Python's dice; the last screen
of an episode stays, also that of a death; a level that does not compile is an error.
"""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import random
import warnings
from collections.abc import Iterator
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from sensei.envs.minihack_game import nethack
from sensei.envs.minihack_levels import compile_level
from sensei.envs.minihack_screen import OBSERVED, Screen
from sensei.types import SenseiError, UsageError

_GAME_OVER = 0
"""Place in NLE's ``program_state`` that is set from the first word of a death on."""
_MOST_KEYS = 10_000
"""Keys that one action may press: KeyRoom's APPLY has a loop without end of its own."""
SUCCESS, DEATH = 2, 1
"""MiniHack's ``end_status`` of an episode that ends by itself."""


class Recorder(Screen):
    """NetHack as the stock environment calls it, and the screen of its last living moment."""

    def __init__(self, nethack: Any, keys: list[str]) -> None:
        """Stand before ``nethack``, whose observations are in the order of ``keys``."""
        super().__init__()
        self._nethack = nethack
        self._places = [keys.index(name) for name in OBSERVED]
        self.pressed = 0

    def __getattr__(self, name: str) -> Any:
        """Pass on what is only NetHack's."""
        return getattr(self._nethack, name)

    def step(self, key: int) -> tuple[tuple[np.ndarray, ...], bool]:
        """Press a key."""
        self.pressed += 1
        if self.pressed > _MOST_KEYS:
            raise SenseiError(f"an action of MiniHack's pressed {_MOST_KEYS} keys without end")
        observation, over = self._nethack.step(key)
        self._keep(observation)
        return observation, over

    def reset(self, *args: Any, **options: Any) -> tuple[np.ndarray, ...]:
        """Start a game."""
        self.pressed = 0
        observation = self._nethack.reset(*args, **options)
        self._keep(observation)
        return observation

    def _keep(self, observation: tuple[np.ndarray, ...]) -> None:
        """Copy a screen, unless it is one of those after a death: inventory, score, nothing."""
        arrays = [observation[place] for place in self._places]
        if not arrays[-1][_GAME_OVER]:
            self._obs = {name: a.copy() for name, a in zip(OBSERVED, arrays, strict=True)}


class Stock:
    """One stock environment and its ``screen``."""

    def __init__(self, env_id: str, options: dict[str, Any]) -> None:
        """Build a registered environment and compile its level.

        Raises
        ------
        UsageError
            For an option that the level does not have.
        SenseiError
            When something that the level needs is missing.
        """
        spec = gymnasium.registry[env_id]
        level = load_env_creator(cast(str, spec.entry_point))
        # A penalty for steps that change nothing is MiniHack's own, not part of the task. And the
        # moon of the real date changes the hero's luck; from the seed, it cannot.
        options = {"penalty_step": 0.0, "fix_moon_phase": True} | spec.kwargs | options
        try:
            with _quiet():
                self._env = _mended(level)(observation_keys=("glyphs",), **options)
        except TypeError as error:
            raise UsageError(f"--env minihack:{env_id} refuses {options}: {error}") from error
        except ModuleNotFoundError as error:
            raise SenseiError(f"--env minihack:{env_id}: {error}") from error
        except AssertionError as error:
            # LavaCrossing and SimpleCrossing: minigrid 3 refuses the size that MiniHack gives.
            raise SenseiError(
                f"--env minihack:{env_id} cannot be made with the installed packages: MiniHack"
                " gives something that they refuse; choose another level"
            ) from error
        self.screen = Recorder(self._env.nethack, self._env._observation_keys)
        self._env.nethack = self.screen
        self.limit: int = self._env._max_episode_steps
        # Counted by us, or success at the last step would be reported as running out of time.
        self._env._max_episode_steps = np.inf

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names NLE gives to the keys of the actions."""
        return tuple(action.name.lower() for action in self._env.actions)

    @property
    def wants_stairs(self) -> bool:
        """Whether the task is to walk onto the stairs down, and nothing else."""
        usual = importlib.import_module("minihack.base").MiniHack._is_episode_end
        return self._env.reward_manager is None and type(self._env)._is_episode_end is usual

    def reset(self, core: int, display: int) -> None:
        """Start a game; the same seeds give the same level and the same game."""
        state = random.getstate()
        random.seed(core)
        try:
            if hasattr(self._env, "minigrid_env"):
                self._env.minigrid_env.reset(seed=core)
            self.screen.set_initial_seeds(core, display, False)
            with _quiet():
                self._env.reset()
        finally:
            random.setstate(state)

    def step(self, action: int) -> tuple[float, int]:
        """Take an action; returns the reward and MiniHack's ``end_status``."""
        self.screen.pressed = 0
        _, reward, _, _, info = self._env.step(action)
        return float(reward), int(info["end_status"])

    def close(self) -> None:
        """End the game and delete its files; a second call does nothing."""
        self._env.close()


def registered_ids() -> list[str]:
    """List MiniHack's levels by their gymnasium ids."""
    nethack()
    importlib.import_module("minihack")
    return sorted(name for name in gymnasium.registry if name.startswith("MiniHack-"))


def _mended(level: Any) -> type:
    class Mended(level):
        # Boxoban's first reset asks whether it is solved before it knows its goals.
        _goal_pos_set: Any = None

        def _quit_game(self, observation: Any, done: bool) -> None:
            """Leave the last screen as it is: the next reset ends the game."""

        def _patch_nhdat(self, des_file: str | None) -> None:
            compile_level(_description(des_file), pathlib.Path(self.nethack._vardir))

    return Mended


def _description(des_file: str | None) -> str:
    """Read a level: the text itself, or a file here or among MiniHack's own."""
    if not des_file:
        raise UsageError("env.options.des_file is missing: give the path of a level, say my.des")
    if not des_file.endswith(".des"):
        return des_file
    own = pathlib.Path(importlib.import_module("minihack.base").PATH_DAT_DIR)
    for path in (pathlib.Path(des_file), own / des_file):
        if path.is_file():
            return path.read_text()
    raise UsageError(f"env.options.des_file is {des_file}: there is no such file")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep other packages' warnings about their own futures to themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
