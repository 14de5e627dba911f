"""How often environments may fail: now and then, but not for ever."""

from __future__ import annotations

import logging

import numpy as np

from sensei.types import SenseiError

log = logging.getLogger(__name__)

MOST_DEATHS = 5
"""Deaths of a worker with too little work in between: then it is hopeless."""
HEALTHY_CALLS = 1000
"""Calls after which earlier deaths no longer count."""
HEALTHY_EPISODES = 10
"""Episodes finished by one environment after which they do not count either. One is not enough: an
environment may fail after each."""


class WorkerDied(Exception):
    """A worker crashed, raised or did not answer; the message is the cause in one line."""

    def __init__(self, cause: str, trace: str = "") -> None:
        """Keep the traceback of what was raised, where there is one."""
        super().__init__(cause)
        self.trace = trace


class Health:
    """Counts what one worker does between two deaths."""

    def __init__(self, environment: str, indices: range) -> None:
        """Name the environment and which copies the worker steps."""
        self._environment = environment
        self._copies = f"{indices.start}-{indices.stop - 1}"
        self._deaths = self._calls = 0
        self._episodes = np.zeros(len(indices), np.int64)

    def lived(self, ended: np.ndarray) -> None:
        """Count a call; ``ended`` (n,) says which environments finished an episode in it."""
        self._calls += 1
        self._episodes += ended
        if self._calls > HEALTHY_CALLS or self._episodes.max() >= HEALTHY_EPISODES:
            self._deaths = 0

    def died(self, death: WorkerDied) -> None:
        """Count a death and tell of it.

        Raises
        ------
        SenseiError
            When there is no hope that a restart mends it.
        """
        self._deaths += 1
        self._calls, self._episodes = 0, np.zeros_like(self._episodes)
        if self._deaths < MOST_DEATHS:
            log.warning("environments %s restarted with new episodes: %s", self._copies, death)
            return
        if death.trace:
            log.error("environments %s failed again:\n%s", self._copies, death.trace)
        raise SenseiError(
            f"environments {self._copies} of {self._environment} failed {MOST_DEATHS} times in a"
            f" row: {death}; repair the environment, or see it alone with --env.processes 0"
        )
