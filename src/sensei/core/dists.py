"""Distributions: symexp two-hot, one-hot latents with a uniform share, tanh-free normals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

BINS = 255
"""Number of two-hot bins (DreamerV3)."""
BIN_LIMIT = 20.0
"""The outermost bins lie at ± symexp(20) (DreamerV3)."""


def symlog(x: Array) -> Array:
    """Compress a number symmetrically: sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Array) -> Array:
    """Undo ``symlog``."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def bins() -> Float[Array, " k"]:
    """The bin positions, exactly antisymmetric so that a uniform head predicts exactly 0."""
    half = symexp(jnp.linspace(-BIN_LIMIT, 0.0, BINS // 2 + 1))
    return jnp.concatenate([half, -half[:-1][::-1]])


def two_hot(x: Float[Array, "*n"]) -> Float[Array, "*n k"]:
    """Spread a number over its two neighbouring bins so that the mean is the number.

    Written as a hat function of the bins: elementwise, so XLA fuses it into the loss and the
    (..., 255) target is never stored.
    """
    at = bins()
    x = jnp.clip(x, at[0], at[-1])[..., None]
    width = jnp.diff(at)
    # Beyond the outermost bins the hat has no slope; any positive width will do there.
    left = jnp.concatenate([width[:1], width])
    right = jnp.concatenate([width, width[-1:]])
    hat = jnp.where(x <= at, (x - (at - left)) / left, ((at + right) - x) / right)
    return jnp.clip(hat, 0.0, 1.0)


def two_hot_mean(logits: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """The mean of a symexp two-hot distribution, summed pairwise so that large bins cancel."""
    p = jax.nn.softmax(logits, axis=-1)
    positive = bins()[BINS // 2 + 1 :]
    upper, lower = p[..., BINS // 2 + 1 :], p[..., : BINS // 2][..., ::-1]
    return jnp.sum((upper - lower) * positive, axis=-1)


def two_hot_loss(logits: Float[Array, "*n k"], target: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """Cross-entropy against two-hot weights (they may be a sum of several two-hots)."""
    logp = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(target * logp, axis=-1)


def unimix(logits: Float[Array, "*n k"], share: float) -> Float[Array, "*n k"]:
    """Log-probabilities of a categorical mixed with ``share`` of the uniform distribution."""
    p = jax.nn.softmax(logits, axis=-1)
    return jnp.log((1.0 - share) * p + share / logits.shape[-1])


def sample_one_hot(logp: Float[Array, "*n k"], *, key: PRNGKeyArray) -> Float[Array, "*n k"]:
    """Sample one-hots by inverse CDF: one uniform number a draw, where Gumbel noise needs K."""
    size = logp.shape[-1]
    upto = jnp.triu(jnp.ones((size, size), logp.dtype))
    # A small product, because XLA's CPU cumsum is far slower; exact, however others are rounded.
    cumulative = jnp.matmul(jnp.exp(logp), upto, precision=jax.lax.Precision.HIGHEST)
    u = jax.random.uniform(key, logp.shape[:-1])[..., None] * cumulative[..., -1:]
    below = (cumulative <= u).astype(logp.dtype)  # ones up to the drawn class
    before = jnp.concatenate([jnp.ones_like(below[..., :1]), below[..., :-1]], axis=-1)
    return before - below


def straight_through(sample: Array, logp: Array) -> Array:
    """A one-hot sample whose gradient is that of its probabilities."""
    p = jnp.exp(logp)
    return jax.lax.stop_gradient(sample) + (p - jax.lax.stop_gradient(p))


def categorical_kl(logp: Float[Array, "*n s k"], logq: Float[Array, "*n s k"]) -> Array:
    """KL(p ‖ q) summed over the S groups."""
    return jnp.sum(jnp.exp(logp) * (logp - logq), axis=(-2, -1))
