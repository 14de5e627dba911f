"""Honest operation counts: walk the traced program, loop bodies times their trip count."""

from __future__ import annotations

import math
from typing import Any


def count_flops(jaxpr: Any) -> float:
    """Floating-point operations of all products in a (closed) jaxpr, two per multiply-add.

    Elementwise work is not counted, as is usual; a ``while`` loop of unknown length counts once.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum(_count(equation) for equation in jaxpr.eqns)


def _count(equation: Any) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = sum(count_flops(p) for p in _inner(equation.params.values()))
    return inner * equation.params.get("length", 1) if name == "scan" else inner


def _dot(equation: Any) -> float:
    (contract, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    out = equation.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in contract)


def _convolution(equation: Any) -> float:
    kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    features = equation.params["dimension_numbers"].rhs_spec[0]
    return 2.0 * math.prod(out) * math.prod(kernel) / kernel[features]


def _inner(values: Any) -> list[Any]:
    found = []
    for value in values:
        if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _inner(value)
    return found
