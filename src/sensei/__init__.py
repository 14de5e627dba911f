"""Semantic exploration for world models.

    sensei.run("keychest", budget="quick")      # the whole pipeline; resumes
    sensei.wrap_env(env)                        # any gymnasium.Env in our terms
    player = sensei.load("runs/keychest-quick") # then player.act(observation)

Names are imported when they are first used, so environment workers stay light.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

# Bound before the function below takes the name: Python sets a parent's attribute when a
# subpackage is first imported, and would otherwise put the package in the function's place.
import sensei.run  # noqa: F401

if TYPE_CHECKING:
    from sensei.envs import make_env, wrap_env
    from sensei.player import load
    from sensei.presets import RunConfig, preset
    from sensei.run.workspace import Workspace
    from sensei.types import SenseiError

    __version__: str

__all__ = [
    "RunConfig",
    "SenseiError",
    "__version__",
    "load",
    "make_env",
    "preset",
    "run",
    "wrap_env",
]

_HOMES = {
    "RunConfig": "sensei.presets",
    "SenseiError": "sensei.types",
    "load": "sensei.player",
    "make_env": "sensei.envs",
    "preset": "sensei.presets",
    "wrap_env": "sensei.envs",
}


def run(  # type: ignore[no-redef]
    name: str | RunConfig = "keychest",
    budget: str = "quick",
    *,
    size: str | None = None,
    method: str = "sensei",
    dir: str | None = None,
    force: bool = False,
    fields: Mapping[str, Any] | None = None,
) -> Workspace:
    """Run the whole pipeline, or continue it: see ``sensei.stages.pipeline.run``."""
    from sensei.stages import pipeline

    return pipeline.run(name, budget, size=size, method=method, dir=dir, force=force, fields=fields)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("sensei-rl")
    if name not in _HOMES:
        raise AttributeError(f"module 'sensei' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
