"""The recurrent state-space model: a block-diagonal GRU and one-hot latents (DreamerV3, 2025)."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sensei.core.config import Size
from sensei.core.dists import sample_one_hot, straight_through, unimix
from sensei.core.nets import MLP, BlockLinear, Layer, Linear, RMSNorm


class Latent(NamedTuple):
    """The state of the world model."""

    deter: Float[Array, "*n d"]
    stoch: Float[Array, "*n s k"]

    @property
    def feature(self) -> Float[Array, "*n f"]:
        """Deterministic and stochastic part side by side, F = D + S·K."""
        flat = self.stoch.reshape(*self.stoch.shape[:-2], -1)
        return jnp.concatenate([self.deter, flat], axis=-1)


class RSSM(eqx.Module):
    """Dynamics, prior and posterior."""

    deter_in: Layer
    stoch_in: Layer
    action_in: Layer
    core_shared: Linear
    core_block: BlockLinear
    core_norm: RMSNorm
    gates: BlockLinear
    gates_bias: Float[Array, "g o"]
    prior_net: MLP
    posterior_deter: Linear
    posterior_embed: Linear
    posterior_norm: RMSNorm
    posterior_out: Linear
    size: Size = eqx.field(static=True)
    mix: float = eqx.field(static=True)

    def __init__(self, action: int, embed: int, size: Size, mix: float, *, key: PRNGKeyArray):
        k = jax.random.split(key, 9)
        latent = size.stoch * size.classes
        self.deter_in = Layer(size.deter, size.hidden, key=k[0])
        self.stoch_in = Layer(latent, size.hidden, key=k[1])
        self.action_in = Layer(action, size.hidden, key=k[2])
        self.core_shared = Linear(3 * size.hidden, size.deter, key=k[3])
        self.core_block = BlockLinear(size.blocks, size.deter, size.deter, key=k[4])
        self.core_norm = RMSNorm(size.deter)
        self.gates = BlockLinear(size.blocks, size.deter, 3 * size.deter, key=k[5])
        self.gates_bias = jnp.zeros((size.blocks, 3 * size.deter // size.blocks))
        self.prior_net = MLP(size.deter, latent, units=size.hidden, layers=2, key=k[6])
        kd, ke, ko = jax.random.split(k[7], 3)
        self.posterior_deter = Linear(size.deter, size.hidden, key=kd)
        self.posterior_embed = Linear(embed, size.hidden, key=ke)
        self.posterior_norm = RMSNorm(size.hidden)
        self.posterior_out = Linear(size.hidden, latent, key=ko)
        self.size, self.mix = size, mix

    def initial(self, shape: tuple[int, ...]) -> Latent:
        """The state before the first observation of an episode."""
        size = self.size
        stoch = jnp.zeros((*shape, size.stoch, size.classes))
        return Latent(jnp.zeros((*shape, size.deter)), stoch)

    def advance(self, state: Latent, action_in: Float[Array, "n h"]) -> Float[Array, "n d"]:
        """One step of the block GRU: the next deterministic state."""
        n = state.deter.shape[0]
        parts = (self.deter_in(state.deter), self.stoch_in(state.stoch.reshape(n, -1)), action_in)
        shared = self.core_shared(jnp.concatenate(parts, axis=-1))
        own = jnp.concatenate(self.core_block(state.deter), axis=-1)
        gates = self.gates(jax.nn.silu(self.core_norm(shared + own)))
        old = jnp.split(state.deter, self.size.blocks, axis=-1)
        blocks = zip(gates, self.gates_bias, old, strict=True)
        return jnp.concatenate([gru_block(g + bias, deter) for g, bias, deter in blocks], axis=-1)

    def log_probs(self, logits: Float[Array, "*n sk"]) -> Float[Array, "*n s k"]:
        """Categorical log-probabilities of the S groups, mixed with the uniform share."""
        groups = logits.reshape(*logits.shape[:-1], self.size.stoch, self.size.classes)
        return unimix(groups, self.mix)

    def prior(self, deter: Float[Array, "*n d"]) -> Float[Array, "*n s k"]:
        """Log-probabilities of the latent without looking."""
        return self.log_probs(self.prior_net(deter))

    def posterior(
        self, deter: Float[Array, "*n d"], embed_in: Float[Array, "*n h"]
    ) -> Float[Array, "*n s k"]:
        """Log-probabilities of the latent after looking; ``embed_in`` is ``posterior_embed``'s."""
        hidden = self.posterior_norm(self.posterior_deter(deter) + embed_in)
        return self.log_probs(self.posterior_out(jax.nn.silu(hidden)))

    def look(
        self,
        state: Latent,
        action_in: Float[Array, "n h"],
        embed_in: Float[Array, "n h"],
        is_first: Bool[Array, " n"],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Latent, Float[Array, "n s k"]]:
        """Step with an observation. Where ``is_first``, nothing of ``state`` survives."""
        keep = 1.0 - is_first.astype(jnp.float32)
        state = Latent(state.deter * keep[:, None], state.stoch * keep[:, None, None])
        deter = self.advance(state, action_in)
        logp = self.posterior(deter, embed_in)
        stoch = straight_through(sample_one_hot(logp, key=key), logp)
        return Latent(deter, stoch), logp

    def observe(
        self,
        state: Latent,
        embed: Float[Array, "B T e"],
        prev_action: Float[Array, "B T a"],
        is_first: Bool[Array, "B T"],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Latent, Float[Array, "B T s k"]]:
        """Filter a batch of sequences: posterior states (B, T, ...) and their log-probabilities."""
        # What does not depend on the state is one wide product outside the scan.
        embed_in = self.posterior_embed(embed)
        action_in = self.action_in(jnp.where(is_first[..., None], 0.0, prev_action))
        keys = jax.random.split(key, embed.shape[1])
        inputs = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (action_in, embed_in, is_first))

        def step(carry: Latent, xs: tuple) -> tuple[Latent, tuple]:
            (a, e, first), k = xs
            latent, logp = self.look(carry, a, e, first, key=k)
            return latent, (latent, logp)

        _, out = jax.lax.scan(step, state, (inputs, keys))
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), out)

    def imagine(self, state: Latent, action: Float[Array, "n a"], *, key: PRNGKeyArray) -> Latent:
        """Step without an observation."""
        deter = self.advance(state, self.action_in(action))
        return Latent(deter, sample_one_hot(self.prior(deter), key=key))


def gru_block(gates: Float[Array, "n o"], old: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The new state of one block of the GRU from its three gates side by side, O = 3 D."""
    reset, candidate, update = jnp.split(gates, 3, axis=-1)
    update = jax.nn.sigmoid(update - 1.0)  # starts by keeping most of the old state
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return update * candidate + (1.0 - update) * old
