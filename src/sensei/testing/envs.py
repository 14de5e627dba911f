"""Environments small enough to know the right answer, and some that misbehave on purpose."""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

Obs = np.ndarray
Step = tuple[Any, float, bool, bool, dict[str, Any]]


class LastAction(gymnasium.Env[Obs, Any]):
    """The observation is the last action, one-hot; zeros after a reset. Truncated after ``length``.

    Shows whether observation and action are paired rightly: ``vector`` must equal ``prev_action``.
    """

    def __init__(self, choices: int = 3, length: int = 10) -> None:
        """Offer ``choices`` actions for ``length`` steps."""
        self.observation_space = spaces.Box(0.0, 1.0, (choices,), np.float32)
        self.action_space = spaces.Discrete(choices)
        self.choices, self.length = choices, length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Obs, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(self.choices, np.float32), {}

    def step(self, action: int | np.integer) -> Step:
        """Show ``action``."""
        self._steps += 1
        shown = np.eye(self.choices, dtype=np.float32)[action]
        return shown, 0.0, False, self._steps >= self.length, {}


class CueReward(gymnasium.Env[Obs, Any]):
    """Each step shows a cue, one-hot; naming it earns 1. Ends (terminal) after ``steps`` steps.

    A policy that reads the cue earns ``steps`` an episode; a blind one ``steps / choices``.
    """

    def __init__(self, choices: int = 3, steps: int = 1) -> None:
        """Draw among ``choices`` cues, ``steps`` times an episode."""
        self.observation_space = spaces.Box(0.0, 1.0, (choices,), np.float32)
        self.action_space = spaces.Discrete(choices)
        self.choices, self.steps = choices, steps

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Obs, dict[str, Any]]:
        """Show the first cue."""
        super().reset(seed=seed)
        self._steps = 0
        return self._show(), {}

    def step(self, action: int | np.integer) -> Step:
        """Compare the action with the cue and show the next."""
        reward = float(action == self._cue)
        self._steps += 1
        return self._show(), reward, self._steps >= self.steps, False, {}

    def _show(self) -> Obs:
        self._cue = int(self.np_random.integers(self.choices))
        return np.eye(self.choices, dtype=np.float32)[self._cue]


