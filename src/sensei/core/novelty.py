"""Random network distillation: what a predictor has not seen often enough (Burda et al. 2018)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.config import AgentConfig
from sensei.core.nets import MLP
from sensei.core.world_model import Encoder
from sensei.types import ObsSpec

OUTPUTS = 64
"""Length of the random description that is predicted (Burda et al. use 512 at 84×84 pixels)."""


class Embedding(eqx.Module):
    """An observation → ``OUTPUTS`` numbers."""

    encoder: Encoder
    net: MLP

    def __init__(self, obs: ObsSpec, config: AgentConfig, *, layers: int, key: PRNGKeyArray):
        ke, kn = jax.random.split(key)
        self.encoder = Encoder(obs, config, key=ke)
        shape = {"units": config.size.units, "layers": layers}
        self.net = MLP(self.encoder.size_out, OUTPUTS, **shape, key=kn)

    def __call__(self, obs: dict[str, Array]) -> Float[Array, "n o"]:
        return self.net(self.encoder(obs))


class Novelty(eqx.Module):
    """A fixed random embedding, and a deeper network that learns to predict it."""

    target: Embedding
    predictor: Embedding

    def __init__(self, obs: ObsSpec, config: AgentConfig, *, key: PRNGKeyArray):
        kt, kp = jax.random.split(key)
        self.target = Embedding(obs, config, layers=1, key=kt)
        self.predictor = Embedding(obs, config, layers=config.size.layers, key=kp)

    def error(self, obs: dict[str, Array]) -> Float[Array, " n"]:
        """Mean squared error of the prediction; the target passes no gradient on."""
        aim = jax.lax.stop_gradient(self.target(obs))
        return jnp.mean(jnp.square(self.predictor(obs) - aim), axis=-1)


def standardised(error: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """The error over the batch's mean: a reward around 1 while the errors themselves shrink."""
    error = jax.lax.stop_gradient(error)
    return error / jnp.maximum(jnp.mean(error), 1e-8)
