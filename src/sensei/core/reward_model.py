"""R_ψ: how interesting an observation is, distilled from preferences (Bradley–Terry, MOTIF)."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.dists import symlog
from sensei.core.nets import MLP, Layer, stack_modules
from sensei.types import ObsSpec


class RewardNet(eqx.Module):
    """One network: patches of the image, a hidden layer over all of them and the vector.

    Large patches, each seen whole by one layer, learn from noisy labels better than small ones and
    in half the time; ``patch`` is their side in pixels, less where a side has no four of them.
    """

    patches: Layer | None
    head: MLP
    patch: int = eqx.field(static=True)

    def __init__(self, spec: ObsSpec, *, patch: int, depth: int, units: int, key: PRNGKeyArray):
        kp, kh = jax.random.split(key)
        size_in, self.patch, self.patches = len(spec.vector), patch, None
        if spec.image:
            height, width, channels = spec.image
            self.patch = patch = min(patch, height // 4)
            self.patches = Layer(patch**2 * channels, depth, key=kp)
            size_in += (height // patch) * (width // patch) * depth
        self.head = MLP(size_in, 1, units=units, layers=1, key=kh)

    def __call__(self, inputs: tuple[Array, ...]) -> Float[Array, " n"]:
        """Logit of each observation; ``inputs`` comes from ``prepare``."""
        *image, vector = inputs
        parts = [vector]
        if self.patches:
            x = self.patches(image[0])
            parts.append(x.reshape(x.shape[0], -1))
        return self.head(jnp.concatenate(parts, axis=-1))[..., 0]

    def occluded(self, inputs: tuple[Array, ...]) -> Float[Array, "n p"]:
        """Logits with each patch in turn replaced by its mean over the n observations.

        What follows the patches begins with a linear layer, so a patch is replaced by subtracting
        its share there.
        """
        image, vector = inputs
        assert self.patches is not None
        x, linear = self.patches(image), self.head.hidden[0].linear
        n, p, d = x.shape
        weight = linear.weight[vector.shape[-1] :].reshape(p, d, -1)
        share = jnp.einsum("npd,pdu->npu", x - jnp.mean(x, axis=0), weight)
        first = linear(jnp.concatenate([vector, x.reshape(n, -1)], axis=-1))
        return self.head.finish(first[:, None] - share)[..., 0]


class RewardModel(eqx.Module):
    """The calibrated, standardised ensemble.

    Bradley–Terry fixes neither offset nor scale, and each member finds its own: ``offset`` and
    ``scale`` bring every member to zero mean, and the members' mean to unit variance, on D_init.
    ``temperature`` turns differences of the reward into calibrated probabilities.
    """

    members: RewardNet
    offset: Float[Array, " e"]
    scale: Float[Array, " e"]
    temperature: Float[Array, ""]
    count: int = eqx.field(static=True)
    damping: float = eqx.field(static=True)

    def __init__(
        self,
        spec: ObsSpec,
        *,
        members: int,
        damping: float = 0.0,
        patch: int = 16,
        depth: int = 32,
        units: int = 64,
        key: PRNGKeyArray,
    ):
        def make(key: PRNGKeyArray) -> RewardNet:
            return RewardNet(spec, patch=patch, depth=depth, units=units, key=key)

        self.members = stack_modules(make, members, key=key)
        self.count, self.damping = members, damping
        self.offset, self.scale = jnp.zeros(members), jnp.ones(members)
        self.temperature = jnp.ones(())

    def logits(self, obs: dict[str, Array]) -> Float[Array, "e n"]:
        """Raw logits of every member; ``obs`` has image (n, h, w, c) u8 and/or vector (n, v)."""
        inputs = prepare(obs, self.members.patch)
        return eqx.filter_vmap(lambda net: net(inputs))(self.members)

    def __call__(self, obs: dict[str, Array]) -> Float[Array, " n"]:
        """The reward: standardised mean − κ · standard deviation over the members."""
        return self._reward(self.logits(obs))

    def saliency(self, obs: dict[str, Array]) -> Float[Array, "n y x"]:
        """How much each patch of the picture matters: how far the reward moves when the patch looks
        as it does on average over the n observations (occlusion, Zeiler & Fergus 2014)."""
        inputs = prepare(obs, self.members.patch)
        occluded = eqx.filter_vmap(lambda net: net.occluded(inputs))(self.members)
        moved = jnp.abs(self._reward(occluded) - self(obs)[:, None])
        _, height, width, _ = obs["image"].shape
        return moved.reshape(-1, height // self.members.patch, width // self.members.patch)

    def _reward(self, logits: Float[Array, "e ..."]) -> Array:
        each = (-1,) + (1,) * (logits.ndim - 1)
        z = (logits - self.offset.reshape(each)) / self.scale.reshape(each)
        return jnp.mean(z, axis=0) - self.damping * jnp.std(z, axis=0)


def judge_with(model: RewardModel) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """R_ψ for those who have arrays of NumPy and want such."""
    return lambda obs: np.asarray(_judge(model, {k: jnp.asarray(x) for k, x in obs.items()}))


_judge = eqx.filter_jit(RewardModel.__call__)
"""Compiled once, however often R_ψ is replaced."""


def prepare(obs: dict[str, Array], patch: int) -> tuple[Array, ...]:
    """Cut the image into (n, patches, pixels) in [−½, ½] for all members; symlog the vector."""
    n = next(iter(obs.values())).shape[0]
    vector = symlog(obs["vector"]) if "vector" in obs else jnp.zeros((n, 0))
    if "image" not in obs:
        return (vector,)
    _, h, w, c = obs["image"].shape
    cut = obs["image"].reshape(n, h // patch, patch, w // patch, patch, c)
    cut = cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, patch * patch * c)
    return cut.astype(jnp.float32) / 255.0 - 0.5, vector


def bradley_terry(
    first: Float[Array, "*e p"], second: Float[Array, "*e p"], y: Float[Array, " p"]
) -> Float[Array, "*e p"]:
    """−[(1 − y) log σ(r₀ − r₁) + y log σ(r₁ − r₀)]; y = P(second preferred), ½ for a tie.

    Every member's logits (leading axes) are held against the same labels.
    """
    difference = second - first
    return jax.nn.softplus(difference) - y * difference