class Corridor(gymnasium.Env[Obs, Any]):
    """Walk ``cells`` cells to the right: +1 at the end, terminal. Time limit 4 × ``cells``.

    The position is shown one-hot. From cell i the best policy's value is γ^(cells − 1 − i), the
    reward counted with the step that reaches the end.
    """

    def __init__(self, cells: int = 5) -> None:
        """Make a corridor; the walk starts at its left end."""
        self.observation_space = spaces.Box(0.0, 1.0, (cells + 1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.cells = cells

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Obs, dict[str, Any]]:
        """Go back to the left end."""
        super().reset(seed=seed)
        self._at = self._steps = 0
        return self._show(), {}

    def step(self, action: int | np.integer) -> Step:
        """Go left (0) or right (1)."""
        self._at = max(0, self._at + (1 if action == 1 else -1))
        self._steps += 1
        done = self._at == self.cells
        return self._show(), float(done), done, not done and self._steps >= 4 * self.cells, {}

    def _show(self) -> Obs:
        return np.eye(self.cells + 1, dtype=np.float32)[self._at]


class TimeLimitOne(gymnasium.Env[Obs, Any]):
    """Reward 1 at every step, the same observation always, cut off (truncated) after ``length``.

    The value is 1 / (1 − γ) everywhere: a learner that does not bootstrap at the cut is wrong.
    """

    terminates = False

    def __init__(self, length: int = 5) -> None:
        """End after ``length`` steps."""
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Obs, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self._steps = 0
        return self._show(), {}

    def step(self, action: int | np.integer) -> Step:
        """Earn 1."""
        self._steps += 1
        over = self._steps >= self.length
        return self._show(), 1.0, over and self.terminates, over and not self.terminates, {}

    def _show(self) -> Obs:
        return np.ones(1, np.float32)


class ManyTasks(TimeLimitOne):
    """``TimeLimitOne`` with two extra rewards: "twice" earns 2 at every step, "cost" -1."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Obs, dict[str, Any]]:
        """Start an episode; the reset earns nothing."""
        shown, info = super().reset(seed=seed, options=options)
        return shown, info | {"rewards": {"twice": 0.0, "cost": 0.0}}

    def step(self, action: int | np.integer) -> Step:
        """Earn 1, and what the extra rewards say."""
        shown, reward, terminal, cut, info = super().step(action)
        return shown, reward, terminal, cut, info | {"rewards": {"twice": 2.0, "cost": -1.0}}


class TerminateOne(TimeLimitOne):
    """Reward 1 at every step, the share of the episode gone is shown, terminal after ``length``.

    With k steps left the value is (1 − γ^k) / (1 − γ).
    """

    terminates = True

    def _show(self) -> Obs:
        return np.array([self._steps / self.length], np.float32)


class PointMass(gymnasium.Env[Obs, np.ndarray]):
    """A white point on 16×16 pixels, pushed by two numbers; reward 1 in the middle. Image only."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, length: int = 50) -> None:
        """Start at a random place, ``length`` steps."""
        self.observation_space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
        self.action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.length = length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Obs, dict[str, Any]]:
        """Put the point somewhere."""
        super().reset(seed=seed)
        self._steps = 0
        self._place = self.np_random.uniform(0.0, 16.0, 2)
        return self._draw(), {}

    def step(self, action: np.ndarray) -> Step:
        """Move by ``action`` pixels (right, down)."""
        self._place = np.clip(self._place + action, 0.0, 15.99)
        self._steps += 1
        reward = float(np.abs(self._place - 8.0).max() < 2.0)
        return self._draw(), reward, False, self._steps >= self.length, {}

    def _draw(self) -> Obs:
        image = np.zeros((16, 16, 3), np.uint8)
        x, y = self._place.astype(int)
        image[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 255
        return image


Misdeed = Literal["crash", "raise", "hang", "nan", "shape", "dtype", "missing", "four"]


class Misbehaving(gymnasium.Env[Any, Any]):
    """Behave well until the step number ``at`` since it was made, then do the ``misdeed``.

    crash: the process ends · raise: an exception · hang: sleep for ever · nan, shape, dtype and
    missing: an observation that is not what the space declares · four: the old gym's step.
    """

    def __init__(self, misdeed: Misdeed, at: int = 5, length: int = 4) -> None:
        """Make episodes of ``length`` steps, truncated."""
        self.observation_space = spaces.Dict({"state": spaces.Box(-1.0, 1.0, (2,), np.float32)})
        self.action_space = spaces.Discrete(2)
        self.misdeed, self.at, self.length = misdeed, at, length
        self._total = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; its seed is the first thing to be seen."""
        super().reset(seed=seed)
        self._steps = 0
        return {"state": self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)}, {}

    def step(self, action: int | np.integer) -> Any:
        """Behave, until it is time."""
        self._total += 1
        self._steps += 1
        good = {"state": self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)}
        result = good, 0.0, False, self._steps >= self.length, {}
        return result if self._total < self.at else self._misbehave(result)

    def _misbehave(self, result: Step) -> Any:
        if self.misdeed == "crash":
            os._exit(7)
        if self.misdeed == "hang":
            time.sleep(3600.0)
        if self.misdeed == "raise":
            raise RuntimeError("the simulation exploded")
        if self.misdeed == "four":
            return result[0], result[1], result[3], result[4]
        return self._wrong_observation(), *result[1:]

    def _wrong_observation(self) -> dict[str, np.ndarray]:
        wrong = {
            "nan": np.array([0.0, np.nan], np.float32),
            "shape": np.zeros(3, np.float32),
            "dtype": np.array(["a", "b"]),
        }
        return {"state": wrong[self.misdeed]} if self.misdeed in wrong else {}
