"""Building blocks: dense layers, RMS norm, multilayer perceptrons, block-diagonal layers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import accumulate

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.config import Precision

NORM_EPS = 1e-4
"""Added to the mean square in RMSNorm (DreamerV3's code)."""


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int, scale: float) -> Array:
    """Draw weights of variance ``scale² / fan_in``; 1.1368 undoes the truncation at ±2."""
    std = 1.1368 * scale / fan_in**0.5
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def products_in(precision: Precision) -> AbstractContextManager[None]:
    """Say how ``product`` is to be traced; float32 is what JAX makes of it on the device."""
    return jax.default_matmul_precision(None if precision == "float32" else precision)


def product(x: Float[Array, "n i"], weight: Float[Array, "i o"]) -> Float[Array, "n o"]:
    """The matrix product everything here is made of.

    In bfloat16 its factors, and those of its gradients, are rounded and the sums are float32; said
    in so many words, because XLA's CPU programs heed nothing else.
    """
    if jax.config.jax_default_matmul_precision == "bfloat16":  # type: ignore[attr-defined]
        return _rounded_product(x, weight)
    return x @ weight


@jax.custom_vjp
def _rounded_product(x: Array, weight: Array) -> Array:
    return _contracted(x, weight, 1, 0)


def _forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    kept = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    return _contracted(*kept, 1, 0), kept


def _backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, weight = kept
    return _contracted(gradient, weight, 1, 1), _contracted(x, gradient, 0, 0)


_rounded_product.defvjp(_forward, _backward)


def _contracted(x: Array, y: Array, axis_x: int, axis_y: int) -> Array:
    axes = ((axis_x,), (axis_y,)), ((), ())
    rounded = (x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    return jax.lax.dot_general(*rounded, axes, preferred_element_type=jnp.float32)


class Linear(eqx.Module):
    """An affine map of the last axis."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]

    def __init__(self, size_in: int, size_out: int, *, key: PRNGKeyArray, scale: float = 1.0):
        self.weight = truncated_normal(key, (size_in, size_out), size_in, scale)
        self.bias = jnp.zeros(size_out)

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        rows = x.reshape(-1, x.shape[-1])  # XLA transposes copies for a gradient over more axes
        return (product(rows, self.weight) + self.bias).reshape(*x.shape[:-1], -1)


class BlockLinear(eqx.Module):
    """A block-diagonal linear map: G blocks, each of its own ``i → o``.

    The blocks are products of their own: one batched product wants another memory layout, and with
    the copies takes half as long again (``block_products`` in results/bench/products.json).
    """

    weight: Float[Array, "g i o"]

    def __init__(self, blocks: int, size_in: int, size_out: int, *, key: PRNGKeyArray):
        shape = (blocks, size_in // blocks, size_out // blocks)
        self.weight = truncated_normal(key, shape, shape[1], 1.0)

    def __call__(self, x: Float[Array, "n gi"]) -> list[Float[Array, "n o"]]:
        """Every block's output."""
        parts = jnp.split(x, self.weight.shape[0], axis=-1)
        return [product(part, weight) for part, weight in zip(parts, self.weight, strict=True)]


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
        return self.activate(self.linear(x))

    def activate(self, x: Float[Array, "*n o"]) -> Float[Array, "*n o"]:
        """What follows the product."""
        return jax.nn.silu(self.norm(x))


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
        return self.finish(self.hidden[0].linear(x))

    def finish(self, first: Float[Array, "*n u"]) -> Float[Array, "*n o"]:
        """What follows the first layer's product."""
        x = self.hidden[0].activate(first)
        for layer in self.hidden[1:]:
            x = layer(x)
        return self.out(x)


def evaluate_together(nets: Sequence[MLP], x: Float[Array, "*n i"]) -> list[Float[Array, "*n _"]]:
    """Every network's output for the same input: one wide product, then each by itself.

    As one stack under ``vmap``, whatever reads the outputs reads them across the stack, and takes
    twice as long (``disagreement`` in results/bench/products.json).
    """
    firsts = [net.hidden[0].linear for net in nets]
    weight = jnp.concatenate([linear.weight for linear in firsts], axis=1)
    bias = jnp.concatenate([linear.bias for linear in firsts])
    ends = list(accumulate(linear.bias.shape[0] for linear in firsts))
    rows = x.reshape(-1, x.shape[-1])  # XLA's programs for more axes are slower
    parts = jnp.split(product(rows, weight) + bias, ends[:-1], axis=-1)
    outs = [net.finish(part) for net, part in zip(nets, parts, strict=True)]
    return [out.reshape(*x.shape[:-1], -1) for out in outs]


def stack_modules(make, count: int, *, key: PRNGKeyArray):
    """Build ``count`` modules as one whose every array has a leading axis of that length."""
    return eqx.filter_vmap(lambda k: make(key=k))(jax.random.split(key, count))


def unstack(stacked: MLP) -> list[MLP]:
    """Take a stack apart; the gradient of all parts is put together again by one copy."""
    leaves, structure = jax.tree.flatten(stacked)
    parts = [[x[0] for x in jnp.split(leaf, leaf.shape[0])] for leaf in leaves]
    return [jax.tree.unflatten(structure, member) for member in zip(*parts, strict=True)]
