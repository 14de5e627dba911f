"""What an environment pool is made of: which environment, how many copies and processes."""

from __future__ import annotations

import dataclasses
from typing import Any

from sensei.types import UsageError


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
    """Seconds for one step or reset of one environment; then its process is restarted."""
    time_limit: int | None = None
    """Steps after which an episode is cut off (truncated); None leaves it to the environment."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the environment. Ours: ``render=True`` takes the image from render();
    with ``gym:ID``, ``vectorization_mode`` makes it by ``gymnasium.make_vec``."""

    def __post_init__(self) -> None:
        """Reject episodes without a step."""
        if self.time_limit is not None and self.time_limit < 1:
            raise UsageError(f"env.time_limit is {self.time_limit}: give at least 1 step")
