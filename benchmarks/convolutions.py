"""DreamerV3's convolutions (2023 form) with the interface of ``sensei.core.vision``, to compare.

4 × 4 convolutions of stride 2 with RMSNorm and SiLU halve the picture and double the channels until
4 × 4 places are left, or 5 × 5, which takes four of them from 64 × 64; the decoder is their mirror.
The last has as many channels as a coarse patch, so the embedding is as long; at 64 × 64 and size xs
that is eight in the first, and within a few per cent the patches' number of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from sensei.core.nets import Layer, RMSNorm, truncated_normal
from sensei.core.world_model import WorldModel

AXES = ("NHWC", "HWIO", "NHWC")
COARSE = (4, 5)
"""Places on a side that may be left at the end."""


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

    def __init__(self, channels: int, widths: Sequence[int], places: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, len(widths))
        self.blocks = [
            Block(i, o, up=False, key=k)
            for (i, o), k in zip(pairwise([channels, *widths]), keys, strict=True)
        ]
        self.size_out = places**2 * widths[-1]
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
    grid: Pixels
    places: int = eqx.field(static=True)

    def __init__(
        self, feature: int, widths: Sequence[int], channels: int, places: int, *, key: PRNGKeyArray
    ):
        k_first, k_out, *keys = jax.random.split(key, len(widths) + 1)
        self.places = places
        self.first = Layer(feature, places**2 * widths[0], key=k_first)
        self.blocks = [
            Block(i, o, up=True, key=k) for (i, o), k in zip(pairwise(widths), keys, strict=True)
        ]
        self.out = Convolution(widths[-1], channels, up=True, key=k_out)
        self.bias = jnp.zeros(channels)
        self.grid = Pixels()

    def __call__(self, feature: Float[Array, "n f"]) -> Float[Array, "n h w 1 c"]:
        x = self.first(feature).reshape(feature.shape[0], self.places, self.places, -1)
        for block in self.blocks:
            x = block(x)
        return jax.nn.sigmoid(self.grid.to_patches(self.out(x) + self.bias))


def with_convolutions(
    model: WorldModel, image: tuple[int, int, int], *, key: PRNGKeyArray
) -> WorldModel:
    """Return the model with convolutions instead of patches, and an embedding of the same length.

    Raises:
        ValueError: the model sees no pictures, or of a side that halving does not bring to 4 or 5,
            or has too few channels to be halved as often.
    """
    if model.encoder.image is None:
        raise ValueError("the world model sees no pictures: give it an ObsSpec with an image")
    places = coarse(image[0])
    widths = channels(image, model.encoder.image.size_out // places**2)
    k_encoder, k_decoder = jax.random.split(key)
    feature = model.continues.hidden[0].linear.weight.shape[0]
    parts = (
        ConvEncoder(image[2], widths, places, key=k_encoder),
        ConvDecoder(feature, widths[::-1], image[2], places, key=k_decoder),
    )
    return eqx.tree_at(lambda m: (m.encoder.image, m.decoder.image), model, parts)


def coarse(side: int) -> int:
    """How many places on a side are left of a picture that is halved as often as it can be."""
    while side > max(COARSE) and side % 2 == 0:
        side //= 2
    return side


def channels(image: tuple[int, int, int], last: int) -> list[int]:
    """Channels after every convolution, doubling to ``last`` where the picture is coarse."""
    places = coarse(image[0])
    levels = (image[0] // places).bit_length() - 1
    if places not in COARSE or levels < 1 or last % 2 ** (levels - 1):
        raise ValueError(
            f"image side {image[0]} and {last} channels at the end: give a side of 4 × 2^n or "
            "5 × 2^n and channels that are a multiple of 2^(n - 1)"
        )
    return [last // 2**level for level in reversed(range(levels))]
