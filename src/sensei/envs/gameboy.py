"""A Game Boy game as an environment: buttons in, screen out, facts read from the game's memory.

The emulator is PyBoy. An adapter for a game is a subclass of ``GameBoyEnv`` that says which
addresses mean what; ``keyquest.py`` and ``pokemon.py`` are two of them.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from jaxtyping import UInt8

from sensei.envs.observations import resize
from sensei.types import SenseiError, UsageError

HEIGHT, WIDTH = 144, 160
"""The screen, in pixels."""
BUTTONS = ("down", "left", "right", "up", "a", "b", "select", "start")
"""What the console has."""

Facts = dict[str, int]
"""What was read from the game's memory at one moment."""


def load_rom(path: str | Path | None, variable: str, sha1: str = "", title: str = "") -> bytes:
    """Read the user's cartridge image from ``path``, or from where ``variable`` says.

    Raises
    ------
    UsageError
        When no file is named or there, or its SHA-1 is not ``sha1`` (empty: any file will do).
    """
    name = title or "this game"
    given = path or os.environ.get(variable)
    if not given:
        raise UsageError(
            f"{name} needs your own cartridge image, which is not part of this package: give its"
            f" path as --env.options.rom PATH or in the environment variable {variable}"
        )
    try:
        image = Path(given).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(
            f"rom is {str(given)!r}: {error.strerror}; give the path of {name} as --env.options.rom"
            f" or in {variable}"
        ) from error
    found = hashlib.sha1(image, usedforsecurity=False).hexdigest()
    if sha1 and found != sha1:
        raise UsageError(f"rom is {str(given)!r} with SHA-1 {found}: {name} has {sha1}")
    return image


class Console:
    """A running emulator without window and sound; nothing is written to disk."""

    def __init__(self, image: bytes) -> None:
        """Switch on with a cartridge of these bytes.

        Raises
        ------
        SenseiError
            When the extra ``gameboy`` is not installed.
        UsageError
            When the bytes are no cartridge.
        """
        emulator = _pyboy()
        try:
            self._pyboy = emulator(
                io.BytesIO(image), window="null", sound_emulated=False, log_level="CRITICAL"
            )
        except Exception as error:  # of several unrelated types
            raise UsageError(f"rom is no Game Boy cartridge: {error}; give another file") from error
        self._pyboy.set_emulation_speed(0)

    def tick(self, frames: int) -> None:
        """Let time pass; only the last of the frames is drawn."""
        if frames > 0:
            self._pyboy.tick(frames, True)

    def hold(self, button: str, frames: int) -> None:
        """Press a button now and let it go ``frames`` frames later, as time passes."""
        self._pyboy.button(button, frames)

    def screen(self) -> UInt8[np.ndarray, "144 160 3"]:
        """Return a copy of what the screen shows."""
        return self._pyboy.screen.ndarray[:, :, :3].copy()

    def byte(self, address: int) -> int:
        """Read one byte of memory."""
        return self._pyboy.memory[address]

    def block(self, start: int, count: int) -> bytes:
        """Read ``count`` bytes of memory."""
        return bytes(self._pyboy.memory[start : start + count])

    def write(self, address: int, value: int) -> None:
        """Change one byte of memory."""
        self._pyboy.memory[address] = value

    def save(self) -> bytes:
        """Return the whole machine's state."""
        buffer = io.BytesIO()
        self._pyboy.save_state(buffer)
        return buffer.getvalue()

    def load(self, state: bytes) -> None:
        """Go back to a saved state.

        Raises
        ------
        UsageError
            When it is none, or one of an emulator newer than this.
        """
        try:
            self._pyboy.load_state(io.BytesIO(state))
        except Exception as error:  # of several unrelated types
            raise UsageError(f"state cannot be loaded: {error}; give one saved by PyBoy") from error

    def close(self) -> None:
        """Switch off; a second call does nothing."""
        self._pyboy.stop(save=False)


