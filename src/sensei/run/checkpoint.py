"""Checkpoints: any pytree of arrays as one safetensors file, with the file before it in reserve.

Every array leaf is stored under its JAX key path (``.agent.params['w']``), a typed PRNG key as its
key data. Leaves that are not arrays or numbers (activation functions, say) come from ``like``.
The header's metadata hold the format version, the caller's ``meta`` as JSON and a checksum.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from sensei.run.files import atomic_write, previous
from sensei.types import SenseiError

FORMAT = "sensei-checkpoint"
VERSION = 1

_DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}
_STORABLE = {np.dtype(dtype) for dtype in _DTYPES.values()}


class Contents(NamedTuple):
    """A checkpoint file, read and verified."""

    arrays: dict[str, np.ndarray]
    """Array by key path."""
    keys: dict[str, str]
    """Key path of each PRNG key → its implementation, e.g. ``threefry2x32``."""
    meta: dict[str, Any]


Migration = Callable[[Contents], Contents]
MIGRATIONS: dict[int, Migration] = {}
"""Version n → the function that turns its contents into version n + 1."""


class _Damaged(Exception):
    """The file is torn or changed; the one before it may be whole."""


def save(path: Path | str, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Write ``tree`` and ``meta`` atomically; the file before stays as ``<name>.prev``.

    Args:
        path: the file, e.g. ``checkpoint.safetensors``.
        tree: pytree whose leaves are JAX or numpy arrays, PRNG keys, numbers, or callables
            (which are not stored).
        meta: JSON-able counters, cursors and ``rng_state`` of numpy generators.
    """
    arrays: dict[str, np.ndarray] = {}
    keys: dict[str, str] = {}
    for leaf_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(leaf_path)
        if _is_key(leaf):
            keys[name] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        if _is_stored(leaf):
            arrays[name] = _host_array(name, leaf)
    atomic_write(path, _encode(Contents(arrays, keys, meta or {})), keep_previous=True)


def load(path: Path | str, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read a checkpoint into the structure of ``like``; return it and the metadata.

    Every stored array must have its leaf in ``like`` with the same shape and dtype, and the
    other way round, or ``SenseiError`` names the first that has not. numpy leaves come back
    as numpy, all others as JAX arrays. A damaged file is replaced by the one before it, with
    a warning.
    """
    contents = _read_or_previous(Path(path))
    return _rebuild(Path(path), contents, like, prefix=""), contents.meta


def load_part(path: Path | str, like: Any, prefix: str) -> Any:
    """Read only the subtree at key path ``prefix``, e.g. ``.agent.world_model``."""
    contents = _read_or_previous(Path(path))
    inside = [name for name in contents.arrays if _is_inside(name, prefix)]
    if not inside:
        first = next(iter(contents.arrays), "nothing")
        raise SenseiError(f"{path} holds nothing below {prefix!r}; its first entry is {first!r}")
    arrays = {name: contents.arrays[name] for name in inside}
    return _rebuild(Path(path), contents._replace(arrays=arrays), like, prefix)


def read_meta(path: Path | str) -> dict[str, Any]:
    """Read the metadata alone."""
    return _read_or_previous(Path(path)).meta


def exists(path: Path | str) -> bool:
    """Whether there is a checkpoint to resume from, the reserve included."""
    return Path(path).exists() or previous(Path(path)).exists()


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return the JSON-able state of a ``np.random.default_rng`` generator."""
    state = dict(rng.bit_generator.state)
    if state["bit_generator"] != "PCG64":
        raise ValueError(f"only PCG64 generators are saved, not {state['bit_generator']}")
    return state


def rng_from_state(state: dict[str, Any]) -> np.random.Generator:
    """Return the generator whose ``rng_state`` this is; it goes on as if never saved."""
    bits = np.random.PCG64()
    bits.state = cast(Any, state)
    return np.random.Generator(bits)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_stored(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float)


def _host_array(name: str, leaf: Any) -> np.ndarray:
    array = np.asarray(leaf, order="C")
    if array.dtype not in _STORABLE:
        raise SenseiError(f"checkpoint leaf {name!r} has dtype {array.dtype}, which has no format")
    return array


def _encode(contents: Contents) -> bytes:
    texts = {"meta": json.dumps(contents.meta), "keys": json.dumps(contents.keys)}
    header = {"format": FORMAT, "version": str(VERSION), **texts}
    header["crc32"] = str(_checksum(contents.arrays, texts))
    return safetensors.numpy.save(contents.arrays, header)


def _checksum(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> int:
    code = zlib.crc32((texts["meta"] + texts["keys"]).encode())
    for name in sorted(arrays):
        code = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), code))
    return code


