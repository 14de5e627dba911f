"""Environments: presets, the adapter for any ``gymnasium.Env``, and the pool of workers."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from sensei.envs.config import EnvConfig
from sensei.envs.contract import Adapter, LabelView, Row, row_fields, wrap_env
from sensei.envs.findings import describe
from sensei.envs.vector import slots
from sensei.types import SenseiError, UsageError

PRESETS = {
    "craftax": "sensei.envs.craftax:craftax",
    "craftax-classic": "sensei.envs.craftax:craftax_classic",
    "crafter": "sensei.envs.crafter:Crafter",
    "keychest": "sensei.envs.minihack:KeyChest",
    "keyquest": "sensei.envs.keyquest:KeyQuest",
    "keyroom": "sensei.envs.minihack:KeyRoom",
    "keyroom-s5": "sensei.envs.minihack:KeyRoomS5",
    "robodesk": "sensei.envs.robodesk:RoboDesk",
    "navix": "sensei.envs.navix:navix",
    "pokemon": "sensei.envs.pokemon:PokemonRed",
    "tiny": "sensei.envs.tiny:TinyRooms",
}
"""Short names of environments, as ``module:callable``."""

__all__ = [
    "PRESETS",
    "Adapter",
    "EnvConfig",
    "LabelView",
    "Row",
    "describe",
    "make_adapter",
    "make_adapters",
    "make_env",
    "makes_batch",
    "row_fields",
    "wrap_env",
]


def make_env(name: str, seed: int = 0, **options: Any) -> gymnasium.Env[Any, Any]:
    """Make an environment: a preset's name, ``gym:ID``, ``minihack:ID`` or ``module:callable``.

    ``options`` go to the environment. ``seed`` reaches a callable with a parameter of that name;
    episodes are seeded anyway by each reset.

    Raises
    ------
    UsageError
        For a name that means nothing, with the nearest names that do.
    SenseiError
        When the environment's package is missing.
    """
    env = _make(name, seed, options, 1)
    if isinstance(env, VectorEnv):
        raise SenseiError(f"{name} is a vector environment; a run takes it, make_env makes one")
    return env


def make_adapters(config: EnvConfig, seed: int, indices: range) -> list[Adapter]:
    """Make the canonical environments ``indices`` of a run as ``config`` says.

    A vector environment is made once and gives an adapter for each of its environments; one that
    makes batches of itself is alone.
    """
    first = _make_for_agent(config, seed + indices.start, len(indices))
    render = bool(config.options.get("render", False))
    if isinstance(first, VectorEnv):
        return [wrap_env(env, config.image_size, render) for env in slots(first, len(indices))]
    more = indices[:0] if makes_batch(first, config) else indices[1:]
    others = [_make_for_agent(config, seed + index, 1) for index in more]
    return [wrap_env(env, config.image_size, render) for env in (first, *others)]


def makes_batch(env: gymnasium.Env[Any, Any], config: EnvConfig) -> bool:
    """Tell whether ``env`` steps as many copies of itself as one program."""
    # A wrapper around the environment would be left out of a batch, and so would its render().
    return hasattr(env, "make_batch") and not config.options.get("render")


def make_adapter(config: EnvConfig, seed: int = 0) -> Adapter:
    """Make one canonical environment as ``config`` says."""
    return make_adapters(config, seed, range(1))[0]


def _make_for_agent(
    config: EnvConfig, seed: int, count: int
) -> gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    options = dict(config.options)
    if options.pop("render", False) and config.name.startswith("gym:"):
        options.setdefault("render_mode", "rgb_array")
    env = _make(config.name, seed, options, count)
    if config.time_limit is None:
        return env
    if isinstance(env, VectorEnv):
        raise UsageError(
            f"env.time_limit is {config.time_limit}, but {config.name} is a vector environment:"
            " limit its episodes by an option of its own"
        )
    return gymnasium.wrappers.TimeLimit(env, config.time_limit)


def _make(
    name: str, seed: int, options: dict[str, Any], count: int
) -> gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    """Make one environment, or a vector environment of ``count``."""
    if name.startswith("gym:"):
        return _make_gym(name.removeprefix("gym:"), options, count)
    if name.startswith("minihack:"):
        options = {"env_id": name.removeprefix("minihack:")} | options
        return _call(name, "sensei.envs.minihack_registered:make_level", {"seed": seed}, options)
    target = PRESETS.get(name, name)
    if ":" not in target:
        raise UsageError(f"unknown environment {name!r}; {_nearest(name)}")
    return _call(name, target, {"seed": seed, "num_envs": count}, options)


def _make_gym(
    env_id: str, options: dict[str, Any], count: int
) -> gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    if env_id.startswith("MiniHack-"):
        raise UsageError(f"--env gym:{env_id} has no pictures: use --env minihack:{env_id}")
    try:
        if "vectorization_mode" in options:
            return gymnasium.make_vec(env_id, count, **options)
        return gymnasium.make(env_id, disable_env_checker=True, **options)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DependencyNotInstalled) as error:
        close = difflib.get_close_matches(env_id, list(gymnasium.registry), 3, 0.5)
        near = f"; near: {', '.join(f'gym:{n}' for n in close)}" if close else ""
        raise UsageError(f"--env gym:{env_id}: {_one_line(error)}{near}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"--env gym:{env_id} refuses {options}: {_one_line(error)}") from error


def _call(
    name: str, target: str, given: dict[str, int], options: dict[str, Any]
) -> gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    """Call ``module:callable`` with ``options`` and what it has parameters for in ``given``."""
    module_name, _, attribute = target.partition(":")
    if os.getcwd() not in sys.path:
        # A console script does not look for modules where the user stands; --env means it to.
        sys.path.append(os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        hint = _nearest(name) if error.name == module_name else f"install {error.name}"
        raise UsageError(f"--env {name}: no module {error.name!r}; {hint}") from error
    except AttributeError as error:
        near = difflib.get_close_matches(attribute, dir(importlib.import_module(module_name)), 3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise UsageError(f"--env {name}: {module_name} has no {attribute!r}{hint}") from error
    known = _parameters(factory)
    options = {key: value for key, value in given.items() if key in known} | options
    wrong = set(options) - known if "**" not in known else set()
    if wrong:
        raise UsageError(
            f"--env {name} has no option {', '.join(sorted(wrong))}; it has"
            f" {', '.join(sorted(known)) or 'none'}"
        )
    return _checked_env(name, factory(**options))


def _checked_env(name: str, env: Any) -> gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    if isinstance(env, gymnasium.Env | VectorEnv):
        return env
    raise SenseiError(
        f"--env {name} made a {type(env).__name__}, not a gymnasium.Env; return a gymnasium.Env"
    )


def _parameters(factory: Any) -> set[str]:
    """Names that a callable takes by keyword; ``**`` stands for any."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {"**"}
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return names | ({"**"} if any(p.kind is p.VAR_KEYWORD for p in parameters) else set())


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, PRESETS, 3, 0.4)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}use {', '.join(PRESETS)}, gym:ID, minihack:ID or module:callable"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
