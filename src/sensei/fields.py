"""Configurations as plain values: to YAML, from YAML, and by dotted name, with useful errors.

Every configuration is a frozen dataclass of numbers, strings, tuples and further dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from sensei.types import UsageError

Config = TypeVar("Config")


def to_plain(value: Any) -> Any:
    """Turn a configuration into nested dicts and lists, fit for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple | list) else value


def updated(config: Config, plain: Mapping[str, Any], where: str = "") -> Config:
    """Return ``config`` with the fields that ``plain`` (nested, maybe partial) names.

    Raises:
        UsageError: an unknown field, with the nearest known one, or a value of a wrong type.
    """
    hints = typing.get_type_hints(type(config))
    new: dict[str, Any] = {}
    for name, value in plain.items():
        if name not in hints:
            raise unknown_field(where + str(name), field_names(config, where))
        new[name] = _read(getattr(config, name), hints[name], value, where + name)
    return dataclasses.replace(typing.cast(Any, config), **new)


def with_dotted(config: Config, dotted: Mapping[str, Any]) -> Config:
    """Return ``config`` with fields set by dotted name: ``{"explore.env_steps": 100}``.

    All at once, so that fields of which one is only valid with the other can come in any order.
    """
    nested: dict[str, Any] = {}
    for name, value in dotted.items():
        *sections, field = name.replace("-", "_").split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = value
    return updated(config, nested)


def read_file(path: Path | str) -> dict[str, Any]:
    """Read a YAML file of nested fields; anything else raises ``UsageError``."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise UsageError(f"--config {path} cannot be read: {line}") from error
    if not isinstance(value, Mapping):
        raise UsageError(f"--config {path} holds no fields: write lines like 'seed: 1'")
    return dict(value)


def field_names(config: Any, prefix: str = "") -> list[str]:
    """List every dotted name below ``config``, sections included."""
    names: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        names.append(prefix + field.name)
        if dataclasses.is_dataclass(value):
            names += field_names(value, f"{prefix}{field.name}.")
    return names


def unknown_field(name: str, known: Iterable[str]) -> UsageError:
    """Make the error for a field that does not exist."""
    near = nearest(name, known)
    return UsageError(f"no field {name!r}" + (f": did you mean {near!r}?" if near else ""))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to ``name``, by whole dotted name, then by its last part."""
    known = list(known)
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not found:
        last = {other.rpartition(".")[2]: other for other in known}
        tails = difflib.get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=0.6)
        found = [last[tail] for tail in tails]
    return found[0] if found else None


def _read(old: Any, hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(old):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} is {value!r}: it is a section, name one of its fields")
        return updated(old, value, where + ".")
    try:
        return _convert(hint, value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} is {value!r}: give {error}") from error


def _convert(hint: Any, value: Any) -> Any:
    """Return ``value`` as the hint's type, or raise ``ValueError`` saying what is wanted."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in inner:
            raise ValueError("one of " + ", ".join(str(choice) for choice in inner))
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(inner, value)
    if origin is tuple:
        return _convert_tuple(inner, value)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise ValueError("a mapping of names to values")
        return dict(value)
    return _convert_scalar(hint, value)


def _convert_union(choices: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in choices:
        return None
    wanted = [choice for choice in choices if choice is not type(None)]
    return _convert(wanted[0], value)


def _convert_tuple(inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    variable = len(inner) == 2 and inner[1] is Ellipsis
    if not isinstance(value, list | tuple):
        raise ValueError("a list of values")
    if variable:
        return tuple(_convert(inner[0], item) for item in value)
    if len(value) != len(inner):
        raise ValueError(f"{len(inner)} values")
    return tuple(_convert(hint, item) for hint, item in zip(inner, value, strict=True))


_WANTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _convert_scalar(hint: type, value: Any) -> Any:
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return _number(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e6 in YAML is a float
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(_WANTED.get(hint, hint.__name__))


def _number(value: Any) -> float:
    try:
        return float(value)  # YAML reads 1e-4 as text
    except ValueError as error:
        raise ValueError(_WANTED[float]) from error
