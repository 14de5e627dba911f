"""One actor-critic for any list of reward channels."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.config import Size
from sensei.core.dists import BINS, sample_one_hot, two_hot, two_hot_loss, unimix
from sensei.core.nets import MLP
from sensei.types import ActionSpec

sg = jax.lax.stop_gradient

MIN_STD, MAX_STD = 0.1, 1.0
"""Bounds of a continuous action's standard deviation (DreamerV3's bounded normal)."""


class Actor(eqx.Module):
    """A policy over an action vector: one-hot blocks, then bounded normals."""

    net: MLP
    spec: ActionSpec = eqx.field(static=True)
    mix: float = eqx.field(static=True)

    def __init__(
        self, feature: int, spec: ActionSpec, size: Size, mix: float, *, key: PRNGKeyArray
    ):
        outputs = sum(spec.discrete) + 2 * spec.continuous
        shape = {"units": size.units, "layers": size.layers, "out_scale": 0.01}
        self.net = MLP(feature, outputs, **shape, key=key)
        self.spec, self.mix = spec, mix

    def __call__(self, feature: Float[Array, "*n f"]) -> Policy:
        return self.policy(self.net(feature))

    def policy(self, out: Float[Array, "*n o"]) -> Policy:
        """The distribution that the network's output describes."""
        logps, at = [], 0
        for width in self.spec.discrete:
            logps.append(unimix(out[..., at : at + width], self.mix))
            at += width
        mean, spread = jnp.split(out[..., at:], 2, axis=-1)
        std = MIN_STD + (MAX_STD - MIN_STD) * jax.nn.sigmoid(spread + 2.0)
        return Policy(tuple(logps), jnp.tanh(mean), std)


class Policy(eqx.Module):
    """The distribution of one action vector, its parts independent."""

    logps: tuple[Float[Array, "*n _"], ...]
    mean: Float[Array, "*n c"]
    std: Float[Array, "*n c"]

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*n a"]:
        """Draw an action vector."""
        keys = jax.random.split(key, len(self.logps) + 1)
        parts = [sample_one_hot(p, key=k) for p, k in zip(self.logps, keys, strict=False)]
        noise = jax.random.normal(keys[-1], self.mean.shape) if self.mean.shape[-1] else 0.0
        return jnp.concatenate([*parts, self.mean + self.std * noise], axis=-1)

    def mode(self) -> Float[Array, "*n a"]:
        """The likeliest action vector."""
        parts = [jax.nn.one_hot(jnp.argmax(p, -1), p.shape[-1]) for p in self.logps]
        return jnp.concatenate([*parts, self.mean], axis=-1)

    def log_prob(self, action: Float[Array, "*n a"]) -> Float[Array, "*n"]:
        """Log-probability (density) of an action vector."""
        total, at = jnp.zeros(action.shape[:-1]), 0
        for logp in self.logps:
            width = logp.shape[-1]
            total += jnp.sum(logp * action[..., at : at + width], axis=-1)
            at += width
        z = (action[..., at:] - self.mean) / self.std
        normal = -0.5 * z * z - jnp.log(self.std) - 0.5 * jnp.log(2 * jnp.pi)
        return total + jnp.sum(normal, axis=-1)

    def entropy(self) -> Float[Array, "*n"]:
        """Entropy in nats."""
        discrete = [-jnp.sum(jnp.exp(p) * p, axis=-1) for p in self.logps]
        normal = jnp.sum(jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)
        return sum(discrete, normal)


def make_critic(feature: int, size: Size, *, key: PRNGKeyArray) -> MLP:
    """A symexp two-hot value head that predicts exactly 0 at first."""
    shape = {"units": size.units, "layers": size.layers, "out_scale": 0.0}
    return MLP(feature, BINS, **shape, key=key)


def shaped(
    reward: Float[Array, "H n"],
    discount: Float[Array, "H n"],
    potential: Float[Array, "H1 n"],
    weight: float,
) -> Float[Array, "H n"]:
    """Add w · (γ Φ(s′) − Φ(s)) to each reward: what is gained in potential, not having it.

    No best policy changes, whatever Φ and w (Ng, Harada & Russell 1999), as ``discount`` is 0 where
    the episode ends: Φ is 0 there. Values become those of the reward alone − w · Φ(s).
    """
    return reward + weight * (discount * potential[1:] - potential[:-1])


def lambda_return(
    reward: Float[Array, "H n"],
    discount: Float[Array, "H n"],
    value: Float[Array, "H1 n"],
    lambda_: float | Float[Array, "H n"],
) -> Float[Array, "H n"]:
    """R_t = r_t + d_t [(1 − λ) v_{t+1} + λ R_{t+1}], with R_H = v_H.

    ``reward[t]`` and ``discount[t]`` = γ · continue(s_{t+1}) belong to the transition t → t + 1;
    ``value`` has H + 1 entries. λ may differ by transition: 0 bootstraps where an episode is cut.
    """
    intermediate = reward + discount * (1.0 - lambda_) * value[1:]
    onward = discount * lambda_

    def step(later: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        here = xs[0] + xs[1] * later
        return here, here

    _, returns = jax.lax.scan(step, value[-1], (intermediate, onward), reverse=True)
    return returns


def critic_loss(
    logits: Float[Array, "*n k"], returns: Float[Array, "*n"], slow: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """Cross-entropy against the returns and, as a regulariser, the slow critic's values."""
    # Both terms are linear in the target, so one pass over the bins serves the two.
    return two_hot_loss(logits, sg(two_hot(returns) + two_hot(slow)))


def actor_loss(
    policy: Policy, action: Float[Array, "H n a"], advantage: Float[Array, "H n"], entropy: float
) -> Float[Array, "H n"]:
    """Score-function policy gradient with an entropy bonus."""
    return -(policy.log_prob(sg(action)) * sg(advantage) + entropy * policy.entropy())
