"""Compiled programs kept between processes: the second run of a configuration starts at once."""

from __future__ import annotations

import os
from pathlib import Path

import jax

VARIABLE = "SENSEI_CACHE_DIR"


def cache_folder() -> Path:
    """The user's cache folder for sensei: $SENSEI_CACHE_DIR, else below $XDG_CACHE_HOME."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sensei"


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, unless the user has set one."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
