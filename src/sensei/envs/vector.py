"""Vector environments of gymnasium's, taken as they are: each of their environments is a slot.

A slot looks like one environment, so that the adapter for one serves, but it only hands out what
the whole has returned before: the group is reset or stepped first, then every slot is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from sensei.types import SenseiError, UsageError

_NEXT_STEP = "NextStep"
"""gymnasium's default: the step after an episode's last one resets, and ignores its action. That is
what the pool does; with any other mode its rows could not be made."""
_EXTRAS = ("render_label", "oracle_score")


class VectorGroup:
    """A vector environment, and what it last returned to each of its environments."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Check that the environment resets as the pool does, and start it."""
        mode = env.metadata.get("autoreset_mode", _NEXT_STEP)
        if getattr(mode, "value", mode) != _NEXT_STEP:
            raise SenseiError(
                f"{type(env.unwrapped).__name__} has the autoreset mode {mode};"
                " make it with gymnasium.vector.AutoresetMode.NEXT_STEP"
            )
        self.env = env
        self.ended = np.zeros(env.num_envs, np.bool_)
        self._frames: Sequence[Any] | None = None
        self.reset([0] * env.num_envs)

    def reset(self, seeds: list[int]) -> None:
        """Start a new episode everywhere; a vector environment of the user's gets one seed."""
        own = isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        observations, infos = self.env.reset(seed=seeds if own else seeds[0])  # type: ignore[arg-type]
        none = np.zeros(self.env.num_envs)
        self._keep(observations, none, none > 0, none > 0, infos)

    def step(self, actions: list[Any]) -> None:
        """Step every environment; those that ended are reset and ignore their action."""
        space = self.env.single_action_space
        empty = create_empty_array(space, len(actions))
        self._keep(*self.env.step(concatenate(space, actions, empty)))

    def frame(self, index: int) -> Any:
        """Return one environment's picture; they are drawn once for all."""
        if self._frames is None:
            self._frames = self.env.render()
        return None if self._frames is None else self._frames[index]

    def extra(self, name: str, index: int) -> Callable[[], Any] | None:
        """Find an optional method on one environment, or on the whole, for all at once."""
        base = self.env.unwrapped
        if isinstance(base, SyncVectorEnv):
            one = base.envs[index]
            return one.get_wrapper_attr(name) if one.has_wrapper_attr(name) else None
        return (lambda: getattr(base, name)()[index]) if hasattr(base, name) else None

    def _keep(self, observations: Any, rewards: Any, over: Any, cut: Any, infos: Any) -> None:
        self._frames, self.ended = None, np.logical_or(over, cut)
        each = iterate(self.env.observation_space, observations)
        flags = zip(each, rewards, over, cut, strict=True)
        self.results = [
            (seen, float(r), bool(o), bool(c), _one_info(infos, i, self.env.num_envs))
            for i, (seen, r, o, c) in enumerate(flags)
        ]


class VectorSlot(gymnasium.Env[Any, Any]):
    """One environment of a group. ``step`` and ``reset`` return what the group did last."""

    def __init__(self, group: VectorGroup, index: int) -> None:
        """Look like the environment ``index`` of the group."""
        self.group, self.index = group, index
        self.observation_space = group.env.single_observation_space
        self.action_space = group.env.single_action_space
        self.render_mode = group.env.render_mode
        for name in _EXTRAS:
            if (method := group.extra(name, index)) is not None:
                setattr(self, name, method)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Return the first observation of the episode that the group has begun."""
        observation, *_, info = self.group.results[self.index]
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return what the group's step did here."""
        return self.group.results[self.index]

    def render(self) -> Any:
        """Return this environment's picture."""
        return self.group.frame(self.index)

    def close(self) -> None:
        """Close the whole group."""
        if not self.group.env.closed:
            self.group.env.close()


def slots(env: VectorEnv[Any, Any, Any], count: int) -> list[VectorSlot]:
    """Return the environments of a vector environment, which must be ``count``."""
    if env.num_envs != count:
        raise UsageError(
            f"the vector environment has num_envs {env.num_envs} where {count} were wanted; let"
            f" your callable take num_envs, or give --env.num-envs {env.num_envs}"
            " --env.processes 1"
        )
    group = VectorGroup(env)
    return [VectorSlot(group, index) for index in range(count)]


def _one_info(infos: dict[str, Any], index: int, count: int) -> dict[str, Any]:
    """Undo how gymnasium gathers infos: arrays by key, beside masks ``_key`` of who has it."""
    found = {}
    for key, value in infos.items():
        if key.startswith("_") or not infos.get(f"_{key}", np.ones(count, np.bool_))[index]:
            continue
        if isinstance(value, dict):
            found[key] = _one_info(value, index, count)
        else:
            each = isinstance(value, np.ndarray | list | tuple) and len(value) == count
            found[key] = value[index] if each else value
    return found
