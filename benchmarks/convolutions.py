"""DreamerV3's convolutions (2023 form) with the interface of ``sensei.core.vision``, to compare.

Four 4 × 4 convolutions of stride 2 with RMSNorm and SiLU halve the picture and double the channels;
the decoder is their mirror. Eight channels in the first give the same embedding, and within a few
per cent the same number of parameters, as the patches of size xs.
"""

from __future__ import annotations

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from sensei.core.nets import Layer, RMSNorm, truncated_normal
from sensei.core.world_model import WorldModel

LEVELS = 4
AXES = ("NHWC", "HWIO", "NHWC")


class Pixels(eqx.Module):
    """What stands where a ``PatchGrid`` does: the picture as it is, with one axis more."""

    def to_patches(self, image: UInt8[Array, "n h w c"]) -> UInt8[Array, "n h w 1 c"]:
        """Give the picture the five axes that losses are summed over."""
        return image[:, :, :, None]

    def to_image(self, patches: Float[Array, "n h w 1 c"]) -> Float[Array, "n h w c"]:
        """Undo ``to_patches``."""
        return patches[:, :, :, 0]


class Convolution(eqx.Module):
    """A 4 × 4 kernel of stride 2, transposed where ``up``."""

    weight: Float[Array, "4 4 i o"]
    up: bool = eqx.field(static=True)

    def __init__(self, channels_in: int, channels_out: int, *, up: bool, key: PRNGKeyArray):
        fan_in = (4 if up else 16) * channels_in  # only a quarter of an up kernel meets a pixel
        self.weight = truncated_normal(key, (4, 4, channels_in, channels_out), fan_in, 1.0)
        self.up = up

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        convolve = lax.conv_transpose if self.up else lax.conv_general_dilated
        return convolve(x, self.weight, (2, 2), "SAME", dimension_numbers=AXES)


class Block(eqx.Module):
    """Convolution, RMSNorm over channels, SiLU."""

    convolution: Convolution
    norm: RMSNorm

    def __init__(self, channels_in: int, channels_out: int, *, up: bool, key: PRNGKeyArray):
        self.convolution = Convolution(channels_in, channels_out, up=up, key=key)
        self.norm = RMSNorm(channels_out)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        return jax.nn.silu(self.norm(self.convolution(x)))


class ConvEncoder(eqx.Module):
    """Pictures → a flat embedding."""

    blocks: list[Block]
    grid: Pixels
    size_out: int = eqx.field(static=True)
    """Length of the embedding."""

    def __init__(self, image: tuple[int, int, int], depth: int, *, key: PRNGKeyArray):
        side, _, channels = image
        widths = [channels, *(depth * 2**level for level in range(LEVELS))]
        keys = jax.random.split(key, LEVELS)
        self.blocks = [
            Block(i, o, up=False, key=k) for (i, o), k in zip(pairwise(widths), keys, strict=True)
        ]
        self.size_out = (side // 2**LEVELS) ** 2 * widths[-1]
        self.grid = Pixels()

    def __call__(self, patches: UInt8[Array, "n h w 1 c"]) -> Float[Array, "n e"]:
        x = self.grid.to_image(patches.astype(jnp.float32)) / 255.0 - 0.5
        for block in self.blocks:
            x = block(x)
        return x.reshape(x.shape[0], -1)


class ConvDecoder(eqx.Module):
    """Features → pictures in [0, 1], in ``Pixels.to_patches`` form."""

    first: Layer
    blocks: list[Block]
    out: Convolution
    bias: Float[Array, " c"]
    side: int = eqx.field(static=True)
    grid: Pixels

    def __init__(self, feature: int, image: tuple[int, int, int], depth: int, *, key: PRNGKeyArray):
        widths = [depth * 2**level for level in reversed(range(LEVELS))]
        k_first, k_out, *keys = jax.random.split(key, LEVELS + 1)
        self.side = image[0] // 2**LEVELS
        self.first = Layer(feature, self.side**2 * widths[0], key=k_first)
        self.blocks = [
            Block(i, o, up=True, key=k) for (i, o), k in zip(pairwise(widths), keys, strict=True)
        ]
        self.out = Convolution(depth, image[2], up=True, key=k_out)
        self.bias = jnp.zeros(image[2])
        self.grid = Pixels()

    def __call__(self, feature: Float[Array, "n f"]) -> Float[Array, "n h w 1 c"]:
        x = self.first(feature).reshape(feature.shape[0], self.side, self.side, -1)
        for block in self.blocks:
            x = block(x)
        return jax.nn.sigmoid(self.grid.to_patches(self.out(x) + self.bias))


def with_convolutions(
    model: WorldModel,
    image: tuple[int, int, int],
    depth: int,
    *,
    key: PRNGKeyArray,
) -> WorldModel:
    """Return the model with convolutions instead of patches.

    Raises:
        ValueError: the embedding would have another length than the patches', which the RSSM reads.
    """
    k_encoder, k_decoder = jax.random.split(key)
    encoder = ConvEncoder(image, depth, key=k_encoder)
    patches = model.encoder.image
    if patches is None or encoder.size_out != patches.size_out:
        raise ValueError(
            f"depth is {depth}: {encoder.size_out} numbers do not fit where patches give others"
        )
    feature = model.continues.hidden[0].linear.weight.shape[0]
    decoder = ConvDecoder(feature, image, depth, key=k_decoder)
    parts = (encoder, decoder)
    return eqx.tree_at(lambda m: (m.encoder.image, m.decoder.image), model, parts)
