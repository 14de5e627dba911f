"""A numpy array out of a pickle without running the pickle.

Unpickling calls what the file names, and an allow-list of numpy's own names is no protection: with
a crafted dtype they read foreign memory. So nothing is called here. The opcodes are read as data,
and the file is accepted only if what they describe is exactly what numpy writes for one array of
bytes; the pixels are then mapped from where they lie in the file, however large it is.
"""

from __future__ import annotations

import dataclasses
import pickletools
import warnings
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from sensei.types import SenseiError

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_RAW = {"BINBYTES8": 8, "BYTEARRAY8": 8, "BINBYTES": 4, "SHORT_BINBYTES": 1}
"""Opcodes of byte strings, and how many bytes their length takes."""
_TEXT = {"BINUNICODE": 4, "SHORT_BINUNICODE": 1}
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}
_LONGEST_TEXT = 100
"""More than any name or type in an array's pickle; what is longer is not even read."""
_KNOWN = {
    *_NUMBERS,
    *_CONSTANTS,
    *_TUPLES,
    *_IGNORED,
    *("MARK", "TUPLE", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "STOP"),
}
_MARK = object()


@dataclasses.dataclass(frozen=True)
class _Raw:
    """Bytes that stay in the file."""

    at: int
    length: int


@dataclasses.dataclass(frozen=True)
class _Name:
    """Something importable, by its name alone."""

    name: str


@dataclasses.dataclass
class _Call:
    """A call that the pickle asks for, with the state that it wants set; neither happens."""

    function: Any
    arguments: Any
    state: Any = None


class _Refused(Exception):
    """Why the file is not read."""


def map_array(path: Path) -> np.ndarray:
    """Map the uint8 array that a pickle of protocol 3 to 5 holds, read-only.

    Raises:
        SenseiError: it cannot be read, or describes anything but one plain uint8 array.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Damaged text may hold an escape that Python only warns of.
            warnings.simplefilter("ignore", DeprecationWarning)
            raw, shape, order = _plain_array(_described(file))
        return np.memmap(path, np.uint8, "r", raw.at, shape, cast(Any, order))
    except (OSError, _Refused, ValueError, IndexError, KeyError, TypeError) as error:
        raise SenseiError(
            f"{path} is not read, because it is no plain pickle of one uint8 array: {error}. "
            "Nothing in it was run. If you trust it, save the array as images.npy beside it"
        ) from error


def _described(file: BinaryIO) -> Any:
    """Build what the opcodes describe, with calls left as they are written."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    while True:
        opcode = _OPCODES.get(file.read(1).decode("latin-1"))
        if opcode is None:
            raise _Refused(f"it ends or has no valid opcode at byte {file.tell()}")
        if opcode.name in _RAW:
            stack.append(_raw(file, _RAW[opcode.name]))
            continue
        if opcode.name in _TEXT:
            stack.append(_text(file, _TEXT[opcode.name]))
            continue
        if opcode.name not in _KNOWN:
            raise _Refused(f"it uses the opcode {opcode.name}")
        argument = opcode.arg.reader(cast(Any, file)) if opcode.arg else None
        if opcode.name == "STOP":
            return stack.pop()
        _apply(opcode.name, argument, stack, memo)


def _raw(file: BinaryIO, width: int) -> _Raw:
    raw = _Raw(at=file.tell() + width, length=int.from_bytes(file.read(width), "little"))
    file.seek(raw.length, 1)
    return raw


def _text(file: BinaryIO, width: int) -> str:
    length = int.from_bytes(file.read(width), "little")
    if length > _LONGEST_TEXT:
        raise _Refused(f"it holds a text of {length} bytes")
    return file.read(length).decode()


def _apply(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _NUMBERS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _TUPLES:
        stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "TUPLE":
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        stack[at:] = [tuple(stack[at + 1 :])]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "GLOBAL":
        stack.append(_Name(argument.replace(" ", ".")))
    elif name == "STACK_GLOBAL":
        stack[-2:] = [_Name(f"{stack[-2]}.{stack[-1]}")]
    elif name == "REDUCE":
        stack[-2:] = [_Call(stack[-2], stack[-1])]
    elif name == "BUILD":
        state = stack.pop()
        if not isinstance(stack[-1], _Call):
            raise _Refused("it sets the state of something that it did not make")
        stack[-1].state = state


def _plain_array(described: Any) -> tuple[_Raw, tuple[int, ...], str]:
    """Return where the bytes are, the shape, and C or F, of what must be an array's pickle."""
    function, arguments, state = _call(described)
    if function.endswith(".numeric._frombuffer"):  # protocol 5
        raw, dtype, shape, order = arguments
    elif function.endswith(".multiarray._reconstruct"):  # protocols 3 and 4
        _, shape, dtype, fortran, raw = state
        order = "F" if fortran else "C"
    else:
        raise _Refused(f"it names {function}")
    _check_bytes(dtype)
    if not isinstance(raw, _Raw) or order not in ("C", "F"):
        raise _Refused("its pixels are not stored as bytes")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise _Refused("its shape is not made of whole numbers")
    if int(np.prod(shape, dtype=object)) != raw.length:
        raise _Refused(f"its shape {shape} does not fit its {raw.length} bytes")
    return raw, shape, order


def _call(described: Any) -> tuple[str, Any, Any]:
    if not isinstance(described, _Call) or not isinstance(described.function, _Name):
        raise _Refused(f"it holds a {type(described).__name__.lstrip('_').lower()}")
    name = described.function.name
    if name.split(".")[0] != "numpy":
        raise _Refused(f"it names {name}")
    return name, described.arguments, described.state


def _check_bytes(dtype: Any) -> None:
    function, arguments, _ = _call(dtype)
    if function != "numpy.dtype" or arguments[0] != "u1":
        raise _Refused("its numbers are not bytes")
