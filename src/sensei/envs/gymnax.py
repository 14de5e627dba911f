"""Any environment with gymnax's interface, ``reset(key, params)`` and ``step(key, state, action,
params)``, as a ``JaxEnv``."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jaxtyping import Array, Shaped, UInt8

from sensei.envs.jaxenvs import Game, JaxEnv
from sensei.types import UsageError

NEVER = 2**31 - 1
"""A time limit that no episode reaches; ours is counted outside, where it is told from an end."""
_LIMITS = ("max_timesteps", "max_steps_in_episode")
_MIN_SIDE, _MAX_CHANNELS = 8, 16
"""A picture is an array of rank 3 at least this wide and high, with at most so many channels."""


def from_gymnax(
    env: Any,
    params: Any = None,
    max_episode_steps: int | None = None,
    image_size: int = 64,
    **extras: Any,
) -> JaxEnv:
    """Wrap an environment object in gymnax's style.

    ``params`` are its ``default_params`` when None; the time limit is theirs when
    ``max_episode_steps`` is None. Pictures come out as uint8 of ``image_size``; what is not a
    picture becomes one vector. ``extras`` are fields of ``Game`` from ``events`` on. Where the
    object has ``step_env`` that is called, because ``step`` would reset by itself.

    Raises
    ------
    UsageError
        When the object has no time limit, or an observation or action of another kind.
    """
    params = env.default_params if params is None else params
    name, found = _limit(params)
    limit = max_episode_steps or found
    if limit is None:
        raise UsageError(f"{type(env).__name__} has no time limit: give max_episode_steps")
    if name:
        params = dataclasses.replace(params, **{name: NEVER})
    reset = getattr(env, "reset_env", env.reset)
    step = getattr(env, "step_env", env.step)

    def begin(key: jax.Array) -> tuple[Any, jax.Array]:
        shown, state = reset(key, params)
        return state, show(shown, image_size)

    def advance(key: jax.Array, state: Any, action: jax.Array) -> Any:
        shown, state, reward, over, *_ = step(key, state, action, params)
        return state, show(shown, image_size), reward, over

    seen = jax.eval_shape(begin, jax.eval_shape(jax.random.PRNGKey, 0))[1]
    space = observation_space(seen.shape, seen.dtype)
    return JaxEnv(Game(space, _action_space(env, params), begin, advance, limit, **extras))


def observation_space(shape: tuple[int, ...], dtype: Any) -> spaces.Box:
    """Declare what ``show`` returns."""
    if dtype == np.uint8:
        return spaces.Box(0, 255, shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def show(observation: Any, size: int) -> jax.Array:
    """Turn a game's observation into what the agent sees: a picture (size, size, C), or a vector.

    A picture is uint8, or of numbers from 0 to 1.
    """
    if not hasattr(observation, "shape"):
        raise UsageError(
            f"the observation is a {type(observation).__name__}, not one array: give the"
            " environment an observation function of one array"
        )
    shape = observation.shape
    if len(shape) == 3 and min(shape[:2]) >= _MIN_SIDE and shape[2] <= _MAX_CHANNELS:
        return fit(as_bytes(observation), size)
    return jnp.ravel(observation).astype(jnp.float32)


def as_bytes(picture: Shaped[Array, "h w c"]) -> UInt8[Array, "h w c"]:
    """Return a picture of numbers from 0 to 1 as uint8; one that is uint8 comes back untouched."""
    if picture.dtype == jnp.uint8:
        return picture
    return jnp.rint(255.0 * jnp.clip(picture.astype(jnp.float32), 0.0, 1.0)).astype(jnp.uint8)


def fit(picture: UInt8[Array, "h w c"], size: int) -> UInt8[Array, "size size c"]:
    """Make a picture square: a larger one is reduced by area, a smaller one enlarged a whole number
    of times and centred on black, so that its tiles stay sharp."""
    height, width, _ = picture.shape
    if max(height, width) > size:
        rows, columns = _area(height, size), _area(width, size)
        small = jnp.einsum("ih,hwc,jw->ijc", rows, picture.astype(jnp.float32), columns)
        return jnp.rint(jnp.clip(small, 0.0, 255.0)).astype(jnp.uint8)
    times = size // max(height, width)
    large = picture.repeat(times, 0).repeat(times, 1)
    gaps = [size - side for side in large.shape[:2]]
    return jnp.pad(large, [*((gap // 2, gap - gap // 2) for gap in gaps), (0, 0)])


def _area(before: int, after: int) -> np.ndarray:
    """Return (after, before) weights: the share of each old pixel in each new one."""
    edges = np.linspace(0.0, before, after + 1)
    pixels = np.arange(before)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return (np.clip(high - low, 0.0, None) * after / before).astype(np.float32)


def _limit(params: Any) -> tuple[str, int | None]:
    """Name the field of the time limit and its value."""
    for name in _LIMITS:
        if hasattr(params, name) and dataclasses.is_dataclass(params):
            return name, int(getattr(params, name))
    return "", None


def _action_space(env: Any, params: Any) -> spaces.Discrete | spaces.Box:
    space = env.action_space(params)
    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    if hasattr(space, "low") and hasattr(space, "shape"):
        shape = tuple(space.shape)
        low, high = (np.broadcast_to(np.float32(end), shape) for end in (space.low, space.high))
        return spaces.Box(low, high, shape, np.float32)
    raise UsageError(
        f"{type(env).__name__} acts by a {type(space).__name__}: choices and bounded numbers are"
        " served; give it an action_space with n, or with low, high and shape"
    )
