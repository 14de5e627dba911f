"""What an environment pool is made of: which environment, how many copies and processes."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """The environment of a run and how its copies are spread over processes."""

    name: str = "keychest"
    """A preset (keychest, keyroom, …), ``gym:ID``, ``minihack:ID`` or ``module:callable``."""
    num_envs: int = 4
    """N, copies stepped in lockstep."""
    processes: int = 2
    """Worker processes; 0 steps every copy inside the learner's process."""
    image_size: int = 64
    """Height and width of the agent's image, in pixels."""
    timeout_s: float = 60.0
    """Seconds without an answer after which a worker process is restarted."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the environment; ``render=True`` takes the image from render()."""
