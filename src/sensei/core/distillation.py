"""Training R_ψ on preferences: pure functions of arrays."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sensei.core.reward_model import RewardModel, bradley_terry

Obs = dict[str, Array]
"""All label frames: image (M, h, w, c) u8 and/or vector (M, v)."""


class Preferences(NamedTuple):
    """Labelled pairs of frames, by their index in ``Obs``."""

    first: Int[Array, " P"]
    second: Int[Array, " P"]
    y: Float[Array, " P"]
    """P(second preferred); ½ for a tie."""


def member_losses(
    model: RewardModel, obs: Obs, pairs: Preferences
) -> tuple[Float[Array, "e P"], Float[Array, " P"]]:
    """Bradley–Terry loss of every member on every pair, and the mean difference of logits."""
    both = jnp.concatenate([pairs.first, pairs.second])
    logits = model.logits({name: value[both] for name, value in obs.items()})
    first, second = jnp.split(logits, 2, axis=1)
    return bradley_terry(first, second, pairs.y), jnp.mean(second - first, axis=0)


def optimiser(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, on every member by itself."""
    return optax.adamw(learning_rate, weight_decay=weight_decay)


@eqx.filter_jit
def train_epoch(
    model: RewardModel,
    state: optax.OptState,
    obs: Obs,
    pairs: Preferences,
    batch: int,
    rates: tuple[float, float],
    *,
    key: PRNGKeyArray,
) -> tuple[RewardModel, optax.OptState, Float[Array, ""]]:
    """One pass over the pairs in random order; return the mean training loss.

    A last, incomplete batch is left out; the next pass shuffles anew. ``rates`` is learning rate
    and weight decay.
    """
    count = max(1, pairs.y.shape[0] // batch)
    order = jax.random.permutation(key, pairs.y.shape[0])[: count * batch]
    batches = jax.tree.map(lambda x: x[order].reshape(count, -1), pairs)
    update = optimiser(*rates).update
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: RewardModel, chunk: Preferences) -> Float[Array, ""]:
        losses, _ = member_losses(eqx.combine(params, static), obs, chunk)
        return jnp.sum(jnp.mean(losses, axis=1))  # a sum, so that members do not share a rate

    def step(carry: tuple, chunk: Preferences) -> tuple[tuple, Array]:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, chunk)
        updates, state = update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value / model.count

    (params, state), losses = jax.lax.scan(step, (params, state), batches)
    return eqx.combine(params, static), state, jnp.mean(losses)


@eqx.filter_jit
def differences(model: RewardModel, obs: Obs, pairs: Preferences) -> tuple[Array, Array]:
    """Mean loss over members, and the mean difference of logits, of every pair, (P,) each."""
    losses, difference = member_losses(model, obs, pairs)
    return jnp.mean(losses, axis=0), difference


@eqx.filter_jit
def frame_logits(model: RewardModel, obs: Obs) -> Float[Array, "e M"]:
    """Raw logits of every member for every frame."""
    return model.logits(obs)


def standardise(model: RewardModel, logits: Float[Array, "e M"]) -> RewardModel:
    """Bring each member to zero mean and the members' mean to unit variance on these frames."""
    offset = jnp.mean(logits, axis=1)
    spread = jnp.maximum(jnp.std(logits, axis=1), 1e-6)
    mean = jnp.mean((logits - offset[:, None]) / spread[:, None], axis=0)
    scale = spread * jnp.maximum(jnp.std(mean), 1e-6)
    return eqx.tree_at(lambda m: (m.offset, m.scale), model, (offset, scale))
