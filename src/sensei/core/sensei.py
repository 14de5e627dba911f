"""The SENSEI rule: go to what is interesting, and explore there.

Read this file first. Everything else serves the two lines of ``sensei_advantage``.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sensei.core.config import Gate


class Channel(eqx.Module):
    """One source of reward: the actor-critic trains a critic for each and mixes their advantages.

    ``reward`` maps an imagined rollout to the reward of each transition, (H, N). The two weights
    apply where the gate says explore and where it says go. With ``normalise`` the reward is divided
    by its running mean, for rewards of arbitrary and shrinking scale; with ``centre`` the mean is
    subtracted first, for rewards of arbitrary offset, and an episode's end is worth an average
    state. ``potential`` weighs R_ψ as a potential that is added to each reward (``shaped``).
    """

    name: str = eqx.field(static=True)
    reward: Callable = eqx.field(static=True)
    explore: float = eqx.field(static=True)
    go: float = eqx.field(static=True)
    normalise: bool = eqx.field(static=True, default=False)
    centre: bool = eqx.field(static=True, default=False)
    potential: float = eqx.field(static=True, default=0.0)


def sensei_advantage(
    advantage: Float[Array, "C H N"],
    interesting: Bool[Array, "H N"],
    explore: Float[Array, " C"],
    go: Float[Array, " C"],
) -> Float[Array, "H N"]:
    """Mix the channels' advantages (SENSEI Eq. 7): A = (1/Z) Σ_c where(interesting, e_c, g_c) A^c.

    Z is the sum of the explore weights, so that the mixture is comparable across settings.
    """
    weight = jnp.where(interesting, explore[:, None, None], go[:, None, None])
    return jnp.sum(weight * advantage, axis=0) / jnp.sum(explore)


def gate(
    rule: Gate,
    reward: Float[Array, "H N"],
    returns: Float[Array, "H N"],
    threshold: Float[Array, ""],
) -> Bool[Array, "H N"]:
    """Say where the agent is among interesting states already and should explore.

    ``reward`` is r̂_sem(s_t), ``returns`` is R^sem_t; ``threshold`` is what ``gate_statistic``
    estimates for the rule. ``fixed`` explores everywhere.
    """
    if rule == "fixed":
        return jnp.ones_like(reward, bool)
    return (reward if rule == "reward" else returns) >= threshold


def gate_statistic(
    rule: Gate, reward: Float[Array, "H N"], returns: Float[Array, "H N"], k: float
) -> Float[Array, ""]:
    """The batch statistic whose running mean is the gate's threshold.

    ``reward`` and ``return``: the k-quantile of r̂_sem or R^sem, which moves with any constant that
    is added to the reward. ``range`` (the published code): P_k − P_5 of the returns, which does
    not; it is compared with max(1, ·) and therefore depends on the reward's arbitrary offset.
    """
    if rule == "range":
        low_high = jnp.quantile(returns.ravel(), jnp.array([0.05, k]))
        return low_high[1] - low_high[0]
    return jnp.quantile((reward if rule == "reward" else returns).ravel(), k)
