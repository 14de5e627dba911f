"""LaProp with adaptive gradient clipping (DreamerV3), per ensemble member where there are some."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

PARAMETER_FLOOR = 1e-3
"""Smallest parameter norm that clipping compares with (DreamerV3's code)."""


ROW = 128
"""Numbers in a row of the matrix that norms are taken over; leaves are padded to whole rows."""


class LaPropState(NamedTuple):
    """Running moments, flat over all parameters: one fused pass instead of three a leaf."""

    updates: Int[Array, ""]
    momentum: Float[Array, " p"]
    square: Float[Array, " p"]


@dataclasses.dataclass(frozen=True)
class LaProp:
    """Normalise by the root mean square first, then average (Ziyin et al. 2020)."""

    learning_rate: float
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-20
    warmup: int = 0
    """Updates over which the rate rises linearly to ``learning_rate``."""

    def init(self, params: Any) -> LaPropState:
        """Start with zero moments."""
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return LaPropState(jnp.zeros((), jnp.int32), jnp.zeros(size), jnp.zeros(size))

    def update(self, grads: Any, state: LaPropState) -> tuple[Any, LaPropState]:
        """Return what to add to the parameters, and the new moments."""
        grad, unravel = ravel_pytree(grads)
        updates = state.updates + 1
        t = updates.astype(jnp.float32)
        square = self.b2 * state.square + (1 - self.b2) * grad * grad
        normalised = grad / (jnp.sqrt(square / (1 - self.b2**t)) + self.eps)
        momentum = self.b1 * state.momentum + (1 - self.b1) * normalised
        warm = jnp.minimum(1.0, t / max(1, self.warmup))
        rate = self.learning_rate * warm / (1 - self.b1**t)
        return unravel(-rate * momentum), LaPropState(updates, momentum, square)


def clip_leaf(grad: Array, param: Array, ratio: float) -> Array:
    """Scale one gradient down to at most ``ratio`` times its parameter's norm."""
    return clip(grad, param, ratio)


def clip(grads: Any, params: Any, ratio: float, *, members: bool = False) -> Any:
    """Clip every leaf; with ``members``, every member (leading axis) of every leaf by itself."""
    limits = ratio * jnp.maximum(PARAMETER_FLOOR, _norms(params, members))
    factors = jnp.minimum(1.0, limits / jnp.maximum(_norms(grads, members), 1e-6))
    leaves, structure = jax.tree.flatten(grads)
    clipped, at = [], 0
    for leaf in leaves:
        count = leaf.shape[0] if members else 1
        shape = (count,) + (1,) * (leaf.ndim - 1) if members else ()
        clipped.append(leaf * factors[at : at + count].reshape(shape))
        at += count
    return jax.tree.unflatten(structure, clipped)


def _norms(tree: Any, members: bool) -> Float[Array, " s"]:
    """The norm of every leaf, or of every member of every leaf, in one reduction.

    A hundred small reductions would take XLA longer to compile than the rest of the optimiser.
    """
    rows, owner = [], []
    for leaf in jax.tree.leaves(tree):
        flat = leaf.reshape(leaf.shape[0] if members else 1, -1)
        padded = jnp.pad(flat, ((0, 0), (0, -flat.shape[1] % ROW)))
        rows.append(padded.reshape(-1, ROW))
        owner += [padded.shape[1] // ROW] * len(padded)
    squares = jnp.sum(jnp.square(jnp.concatenate(rows)), axis=1)
    segment = np.repeat(np.arange(len(owner)), owner)
    return jnp.sqrt(jax.ops.segment_sum(squares, segment, len(owner), indices_are_sorted=True))


def global_norm(tree: Any) -> Float[Array, ""]:
    """Root of the summed squares of all leaves."""
    return jnp.sqrt(sum((jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)), jnp.zeros(())))
