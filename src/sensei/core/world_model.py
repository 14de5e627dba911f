"""The world model: encoder, RSSM, decoder, continue and reward heads, and their losses."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.config import AgentConfig, Size
from sensei.core.dists import BINS, categorical_kl, symlog, two_hot, two_hot_loss, two_hot_mean
from sensei.core.nets import MLP, Layer
from sensei.core.rssm import RSSM, Latent
from sensei.core.vision import PatchDecoder, PatchEncoder, PatchGrid
from sensei.types import ActionSpec, ObsSpec

sg = jax.lax.stop_gradient

Batch = dict[str, Array]
"""Replayed rows, (B, T, ...): image u8, vector, prev_action, reward, rewards, is_first, is_last,
is_terminal; and ``semantic`` and ``saliency`` once R_ψ has looked at it."""


class Encoder(eqx.Module):
    """Observation → embedding."""

    image: PatchEncoder | None
    vector: Layer | None

    def __init__(self, spec: ObsSpec, config: AgentConfig, *, key: PRNGKeyArray):
        size, (ki, kv) = config.size, jax.random.split(key)
        grid = PatchGrid(spec.image, size.patch, config.squares) if spec.image else None
        self.image = PatchEncoder(grid, size, key=ki) if grid else None
        self.vector = Layer(len(spec.vector), size.units, key=kv) if spec.vector else None

    @property
    def size_out(self) -> int:
        """Length of the embedding."""
        vector = self.vector.norm.scale.shape[-1] if self.vector else 0
        return vector + (self.image.size_out if self.image else 0)

    def __call__(self, obs: dict[str, Array]) -> Float[Array, "n e"]:
        parts = []
        if self.image:
            parts.append(self.image(self.image.grid.to_patches(obs["image"])))
        if self.vector:
            parts.append(self.vector(symlog(obs["vector"])))
        return jnp.concatenate(parts, axis=-1)


class Decoder(eqx.Module):
    """Feature → observation."""

    image: PatchDecoder | None
    vector: MLP | None

    def __init__(self, feature: int, spec: ObsSpec, config: AgentConfig, *, key: PRNGKeyArray):
        size, (ki, kv) = config.size, jax.random.split(key)
        grid = PatchGrid(spec.image, size.patch, config.squares) if spec.image else None
        self.image = PatchDecoder(feature, grid, size, key=ki) if grid else None
        shape = {"units": size.units, "layers": 1}
        self.vector = MLP(feature, len(spec.vector), **shape, key=kv) if spec.vector else None

    def losses(
        self,
        feature: Float[Array, "n f"],
        obs: dict[str, Array],
        weight: Float[Array, "n y x"] | None = None,
    ) -> dict[str, Array]:
        """Summed squared error of the image in [0, 1], and of the symlog vector, (n,) each.

        ``weight``: of the error in each part of the image; 1 when None.
        """
        losses = {}
        if self.image:
            grid = self.image.grid
            target = grid.to_patches(obs["image"]).astype(jnp.float32) / 255.0
            error = jnp.square(self.image(feature) - target)
            error = error if weight is None else error * grid.spread(weight)
            losses["image"] = jnp.sum(error, (1, 2, 3, 4))
        if self.vector:
            error = self.vector(feature) - symlog(obs["vector"])
            losses["vector"] = jnp.sum(jnp.square(error), -1)
        return losses


class WorldModel(eqx.Module):
    """Everything that is learned about the environment, and nothing about what to do in it."""

    encoder: Encoder
    rssm: RSSM
    decoder: Decoder
    continues: MLP
    rewards: dict[str, MLP]
    """Symexp two-hot heads by name: ``task``, ``semantic`` and the environment's named extras."""

    def __init__(
        self,
        obs: ObsSpec,
        action: ActionSpec,
        heads: tuple[str, ...],
        config: AgentConfig,
        *,
        key: PRNGKeyArray,
    ):
        size = config.size
        ke, kr, kd, kc, kh = jax.random.split(key, 5)
        self.encoder = Encoder(obs, config, key=ke)
        self.rssm = RSSM(action.size, self.encoder.size_out, size, config.unimix, key=kr)
        feature = size.deter + size.stoch * size.classes
        self.decoder = Decoder(feature, obs, config, key=kd)
        self.continues = MLP(feature, 1, units=size.units, layers=1, key=kc)
        self.rewards = {
            name: reward_head(feature, size, key=k)
            for name, k in zip(heads, jax.random.split(kh, len(heads)), strict=True)
        }

    def with_rewards(self, heads: dict[str, MLP]) -> WorldModel:
        """Return the model with these reward heads instead of its own."""
        return eqx.tree_at(lambda model: model.rewards, self, heads)

    def predict_reward(self, name: str, feature: Float[Array, "*n f"]) -> Float[Array, "*n"]:
        """The expected named reward on arriving in a state."""
        return two_hot_mean(self.rewards[name](feature))

    def predict_continue(self, feature: Float[Array, "*n f"]) -> Float[Array, "*n"]:
        """The probability that the episode goes on after a state."""
        return jax.nn.sigmoid(self.continues(feature)[..., 0])


