"""Images as patches: an encoder and a decoder made of matrix products alone.

XLA's CPU convolutions, and above all their gradients, run at a tenth of its matrix products. Two
levels of non-overlapping patches (a p×p patch of pixels, then a square of patches) see the same
pixels at the speed of a product, on a GPU as on a CPU. Unlike a convolution's, their places are
fixed, so a world of tiles is learned much sooner where every tile is a square of its own. Both
levels' order of pixels is fixed once, by ``to_patches``; the decoder answers in the same order, so
the loss needs no way back.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped, UInt8

from sensei.core.config import Size
from sensei.core.nets import Layer, Linear


class PatchGrid(eqx.Module):
    """How an image is cut: squares × squares of merge × merge patches of patch² pixels."""

    image: tuple[int, int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    squares: int = eqx.field(static=True)

    def __check_init__(self):
        height, width, _ = self.image
        if height != width or height % (self.squares * self.patch):
            raise ValueError(
                f"image {height}x{width} is not a square whose side is a multiple of "
                f"{self.squares * self.patch}"
            )

    @property
    def merge(self) -> int:
        """Patches on a side of a square."""
        return self.image[0] // (self.squares * self.patch)

    @property
    def pixels(self) -> int:
        """Numbers in one patch."""
        return self.patch**2 * self.image[2]

    def to_patches(self, image: Shaped[Array, "n h w c"]) -> Shaped[Array, "n y x m p"]:
        """Cut into (n, squares, squares, merge², pixels)."""
        n, q, (_, _, c), m, p = image.shape[0], self.squares, self.image, self.merge, self.patch
        cut = image.reshape(n, q, m, p, q, m, p, c).transpose(0, 1, 4, 2, 5, 3, 6, 7)
        return cut.reshape(n, q, q, m * m, p * p * c)

    def spread(self, weight: Float[Array, "n i j"]) -> Float[Array, "n y x m p"]:
        """Give every number in ``to_patches``' order the weight of its place, i × j over all."""
        height, width, channels = self.image
        pixels = jnp.repeat(weight, height // weight.shape[1], axis=1)
        pixels = jnp.repeat(pixels, width // weight.shape[2], axis=2)
        flat = PatchGrid((height, width, 1), self.patch, self.squares)
        return jnp.repeat(flat.to_patches(pixels[..., None]), channels, axis=-1)

    def to_image(self, patches: Float[Array, "n y x m p"]) -> Float[Array, "n h w c"]:
        """Undo ``to_patches``."""
        n, q, (h, w, c), m, p = patches.shape[0], self.squares, self.image, self.merge, self.patch
        cut = patches.reshape(n, q, q, m, m, p, p, c).transpose(0, 1, 3, 5, 2, 4, 6, 7)
        return cut.reshape(n, h, w, c)


class PatchEncoder(eqx.Module):
    """Patches → a flat embedding."""

    fine: Layer
    coarse: Layer
    grid: PatchGrid = eqx.field(static=True)

    def __init__(self, grid: PatchGrid, size: Size, *, key: PRNGKeyArray):
        kf, kc = jax.random.split(key)
        self.fine = Layer(grid.pixels, size.depth, key=kf)
        self.coarse = Layer(grid.merge**2 * size.depth, 4 * size.depth, key=kc)
        self.grid = grid

    @property
    def size_out(self) -> int:
        """Length of the embedding."""
        return self.grid.squares**2 * self.coarse.norm.scale.shape[-1]

    def __call__(self, patches: UInt8[Array, "n y x m p"]) -> Float[Array, "n e"]:
        n = patches.shape[0]
        x = self.fine(patches.astype(jnp.float32) / 255.0 - 0.5)
        x = self.coarse(x.reshape(n * self.grid.squares**2, -1))
        return x.reshape(n, -1)


class PatchDecoder(eqx.Module):
    """Features → patches in [0, 1], in ``PatchGrid.to_patches`` order."""

    coarse: Layer
    fine: Layer
    out: Linear
    grid: PatchGrid = eqx.field(static=True)

    def __init__(self, feature: int, grid: PatchGrid, size: Size, *, key: PRNGKeyArray):
        kc, kf, ko = jax.random.split(key, 3)
        self.coarse = Layer(feature, grid.squares**2 * 4 * size.depth, key=kc)
        self.fine = Layer(4 * size.depth, grid.merge**2 * size.depth, key=kf)
        self.out = Linear(size.depth, grid.pixels, key=ko)
        self.grid = grid

    def __call__(self, feature: Float[Array, "n f"]) -> Float[Array, "n y x m p"]:
        n, q, m2 = feature.shape[0], self.grid.squares, self.grid.merge**2
        x = self.coarse(feature).reshape(n * q**2, -1)
        x = self.fine(x).reshape(n, q, q, m2, -1)
        return jax.nn.sigmoid(self.out(x))
