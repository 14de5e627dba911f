"""Navix: MiniGrid's levels in JAX, by their id."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import jax
import jax.numpy as jnp
from gymnasium import spaces
from jaxtyping import Array, Float, Int

from sensei.envs.gymnax import NEVER, fit, observation_space
from sensei.envs.jaxenvs import Game, JaxEnv
from sensei.types import SenseiError, UsageError

EVENTS = ("picked_up", "door_opened", "success")


def navix(
    level: str = "Navix-DoorKey-8x8-v0",
    max_episode_steps: int | None = None,
    image_size: int = 64,
) -> JaxEnv:
    """Make a level, seen whole from above; the time limit is 4 × its cells by default.

    Raises
    ------
    SenseiError
        When navix is not installed.
    UsageError
        For a level that is none.
    """
    nx = _navix()
    if level not in nx.registry():
        near = ", ".join(difflib.get_close_matches(level, nx.registry(), 3)) or "none"
        raise UsageError(f"level is {level!r}, which navix does not have; near: {near}")
    env = nx.make(level, max_steps=NEVER, observation_fn=nx.observations.rgb)

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        timestep = env.reset(key)
        return timestep, fit(timestep.observation, image_size)

    def step(key: jax.Array, timestep: Any, action: jax.Array) -> Any:
        # ``step`` would compute a reset beside every step, for itself to choose.
        timestep = env._step(timestep, action)
        over = timestep.step_type == nx.StepType.TERMINATION
        return timestep, fit(timestep.observation, image_size), timestep.reward, over

    game = Game(
        observation_space((image_size, image_size, 3), jnp.uint8),
        spaces.Discrete(len(env.action_set)),
        reset,
        step,
        max_episode_steps or 4 * env.height * env.width,
        events=EVENTS,
        count=_count,
        score=_score,
        label=lambda timestep: timestep.observation,
    )
    return JaxEnv(game)


def _count(before: Any, after: Any) -> Int[Array, 3]:
    picked = _carrying(after) & ~_carrying(before)
    opened = jnp.maximum(_doors_open(after) - _doors_open(before), 0)
    return jnp.stack([picked.astype(jnp.int32), opened, _success(after).astype(jnp.int32)])


def _score(timestep: Any) -> Float[Array, ""]:
    """3 success, 2 a door is open, 1 something is carried, 0 nothing of it; the highest counts."""
    held = _carrying(timestep).astype(jnp.float32)
    return jnp.maximum(
        jnp.maximum(3.0 * _success(timestep), 2.0 * (_doors_open(timestep) > 0)), held
    )


def _carrying(timestep: Any) -> Array:
    nothing = importlib.import_module("navix.components").EMPTY_POCKET_ID
    return jnp.reshape(timestep.state.get_player().pocket != nothing, ())


def _doors_open(timestep: Any) -> Int[Array, ""]:
    door = timestep.state.entities.get("door")
    return jnp.int32(0) if door is None else (door.open > 0).sum(dtype=jnp.int32)


def _success(timestep: Any) -> Array:
    return jnp.reshape(timestep.reward > 0, ())


def _navix() -> Any:
    try:
        return importlib.import_module("navix")
    except ImportError as error:
        raise SenseiError(
            f"--env navix needs the package navix: pip install navix ({error})"
        ) from (error)