class GameBoyEnv(gymnasium.Env[dict[str, np.ndarray], Any]):
    """One game. A subclass names its addresses and, where it has them, rewards and an end.

    Action: one of ``buttons``, held ``hold`` of ``frames`` frames. Observation: ``image``
    (64, 64, 3) uint8, the screen reduced by area. ``render_label`` is the screen itself. Every rise
    of a byte in ``watched`` is an event of its name. The time limit truncates.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)
    buttons: ClassVar[tuple[str, ...]] = BUTTONS[:6]
    watched: ClassVar[Mapping[str, int]] = {}
    """Name of a fact and the address of its byte."""
    default_frames = 24
    default_hold = 8
    default_steps = 1000
    boot_frames = 600
    """How long the game starts by itself where no state is given."""
    rom_variable = "SENSEI_GAMEBOY_ROM"

    def __init__(
        self,
        rom: str | None = None,
        state: str | None = None,
        frames: int | None = None,
        max_episode_steps: int | None = None,
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """Switch on.

        ``rom`` is the path of the cartridge, ``state`` that of a state saved by PyBoy from which
        every episode starts, ``frames`` how many frames an action takes.
        """
        self.frames = frames or self.default_frames
        if self.frames <= self.default_hold:
            raise UsageError(
                f"frames is {self.frames}: a button is held {self.default_hold} of them, give more"
            )
        self.max_episode_steps = max_episode_steps or self.default_steps
        self.render_mode = render_mode
        self._image_size = image_size
        self.action_names = self.buttons
        self.action_space = gymnasium.spaces.Discrete(len(self.buttons))
        box = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": box})
        self.console = Console(self.cartridge(rom))
        self._start = _read_state(state) if state else self.boot()
        self.facts: Facts = {}
        self.steps = 0

    def cartridge(self, rom: str | None) -> bytes:
        """Return the bytes of the cartridge; the user's own file here."""
        return load_rom(rom, self.rom_variable)

    def boot(self) -> bytes:
        """Play from power-on to where episodes start and return that state."""
        self.console.tick(self.boot_frames)
        return self.console.save()

    def begin(self) -> None:
        """Change the start state to this episode's, by ``self.np_random``; nothing here."""

    def read(self) -> Facts:
        """Read the facts of this moment from memory."""
        return {name: self.console.byte(address) for name, address in self.watched.items()}

    def count(self, before: Facts, now: Facts) -> Facts:
        """Count what happened in a step; always the same names."""
        return {name: max(0, value - before[name]) for name, value in now.items()}

    def reward(self, before: Facts, now: Facts) -> float:
        """Return the task reward of a step; 0 here."""
        return 0.0

    def ended(self, now: Facts) -> bool:
        """Say whether the task is over (terminal, not the time limit); never here."""
        return False

    def text(self) -> str:
        """Return what an annotator may read beside the picture; nothing here."""
        return ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode from the start state; the same seed gives the same episode."""
        super().reset(seed=seed, options=options)
        self.console.load(self._start)
        self.steps = 0
        self.begin()
        self.console.tick(1)
        self.facts = self.read()
        names = self.count(self.facts, self.facts)
        return self._observe(), self._info(dict.fromkeys(names, 0))

    def step(
        self, action: int | np.integer
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Hold a button and let the game go on; see ``action_names``."""
        before = self.facts
        self.steps += 1
        self.console.hold(self.buttons[int(action)], self.default_hold)
        self.console.tick(self.frames)
        self.facts = self.read()
        counts = self.count(before, self.facts)
        reward, over = self.reward(before, self.facts), self.ended(self.facts)
        cut = not over and self.steps >= self.max_episode_steps
        return self._observe(), reward, over, cut, self._info(counts)

    def render_label(self) -> UInt8[np.ndarray, "144 160 3"]:
        """Return the picture for an annotator: the whole screen."""
        return self.console.screen()

    def render(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> UInt8[np.ndarray, "144 160 3"]:
        """Return the screen for a person to look at."""
        return self.console.screen()

    def close(self) -> None:
        """Switch off."""
        self.console.close()

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": resize(self.console.screen(), self._image_size)}

    def _info(self, events: Facts) -> dict[str, Any]:
        text = self.text()
        return {"events": events} | ({"text": text} if text else {})


def _pyboy() -> Any:
    try:
        with warnings.catch_warnings():
            # PySDL2 announces where its library comes from; no window is ever opened.
            warnings.simplefilter("ignore")
            return importlib.import_module("pyboy").PyBoy
    except ImportError as error:
        raise SenseiError(
            "Game Boy environments need the extra `gameboy`:"
            f" pip install 'sensei-rl[gameboy]' ({error})"
        ) from error


def _read_state(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"state is {path!r}: {error.strerror}; give a state saved by PyBoy") from (
            error
        )
