"""Compile the training step in another process, and load it from JAX's persistent cache.

Compiling leaves a process's one heap in pieces, and every later update pays for that
(docs/performance.md). So a short-lived process compiles, and this one loads what that one left.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jax.export import Exported, export

from sensei.envs.worker import import_path

log = logging.getLogger(__name__)


class Elsewhere:
    """A step that another process compiles."""

    def __init__(self, step: Callable, here: Callable) -> None:
        """Compile nothing yet.

        Args:
            step: (fixed, state) → anything, all pytrees; the arrays in ``state`` are donated.
            here: does the same, compiled in this process; used where the other one is no help.
        """
        self.step, self.here = step, here
        self.ready: dict[Hashable, Callable] = {}

    def __call__(self, fixed: Any, state: Any) -> Any:
        """Make the step. ``state`` is consumed."""
        return self.compiled(fixed, state)(fixed, state)

    def compiled(self, fixed: Any, state: Any) -> Callable:
        """What makes the step for arrays of these shapes, compiled if it was not before."""
        leaves, structure, rest = _flat((fixed, state))
        key = (structure, *((x.shape, x.dtype) for x in leaves), *jax.tree.leaves(rest))
        if key not in self.ready:
            self.ready[key] = self._loaded(fixed, state) or self.here
        return self.ready[key]

    def _loaded(self, fixed: Any, state: Any) -> Callable | None:
        folder = jax.config.values["jax_compilation_cache_dir"]
        if folder is None or jax.default_backend() != "cpu":
            return None
        given, structures, rests = zip(*map(_flat, (fixed, state)), strict=True)
        made: list[Any] = []

        def flat_step(*lists: list) -> list:
            leaves, *others = _flat(self.step(*map(_whole, lists, structures, rests)))
            made.extend(others)
            return leaves

        exported = export(jax.jit(flat_step, donate_argnums=1))(*given)
        program = load(exported, Path(folder))
        if program is None:
            return None
        return lambda *args: _whole(program(*(_flat(x)[0] for x in args)), *made)


def load(exported: Exported, folder: Path) -> Callable | None:
    """Load a step from the cache in ``folder``, where another process puts it if it is not there.

    Returns:
        (list of arrays, list of donated arrays) → list of arrays; None if the other process failed.
    """
    # Where in the source it comes from is no part of a program.
    text = re.sub(r"^#loc.*|#loc\d*", "", exported.mlir_module(), flags=re.MULTILINE)
    made_by = (jax.__version__, os.environ.get("XLA_FLAGS"))
    name = f"train_step_{hashlib.sha256(f'{made_by}{text}'.encode()).hexdigest()[:16]}"
    kept = lambda: any(folder.glob(f"jit_{name}-*"))
    said = "" if kept() else _start(exported, name, folder)
    if kept():
        return compile_exported(exported, name)
    log.warning("the update is compiled in this process, because another one failed: %s", said)
    return None


def compile_exported(exported: Exported, name: str) -> Callable:
    """Compile an exported step, or load it; done by both processes, so that they agree."""

    def call(*lists: list) -> Any:
        return exported.call(*lists)

    call.__name__ = name  # which the file in the cache begins with
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in exported.in_avals]
    lists, _ = jax.tree.unflatten(exported.in_tree, shapes)
    return jax.jit(call, donate_argnums=1).lower(*lists).compile()


def _start(exported: Exported, name: str, folder: Path) -> str:
    """Let another process compile, and wait; return the last line of its complaints."""
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": import_path(),
    }
    try:
        # Pickle will do between two of our own; the gradient is a closure and not needed.
        given = pickle.dumps((dataclasses.replace(exported, _get_vjp=None), name))
        # An interrupt asks this process to stop, which still needs the step: hence the session.
        ran = subprocess.run(
            [sys.executable, "-m", __name__],
            input=given,
            env=os.environ | settings,
            capture_output=True,
            start_new_session=True,
        )
    except (OSError, TypeError, pickle.PicklingError) as error:
        return str(error)
    return ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]


def _flat(tree: Any) -> tuple[list, Any, Any]:
    """The arrays of a tree, their structure, and what else it holds."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return *jax.tree.flatten(arrays), rest


def _whole(leaves: list, structure: Any, rest: Any) -> Any:
    return eqx.combine(jax.tree.unflatten(structure, leaves), rest)


if __name__ == "__main__":
    compile_exported(*pickle.load(sys.stdin.buffer))
