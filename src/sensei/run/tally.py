"""Counting while the loop runs: events, episodes, time, averaged losses."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sensei.types import EnvSpec


def task_reward(rows: Mapping[str, np.ndarray], spec: EnvSpec, task: str) -> np.ndarray:
    """Return a task's reward in rows (...): the environment's own or an extra one, (...)."""
    return rows["reward"] if task == "task" else rows["rewards"][..., spec.rewards.index(task)]


class Tally:
    """What the loop counts between two records, and since the stage began."""

    def __init__(self, events: tuple[str, ...], num_envs: int) -> None:
        self.names = events
        self.events = np.zeros(len(events), np.int64)
        self.running_return = np.zeros(num_envs)
        self.running_length = np.zeros(num_envs, np.int64)
        self.episodes = 0
        self.recent: dict[str, list[float]] = defaultdict(list)
        self.seconds: dict[str, float] = defaultdict(float)
        self.device: list[Mapping[str, Any]] = []
        self.since = time.perf_counter()

    def rows(self, rows: Mapping[str, np.ndarray], reward: np.ndarray) -> None:
        """Count one round of rows, (N, ...) each; returns add up ``reward``, (N,)."""
        self.events += rows["events"].sum(0)
        first = rows["is_first"]
        self.running_return = np.where(first, 0.0, self.running_return) + reward
        self.running_length = np.where(first, 0, self.running_length + 1)
        for env in np.flatnonzero(rows["is_last"]):
            self.episodes += 1
            self.recent["episode/return"].append(float(self.running_return[env]))
            self.recent["episode/length"].append(float(self.running_length[env]))

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``name``."""
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin

    def record(self, env_steps: int) -> dict[str, int | float]:
        """Everything since the last record as named numbers; ``env_steps`` were made in it."""
        elapsed = time.perf_counter() - self.since
        out = {f"event/{n}": int(c) for n, c in zip(self.names, self.events, strict=True)}
        out |= {name: float(np.mean(values)) for name, values in self.recent.items()}
        out["episode/count"] = self.episodes
        if self.device:
            fetched = [{k: float(v) for k, v in m.items()} for m in self.device]
            out |= {k: float(np.mean([m[k] for m in fetched])) for k in fetched[0]}
        out["speed/env_steps"] = env_steps / max(elapsed, 1e-9)
        out["speed/updates"] = len(self.device) / max(elapsed, 1e-9)
        out |= {f"speed/share_{n}": s / max(elapsed, 1e-9) for n, s in self.seconds.items()}
        self.recent.clear()
        self.seconds.clear()
        self.device.clear()
        self.since = time.perf_counter()
        return out

    def state(self) -> dict[str, Any]:
        """The JSON-able counters of a checkpoint."""
        return {
            "events": self.events.tolist(),
            "episodes": self.episodes,
            "running_return": self.running_return.tolist(),
            "running_length": self.running_length.tolist(),
            "recent": dict(self.recent),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""
        self.events = np.array(state["events"], np.int64)
        self.episodes = state["episodes"]
        self.running_return = np.array(state["running_return"])
        self.running_length = np.array(state["running_length"], np.int64)
        self.recent = defaultdict(list, {k: list(v) for k, v in state["recent"].items()})
