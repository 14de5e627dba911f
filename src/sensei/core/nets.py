"""Building blocks: dense layers, RMS norm, multilayer perceptrons, block-diagonal layers."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

NORM_EPS = 1e-4
"""Added to the mean square in RMSNorm (DreamerV3's code)."""


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int, scale: float) -> Array:
    """Draw weights of variance ``scale² / fan_in``; 1.1368 undoes the truncation at ±2."""
    std = 1.1368 * scale / fan_in**0.5
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)


class Linear(eqx.Module):
    """An affine map of the last axis."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]

    def __init__(self, size_in: int, size_out: int, *, key: PRNGKeyArray, scale: float = 1.0):
        self.weight = truncated_normal(key, (size_in, size_out), size_in, scale)
        self.bias = jnp.zeros(size_out)

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        return x @ self.weight + self.bias


class BlockLinear(eqx.Module):
    """A block-diagonal linear map: G blocks, each of its own ``i → o``."""

    weight: Float[Array, "g i o"]

    def __init__(self, blocks: int, size_in: int, size_out: int, *, key: PRNGKeyArray):
        shape = (blocks, size_in // blocks, size_out // blocks)
        self.weight = truncated_normal(key, shape, shape[1], 1.0)

    def __call__(self, x: Float[Array, "n g i"]) -> Float[Array, "n g o"]:
        return jnp.einsum("ngi,gio->ngo", x, self.weight)


class RMSNorm(eqx.Module):
    """Divide by the root mean square of the last axis, then scale."""

    scale: Float[Array, " d"]

    def __init__(self, size: int):
        self.scale = jnp.ones(size)

    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * (jax.lax.rsqrt(mean_square + NORM_EPS) * self.scale)


class Layer(eqx.Module):
    """Dense, RMSNorm, SiLU: the one hidden layer everything here is made of."""

    linear: Linear
    norm: RMSNorm

    def __init__(self, size_in: int, size_out: int, *, key: PRNGKeyArray):
        self.linear = Linear(size_in, size_out, key=key)
        self.norm = RMSNorm(size_out)

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        return jax.nn.silu(self.norm(self.linear(x)))


class MLP(eqx.Module):
    """Hidden layers and a linear output, whose weights start at ``out_scale`` times the usual."""

    hidden: tuple[Layer, ...]
    out: Linear

    def __init__(
        self,
        size_in: int,
        size_out: int,
        *,
        units: int,
        layers: int,
        out_scale: float = 1.0,
        key: PRNGKeyArray,
    ):
        keys = jax.random.split(key, layers + 1)
        sizes = [size_in] + [units] * layers
        self.hidden = tuple(
            Layer(a, b, key=k) for a, b, k in zip(sizes, sizes[1:], keys[:-1], strict=False)
        )
        self.out = Linear(sizes[-1], size_out, key=keys[-1], scale=out_scale)

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)


def stack_modules(make, count: int, *, key: PRNGKeyArray):
    """Build ``count`` modules as one whose every array has a leading axis of that length."""
    return eqx.filter_vmap(lambda k: make(key=k))(jax.random.split(key, count))


def unstack(stacked, index: int):
    """Take one module out of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], stacked)
