"""Craftax and Craftax-Classic: Crafter written anew in JAX, for thousands of copies on a device.

The games are the package craftax (Matthews et al. 2024).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sensei.envs import crafter_facts
from sensei.envs.gymnax import as_bytes, from_gymnax
from sensei.envs.jaxenvs import JaxEnv
from sensei.types import SenseiError

_BLOCKS = {"table": "CRAFTING_TABLE"}
"""Names of blocks that are not Crafter's in capitals."""
T = TypeVar("T")
_MAKE_AGAIN = "CRAFTAX_RELOAD_TEXTURES"
"""The package's own variable: do not read the cache of textures, make it."""
_VITALS = ("health", "food", "drink", "energy")


def craftax_classic(max_episode_steps: int = 10_000, image_size: int = 64) -> JaxEnv:
    """Craftax-Classic: Crafter's world and rules, 17 actions, 22 achievements."""
    constants = _module("craftax_classic.constants")
    blocks = _leading_blocks(constants.BlockType)

    def score(state: Any) -> Float[Array, ""]:
        level = crafter_facts.level(vars(state.inventory))
        shown = _shown(state, constants)
        near = (shown[:, :, None] == jnp.asarray(blocks)[level]).any()
        return level + crafter_facts.NEAR * near

    return _make(
        "craftax_classic", "Craftax-Classic-Pixels-v1", max_episode_steps, image_size, score
    )


def craftax(max_episode_steps: int = 10_000, image_size: int = 64) -> JaxEnv:
    """Craftax: nine floors, 43 actions, 67 achievements."""

    def score(state: Any) -> Float[Array, ""]:
        return state.achievements.sum()

    return _make("craftax", "Craftax-Pixels-v1", max_episode_steps, image_size, score)


def _make(part: str, level: str, limit: int, image_size: int, score: Any) -> JaxEnv:
    make, renderer = _module("craftax_env"), _module(f"{part}.renderer")
    constants = _module(f"{part}.constants")
    size = constants.BLOCK_PIXEL_SIZE_IMG
    game = with_textures(lambda: make.make_craftax_env_from_name(level, auto_reset=False))
    draw = with_textures(lambda: renderer.make_craftax_pixel_renderer(size))
    names = sorted(constants.Achievement, key=lambda achievement: achievement.value)
    return from_gymnax(
        game,
        max_episode_steps=limit,
        image_size=image_size,
        events=tuple(name.name.lower() for name in names),
        count=_unlocked,
        score=score,
        label=lambda state: as_bytes(draw(state) / 255.0),
        text=_text,
    )


def _unlocked(before: Any, after: Any) -> Int[Array, " e"]:
    return after.achievements.astype(jnp.int32) - before.achievements.astype(jnp.int32)


def _shown(state: Any, constants: Any) -> Int[Array, "rows columns"]:
    """The blocks that the view shows."""
    rows, columns = constants.OBS_DIM
    outside = constants.BlockType.OUT_OF_BOUNDS.value
    edge = ((rows // 2,) * 2, (columns // 2,) * 2)
    padded = jnp.pad(state.map, edge, constant_values=outside)
    return jax.lax.dynamic_slice(padded, state.player_position, (rows, columns))


def _leading_blocks(kinds: Any) -> np.ndarray:
    """Codes of the blocks that lead on from each level, (8, 2); -1 where there are fewer."""
    codes = np.full((len(crafter_facts.LEADS_ON), 2), -1)
    for level, names in enumerate(crafter_facts.LEADS_ON):
        for number, name in enumerate(names):
            codes[level, number] = kinds[_BLOCKS.get(name, name.upper())].value
    return codes


def _text(state: Any) -> str:
    vitals = ", ".join(f"{name} {int(getattr(state, f'player_{name}'))}" for name in _VITALS)
    items = {name: np.asarray(count) for name, count in vars(state.inventory).items()}
    carried = [
        f"{int(count.sum())} {name.replace('_', ' ')}"
        for name, count in items.items()
        if count.any()
    ]
    return f"Condition: {vitals}\nInventory: {', '.join(carried) or 'nothing'}"


def _module(name: str) -> Any:
    try:
        return with_textures(lambda: importlib.import_module(f"craftax.{name}"))
    except ImportError as error:
        raise SenseiError(
            "--env craftax and craftax-classic need the extra `jaxenvs`:"
            f" pip install 'sensei-rl[jaxenvs]' ({error})"
        ) from error


def with_textures(call: Callable[[], T]) -> T:
    """Let the package read its cache of textures; one whose writing was cut short is made again.

    Making it takes a minute. The package tells of either on standard output.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return call()
        except EOFError:
            os.environ[_MAKE_AGAIN] = "1"
            try:
                return call()
            finally:
                del os.environ[_MAKE_AGAIN]
