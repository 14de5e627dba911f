"""Dreams along the actions taken, held to what really happened then: an experiment.

One step ahead, a picture has so much to be predicted that a single bit, such as whether the key is
held, hardly counts; over a dream its errors add up, and an agent pursues keys that only dreams
contain. So rewards and vectors are predicted many steps ahead, too (after the latent overshooting
of Hafner et al. 2019). results/keychest/README.md says what came of it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.dists import (
    sample_one_hot,
    straight_through,
    symlog,
    two_hot,
    two_hot_loss,
)
from sensei.core.rssm import Latent
from sensei.core.world_model import Batch, WorldModel


def overshooting_losses(
    model: WorldModel,
    latent: Latent,
    batch: Batch,
    steps: int,
    heads: tuple[str, ...],
    *,
    key: PRNGKeyArray,
) -> dict[str, Float[Array, "H N"]]:
    """Errors of the vector and of the rewards ``heads`` in dreams of ``steps`` steps.

    ``latent`` are the posterior states, (B, T, ...), from two of which each sequence is dreamed on:
    the last that leaves so many steps, and the one half as far in. What follows a reset counts
    nothing.
    """
    last = batch["is_first"].shape[1] - 1 - steps
    starts = (last // 2, last)

    def ahead(x: Array) -> Array:
        """The rows after each start, (H, N, ...)."""
        rows = [x[:, at + 1 : at + 1 + steps] for at in starts]
        return jnp.swapaxes(jnp.concatenate(rows), 0, 1)

    begin = jax.tree.map(lambda x: jnp.concatenate([x[:, at] for at in starts]), latent)
    feature = dream(model, begin, ahead(batch["prev_action"]), key=key)
    whole = jnp.cumprod(1.0 - ahead(batch["is_first"]).astype(jnp.float32), axis=0)
    losses = {}
    if model.decoder.vector is not None:
        error = model.decoder.vector(feature) - symlog(ahead(batch["vector"]))
        losses["dream_vector"] = whole * jnp.sum(jnp.square(error), -1)
    for name in heads:
        logits = model.rewards[name](feature)
        losses[f"dream_{name}"] = whole * two_hot_loss(logits, two_hot(ahead(batch[name])))
    return losses


def dream(
    model: WorldModel, begin: Latent, action: Float[Array, "H N a"], *, key: PRNGKeyArray
) -> Float[Array, "H N f"]:
    """Features of the states that ``action`` leads to; gradients flow through the samples."""
    rssm = model.rssm
    action_in = rssm.action_in(action)

    def step(state: Latent, xs: tuple[Array, Array]) -> tuple[Latent, Array]:
        deter = rssm.advance(state, xs[0])
        logp = rssm.prior(deter)
        latent = Latent(deter, straight_through(sample_one_hot(logp, key=xs[1]), logp))
        return latent, latent.feature

    return jax.lax.scan(step, begin, (action_in, jax.random.split(key, len(action))))[1]