def reward_head(feature: int, size: Size, *, key: PRNGKeyArray) -> MLP:
    """A two-hot head that predicts exactly 0 before it has learned anything."""
    shape = {"units": size.units, "layers": 1, "out_scale": 0.0}
    return MLP(feature, BINS, **shape, key=key)


def flat_observations(batch: Batch) -> dict[str, Array]:
    """What the agent saw, (B·T, ...)."""
    seen = {k: batch[k] for k in ("image", "vector") if k in batch}
    return {k: x.reshape(-1, *x.shape[2:]) for k, x in seen.items()}


def world_model_losses(
    model: WorldModel,
    batch: Batch,
    config: AgentConfig,
    shaping: tuple[str, ...],
    *,
    key: PRNGKeyArray,
) -> tuple[dict[str, Float[Array, "B T"]], Latent]:
    """All losses of the world model, (B, T) each, and the posterior states.

    The reward heads named in ``shaping`` shape the representation, as the task's does in DreamerV3;
    every other one (in reward-free exploration: all) reads a stopped gradient.
    """
    b, t = batch["is_first"].shape
    flat = flat_observations(batch)
    embed = model.encoder(flat).reshape(b, t, -1)
    rssm = model.rssm
    start = rssm.initial((b,))
    latent, post = rssm.observe(start, embed, batch["prev_action"], batch["is_first"], key=key)
    losses = kl_losses(post, rssm.prior(latent.deter), config.free_nats)
    feature = latent.feature.reshape(b * t, -1)
    weight = None
    if "saliency" in batch:
        saliency = batch["saliency"].reshape(b * t, *batch["saliency"].shape[2:])
        weight = 1.0 + config.saliency_scale * saliency
    decoded = model.decoder.losses(feature, flat, weight)
    losses |= {k: v.reshape(b, t) for k, v in decoded.items()}
    feature = feature.reshape(b, t, -1)
    goes_on = 1.0 - batch["is_terminal"].astype(jnp.float32)
    logit = model.continues(feature)[..., 0]
    losses["continue"] = jax.nn.softplus(logit) - goes_on * logit
    for name, head in model.rewards.items():
        logits = head(feature if name in shaping else sg(feature))
        losses[f"reward_{name}"] = two_hot_loss(logits, two_hot(batch[name]))
    return losses, latent


def kl_losses(
    post: Float[Array, "B T s k"], prior: Float[Array, "B T s k"], free_nats: float
) -> dict[str, Float[Array, "B T"]]:
    """KL balancing: the prior learns from ``dynamics``, the posterior from ``representation``.

    Each counts only beyond ``free_nats``.
    """
    dynamics = categorical_kl(sg(post), prior)
    representation = categorical_kl(post, sg(prior))
    return {
        "dynamics": jnp.maximum(dynamics, free_nats),
        "representation": jnp.maximum(representation, free_nats),
    }
