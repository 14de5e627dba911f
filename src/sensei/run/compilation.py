"""How the training step is compiled, and where compiled programs are kept between processes."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import equinox as eqx
import jax

from sensei.core.training import train_step
from sensei.run.elsewhere import Elsewhere

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


@functools.cache
def fast_train_step() -> Elsewhere:
    """``core.training.train_step``, compiled where that leaves it fastest."""
    step = train_step.__wrapped__  # type: ignore[attr-defined]  # before its own filter_jit
    return Elsewhere(step, eqx.filter_jit(step, donate="all-except-first"))
