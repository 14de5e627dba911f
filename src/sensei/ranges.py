"""Which numbers a configuration may hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sensei.types import UsageError

_AT_LEAST_ONE = (
    "generations",
    *(f"env.{name}" for name in ("num_envs", "image_size")),
    *(f"agent.{name}" for name in ("squares", "batch", "horizon", "imagine_every")),
    "agent.discount_horizon",
    *(f"agent.size.{name}" for name in ("deter", "blocks", "hidden", "stoch", "classes", "patch")),
    *(f"agent.size.{name}" for name in ("depth", "units", "layers", "members")),
    "collect.action_repeat",
    "annotate.pairs",
    *(f"distill.{name}" for name in ("members", "epochs", "patience", "batch")),
    *(f"{stage}.save_every" for stage in ("explore", "solve")),
    *(f"ppo.{name}" for name in ("rollout", "batch", "epochs")),
    "evaluate.episodes",
)
_SHARES = (
    *(f"agent.{name}" for name in ("quantile", "gate_decay", "unimix", "lambda_")),
    "agent.slow_critic_rate",
    *(f"ppo.{name}" for name in ("discount", "trace")),
)
_RANGES = {
    **dict.fromkeys(_AT_LEAST_ONE, (1, math.inf)),
    **dict.fromkeys(_SHARES, (0, 1)),
    "agent.length": (2, math.inf),  # one step has no next one to predict
    "explore.replay_gb": (0.001, math.inf),  # a store needs a few rows
    "solve.own_weight": (1, math.inf),
    "agent.task_weight": (-math.inf, math.inf),  # a task may be one to avoid
    "distill.damping": (-math.inf, math.inf),  # and doubt may be sought
}
"""Smallest and largest value, by dotted name; any other number is 0 or more."""


def check_ranges(config: Any, prefix: str = "") -> None:
    """Reject numbers with which nothing could be done. Options and tuples are not looked at.

    Raises:
        UsageError: names the first such field, its value and what to give.
    """
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            low, high = _RANGES.get(name, (0, math.inf))
            if not low <= value <= high:  # so written, it rejects NaN too
                wanted = f"{low} or more" if high == math.inf else f"a number from {low} to {high}"
                raise UsageError(f"{name} is {value}: give {wanted}")
