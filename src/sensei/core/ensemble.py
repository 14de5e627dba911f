"""Disagreement: an ensemble that predicts the next latent, and its spread (Plan2Explore)."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sensei.core.config import Size
from sensei.core.nets import MLP, evaluate_together, stack_modules, unstack


class Ensemble(eqx.Module):
    """E one-step predictors (feature, action)_t → stoch_{t+1}, stored as one stack."""

    members: MLP

    def __init__(self, action: int, size: Size, *, key: PRNGKeyArray):
        latent = size.stoch * size.classes

        def make(key: PRNGKeyArray) -> MLP:
            size_in = size.deter + latent + action
            return MLP(size_in, latent, units=size.units, layers=size.layers, key=key)

        self.members = stack_modules(make, size.members, key=key)

    def predictions(self, inputs: Float[Array, "n i"]) -> list[Float[Array, "n sk"]]:
        """Every member's prediction."""
        return evaluate_together(unstack(self.members), inputs)

    def disagreement(
        self,
        feature: Float[Array, "n f"],
        action: Float[Array, "n a"],
        spread: Literal["variance", "std"] = "variance",
    ) -> Float[Array, " n"]:
        """Mean over dimensions of the spread over members."""
        out = self.predictions(jnp.concatenate([feature, action], axis=-1))
        # Shifted by one member, the two moments are accurate and XLA fuses them into one pass.
        shifted = [x - out[0] for x in out[1:]]
        mean = sum(shifted) / len(out)
        mean_square = sum(map(jnp.square, shifted)) / len(out)
        variance = jnp.maximum(mean_square - jnp.square(mean), 0.0)
        return jnp.mean(jnp.sqrt(variance) if spread == "std" else variance, axis=-1)

    def loss(
        self,
        feature: Float[Array, "B T f"],
        action: Float[Array, "B T a"],
        target: Float[Array, "B T sk"],
        valid: Bool[Array, "B T"],
    ) -> Float[Array, "B T"]:
        """Squared error summed over members, averaged over dimensions; 0 where not ``valid``."""
        inputs = jnp.concatenate([feature, action], axis=-1)
        b, t = valid.shape
        out = self.predictions(inputs.reshape(b * t, -1))
        aim = target.reshape(b * t, -1)
        error = sum(jnp.mean(jnp.square(x - aim), axis=-1) for x in out)
        return jnp.where(valid, jnp.reshape(error, (b, t)), 0.0)


def transitions(
    feature: Float[Array, "B T f"],
    stoch: Float[Array, "B T s k"],
    prev_action: Float[Array, "B T a"],
    is_first: Bool[Array, "B T"],
) -> tuple[Array, Array, Array, Array]:
    """(feature_t, action_t, stoch_{t+1}, valid) of every step that has a successor.

    The action taken at t is stored with what it caused, so it stands at t + 1. A step into a reset
    is not a transition and is not valid.
    """
    b, t = is_first.shape
    target = stoch.reshape(b, t, -1)[:, 1:]
    parts = (feature[:, :-1], prev_action[:, 1:], target, ~is_first[:, 1:])
    return jax.lax.stop_gradient(parts)
