"""Shared vocabulary: the shape legend, the specs that describe an environment, the errors.

Shapes
    B batch · T time · H horizon · N = B·T imagination starts · D deter · S groups · K classes
    F = D + S·K feature · A action · E ensemble members · C reward channels · P pairs
    V vector inputs

Time
    ``obs[t]`` is what follows ``action[t-1]``. A stored row is what the environment returned
    together with the action that caused it (``prev_action``, zeros where ``is_first``), so a row is
    complete when it is written. A time limit is ``is_last`` without ``is_terminal``: the value
    there is bootstrapped; at a termination it is 0.

This module imports neither JAX nor gymnasium, so environment workers start fast.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ObsSpec:
    """What the agent sees: at most one image and one flat vector with named entries."""

    image: tuple[int, int, int] | None
    """(height, width, channels) of the uint8 image, or None when there is none."""
    vector: tuple[str, ...] = ()
    """The name of each entry of the float32 vector, in order; empty when there is none."""


@dataclasses.dataclass(frozen=True)
class ActionSpec:
    """An action as one float32 vector: one-hot blocks of sizes ``discrete``, then ``continuous``
    numbers in [-1, 1]."""

    discrete: tuple[int, ...] = ()
    continuous: int = 0

    @property
    def size(self) -> int:
        """A, the length of the action vector."""
        return sum(self.discrete) + self.continuous


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """Everything the learner needs to know of an environment before the first step."""

    obs: ObsSpec
    action: ActionSpec
    events: tuple[str, ...] = ()
    """Names of the events counted in ``info["events"]``."""
    rewards: tuple[str, ...] = ()
    """Names of the extra rewards in ``info["rewards"]``."""
    has_label_picture: bool = False
    has_oracle: bool = False
    has_text: bool = False


class SenseiError(Exception):
    """A failure explained to the user: one line that names the field, the value and the remedy."""

    exit_code = 1


class UsageError(SenseiError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class Stopped(SenseiError):
    """The work was interrupted and saved; the same command continues it."""

    exit_code = 3
