"""How the training step is compiled, and where compiled programs are kept between processes."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from sensei.core.training import train_step
from sensei.run.elsewhere import Elsewhere

VARIABLE = "SENSEI_CACHE_DIR"
LOOP_EMITTERS = {"xla_cpu_use_fusion_emitters": False}
"""XLA's older code for fused loops: what a process had better use that compiled it itself, on two
cores; for one that loads it, XLA's default is faster (results/bench/loaded-xs.json)."""


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
    """``core.training.train_step``, compiled with what is fastest on this machine."""
    step = train_step.__wrapped__  # type: ignore[attr-defined]  # before its own filter_jit
    how: dict[str, Any] = {"donate": "all-except-first", "compiler_options": fast_options()}
    return Elsewhere(step, eqx.filter_jit(step, **how), options={})


def fast_options() -> dict[str, bool]:
    """Compiler options for this machine; none where XLA does not know them, or on a GPU."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=LOOP_EMITTERS).lower().compile()
    except RuntimeError:
        return {}
    return LOOP_EMITTERS
