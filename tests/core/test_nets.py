"""The matrix product, in float32 and with factors in bfloat16."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.core.nets import product, products_in

RNG = np.random.default_rng(0)
X, W, G = (RNG.normal(size=shape).astype(np.float32) for shape in ((5, 7), (7, 3), (5, 3)))


def rounded(x: np.ndarray) -> np.ndarray:
    """To the 8 bits of bfloat16's significand, in float64: its products are exact."""
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def of(precision: Any, x: np.ndarray) -> tuple[jax.Array, ...]:
    """The product with ``W`` and its gradients along ``G``."""
    with products_in(precision):
        out, back = jax.vjp(jax.jit(product), jnp.asarray(x), jnp.asarray(W))
        return out, *back(jnp.asarray(G))


@pytest.mark.parametrize(("precision", "seen"), [("bfloat16", rounded), ("float32", np.float64)])
def test_factors_are_rounded_and_sums_are_not(precision: str, seen: Any) -> None:
    x, w, g = seen(X), seen(W), seen(G)
    for found, wanted in zip(of(precision, X), (x @ w, g @ w.T, x.T @ g), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_two_differ_and_what_is_outside_is_float32() -> None:
    assert not np.allclose(of("bfloat16", X)[0], of("float32", X)[0], rtol=1e-5)
    np.testing.assert_allclose(product(jnp.asarray(X), jnp.asarray(W)), X @ W, rtol=1e-5)


def test_under_vmap() -> None:
    stacked = np.stack([X, 2 * X])
    with products_in("bfloat16"):
        found = jax.vmap(product, (0, None))(jnp.asarray(stacked), jnp.asarray(W))
    wanted = rounded(X) @ rounded(W)
    np.testing.assert_allclose(found, [wanted, 2 * wanted], rtol=1e-5, atol=1e-6)
