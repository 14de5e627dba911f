"""Rollouts of the policy inside the world model."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.actor_critic import Actor
from sensei.core.ensemble import Ensemble
from sensei.core.rssm import RSSM, Latent
from sensei.core.world_model import WorldModel


class Rollout(eqx.Module):
    """H imagined transitions from N states, and every reward that a channel may ask for."""

    feature: Float[Array, "H1 N f"]
    action: Float[Array, "H N a"]
    goes_on: Float[Array, "H1 N"]
    """Probability that the episode continues after each state."""
    predicted: dict[str, Float[Array, "H1 N"]]
    """The world model's reward heads at each state, by name."""
    disagreement: Float[Array, "H N"] | None


def imagine(
    rssm: RSSM, actor: Actor, start: Latent, horizon: int, *, key: PRNGKeyArray
) -> tuple[Float[Array, "H1 N f"], Float[Array, "H N a"]]:
    """Roll the policy out: features of H + 1 states and the H actions between them."""

    def step(latent: Latent, key: PRNGKeyArray) -> tuple[Latent, tuple[Array, Array]]:
        k_action, k_latent = jax.random.split(key)
        feature = latent.feature
        action = actor(feature).sample(key=k_action)
        return rssm.imagine(latent, action, key=k_latent), (feature, action)

    last, (feature, action) = jax.lax.scan(step, start, jax.random.split(key, horizon))
    return jnp.concatenate([feature, last.feature[None]]), action


def rollout(
    model: WorldModel,
    ensemble: Ensemble | None,
    actor: Actor,
    start: Latent,
    alive: Float[Array, " N"],
    *,
    horizon: int,
    heads: tuple[str, ...],
    spread: Literal["variance", "std"],
    key: PRNGKeyArray,
) -> Rollout:
    """Imagine, and evaluate each named head and the ensemble once on what was imagined.

    ``alive`` is 0 for starts that are terminal states already. The ensemble is evaluated when it is
    given. Nothing here carries a gradient: the policy gradient is the score function's.
    """
    feature, action = imagine(model.rssm, actor, start, horizon, key=key)
    goes_on = model.predict_continue(feature).at[0].set(alive)
    predicted = {name: model.predict_reward(name, feature) for name in heads}
    disagreement = None
    if ensemble is not None:
        # Step by step, so that the members' hidden layers stay in the processor's cache.
        disagreement = jax.lax.map(
            lambda xs: ensemble.disagreement(xs[0], xs[1], spread), (feature[:-1], action)
        )
    return jax.lax.stop_gradient(Rollout(feature, action, goes_on, predicted, disagreement))
