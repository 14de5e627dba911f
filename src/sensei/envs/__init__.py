"""Environments: presets, the adapter for any ``gymnasium.Env``, and the pool of workers."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from typing import Any

import gymnasium

from sensei.envs.config import EnvConfig
from sensei.envs.contract import Adapter, LabelView, Row, describe, row_fields, wrap_env
from sensei.types import SenseiError, UsageError

PRESETS = {
    "craftax": "sensei.envs.craftax:craftax",
    "craftax-classic": "sensei.envs.craftax:craftax_classic",
    "crafter": "sensei.envs.crafter:Crafter",
    "keychest": "sensei.envs.minihack:KeyChest",
    "keyquest": "sensei.envs.keyquest:KeyQuest",
    "keyroom": "sensei.envs.minihack:KeyRoom",
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
    "make_env",
    "row_fields",
    "wrap_env",
]


def make_env(name: str, seed: int = 0, **options: Any) -> gymnasium.Env[Any, Any]:
    """Make an environment from a preset's name, ``gym:ID`` or ``module:callable``.

    ``options`` go to the environment. ``seed`` reaches a callable with a parameter of that name;
    episodes are seeded anyway by each reset.

    Raises
    ------
    UsageError
        For a name that means nothing, with the nearest names that do.
    SenseiError
        When the environment's package is missing.
    """
    if name.startswith("gym:"):
        return _make_gym(name.removeprefix("gym:"), options)
    target = PRESETS.get(name, name)
    if ":" not in target:
        raise UsageError(f"unknown environment {name!r}; {_nearest(name)}")
    return _call(name, target, seed, options)


def make_adapter(config: EnvConfig, seed: int = 0) -> Adapter:
    """Make one canonical environment as ``config`` says."""
    options = dict(config.options)
    render = bool(options.pop("render", False))
    if render and config.name.startswith("gym:"):
        options.setdefault("render_mode", "rgb_array")
    env = make_env(config.name, seed, **options)
    return wrap_env(env, config.image_size, render=render)


def _make_gym(env_id: str, options: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        return gymnasium.make(env_id, disable_env_checker=True, **options)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DependencyNotInstalled) as error:
        close = difflib.get_close_matches(env_id, list(gymnasium.registry), 3, 0.5)
        near = f"; near: {', '.join(f'gym:{n}' for n in close)}" if close else ""
        raise UsageError(f"--env gym:{env_id}: {_one_line(error)}{near}") from error
    except TypeError as error:
        raise UsageError(f"--env gym:{env_id} refuses {options}: {_one_line(error)}") from error


def _call(name: str, target: str, seed: int, options: dict[str, Any]) -> gymnasium.Env[Any, Any]:
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
    if "seed" in known:
        options = {"seed": seed} | options
    wrong = set(options) - known if "**" not in known else set()
    if wrong:
        raise UsageError(
            f"--env {name} has no option {', '.join(sorted(wrong))}; it has"
            f" {', '.join(sorted(known)) or 'none'}"
        )
    return _checked_env(name, factory(**options))


def _checked_env(name: str, env: Any) -> gymnasium.Env[Any, Any]:
    if isinstance(env, gymnasium.Env):
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
    return f"{hint}use {', '.join(PRESETS)}, gym:ID or module:callable"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