def _read_or_previous(path: Path) -> Contents:
    try:
        return _read(path)
    except (_Damaged, FileNotFoundError) as error:
        reserve = previous(path)
        if not reserve.exists():
            raise SenseiError(
                f"checkpoint {path} cannot be read ({error}) and there is none before it: "
                "redo the stage with --force"
            ) from error
        contents = _read_reserve(path, reserve)
        warnings.warn(f"{path} is damaged ({error}); continuing from {reserve}", stacklevel=3)
        # Out of the way, or the next save would overwrite the good reserve with the damaged file.
        with contextlib.suppress(OSError):
            os.replace(path, path.with_name(path.name + ".damaged"))
        return contents


def _read_reserve(path: Path, reserve: Path) -> Contents:
    try:
        return _read(reserve)
    except _Damaged as error:
        raise SenseiError(
            f"checkpoints {path} and {reserve.name} are both damaged ({error}): "
            "redo the stage with --force"
        ) from error


def _read(path: Path) -> Contents:
    data = path.read_bytes()
    try:
        tensors = safetensors.deserialize(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError) as error:
        raise _Damaged(str(error)) from error
    if header.get("format") != FORMAT:
        raise SenseiError(f"{path} is not a sensei checkpoint: name a run's own file")
    arrays = {name: _array(view) for name, view in tensors}
    return _migrate(path, int(header["version"]), _verified(arrays, header))


def _verified(arrays: dict[str, np.ndarray], header: dict[str, str]) -> Contents:
    if int(header["crc32"]) != _checksum(arrays, header):
        raise _Damaged("checksum differs")
    return Contents(arrays, json.loads(header["keys"]), json.loads(header["meta"]))


def _array(view: dict[str, Any]) -> np.ndarray:
    # A copy, because an array over the file's bytes would be read-only.
    return np.frombuffer(view["data"], _DTYPES[view["dtype"]]).reshape(view["shape"]).copy()


def _migrate(path: Path, version: int, contents: Contents) -> Contents:
    if version > VERSION:
        raise SenseiError(
            f"{path} has format version {version}, this sensei reads up to {VERSION}: update sensei"
        )
    for step in range(version, VERSION):
        contents = MIGRATIONS[step](contents)
    return contents


def _rebuild(path: Path, contents: Contents, like: Any, prefix: str) -> Any:
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [prefix + jax.tree_util.keystr(leaf_path) for leaf_path, _ in leaves]
    wanted = {name for name, (_, leaf) in zip(names, leaves, strict=True) if _is_stored(leaf)}
    unexpected = [name for name in contents.arrays if name not in wanted]
    restored = [
        _restore(path, contents, name, leaf) if name in wanted else leaf
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    if unexpected:
        raise _mismatch(path, unexpected[0], "is stored, but this configuration has no such part")
    return jax.tree_util.tree_unflatten(structure, restored)


def _restore(path: Path, contents: Contents, name: str, leaf: Any) -> Any:
    array = contents.arrays.get(name)
    if array is None:
        raise _mismatch(path, name, "is missing")
    if _is_key(leaf) != (name in contents.keys):
        raise _mismatch(path, name, "is a random key on one side only")
    if _is_key(leaf):
        return _restore_key(path, name, array, contents.keys[name], leaf)
    if not hasattr(leaf, "dtype"):
        return type(leaf)(array.item())
    if array.shape != tuple(leaf.shape) or array.dtype != leaf.dtype:
        stored, asked = f"{array.dtype}{list(array.shape)}", f"{leaf.dtype}{list(leaf.shape)}"
        raise _mismatch(path, name, f"is {stored}, but this configuration needs {asked}")
    return array if isinstance(leaf, np.ndarray | np.generic) else jnp.asarray(array)


def _restore_key(path: Path, name: str, array: np.ndarray, kind: str, leaf: Any) -> Any:
    key = jax.random.wrap_key_data(jnp.asarray(array), impl=kind)
    if key.shape != tuple(leaf.shape) or key.dtype != leaf.dtype:
        stored, asked = f"{key.dtype}{list(key.shape)}", f"{leaf.dtype}{list(leaf.shape)}"
        raise _mismatch(path, name, f"is {stored}, but this configuration needs {asked}")
    return key


def _mismatch(path: Path, name: str, what: str) -> SenseiError:
    return SenseiError(
        f"checkpoint {path} does not fit: {name!r} {what}; use the run's own configuration, "
        "or redo the stage with --force"
    )


def _is_inside(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) :][:1] in ("", ".", "[")
