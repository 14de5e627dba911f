"""Patches: nothing is lost, sizes fit, what does not fit is refused."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agent import SIZE

from sensei.core.vision import PatchDecoder, PatchEncoder, PatchGrid


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_to_image_undoes_to_patches(side: int, channels: int) -> None:
    grid = PatchGrid((side, side, channels), 4, 4)
    shape = (2, side, side, channels)
    image = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    patches = grid.to_patches(jnp.asarray(image))
    assert patches.shape == (2, 4, 4, (side // 16) ** 2, 16 * channels)
    np.testing.assert_array_equal(grid.to_image(patches.astype(jnp.float32)), image)


def test_a_patch_is_a_square_of_neighbouring_pixels() -> None:
    """On 32×32, coarse square (1, 2) covers rows 8–15, columns 16–23; its fine patch 1 (the upper
    right of 2×2) rows 8–11, columns 20–23."""
    image = np.random.default_rng(0).integers(256, size=(1, 32, 32, 3)).astype(np.uint8)
    patches = np.asarray(PatchGrid((32, 32, 3), 4, 4).to_patches(jnp.asarray(image)))
    np.testing.assert_array_equal(patches[0, 1, 2, 1].reshape(4, 4, 3), image[0, 8:12, 20:24])


@pytest.mark.parametrize("side", [16, 32, 64])
def test_encoder_and_decoder_shapes(side: int) -> None:
    grid = PatchGrid((side, side, 3), SIZE.patch, 4)
    encoder = eqx.filter_eval_shape(PatchEncoder, grid, SIZE, key=jax.random.key(0))
    decoder = eqx.filter_eval_shape(PatchDecoder, 10, grid, SIZE, key=jax.random.key(1))
    patches = jnp.zeros((2, 4, 4, grid.merge**2, 48), jnp.uint8)
    assert eqx.filter_eval_shape(lambda net, x: net(x), encoder, patches).shape == (
        2,
        encoder.size_out,
    )
    assert encoder.size_out == 16 * 4 * SIZE.depth
    assert (
        eqx.filter_eval_shape(lambda net, x: net(x), decoder, jnp.zeros((2, 10))).shape
        == patches.shape
    )


def test_decoder_output_is_a_picture_and_encoder_sees_every_patch() -> None:
    """One white pixel in each of the 16 patches, and a black picture: 17 different embeddings."""
    grid = PatchGrid((16, 16, 1), 4, 4)
    pictures = np.zeros((17, 16, 16, 1), np.uint8)
    for i in range(16):
        pictures[i, 4 * (i // 4), 4 * (i % 4)] = 255

    @jax.jit
    def both(pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
        decoder = PatchDecoder(10, grid, SIZE, key=jax.random.key(1))
        encoder = PatchEncoder(grid, SIZE, key=jax.random.key(0))
        feature = 100.0 * jax.random.normal(jax.random.key(2), (3, 10))
        return decoder(feature), encoder(grid.to_patches(pictures))

    out, embedding = map(np.asarray, both(pictures))
    assert out.min() >= 0.0 and out.max() <= 1.0 and out.std() > 0.01
    assert len({row.tobytes() for row in embedding}) == 17


@pytest.mark.parametrize("image", [(60, 60, 3), (64, 32, 3), (8, 8, 3), (24, 24, 1)])
def test_refused_sizes(image: tuple[int, int, int]) -> None:
    """Only squares whose side is a multiple of 4 coarse squares × 4 pixels can be cut."""
    with pytest.raises(ValueError, match=f"{image[0]}x{image[1]}.*multiple of 16"):
        PatchGrid(image, 4, 4)


def test_a_weight_is_spread_over_its_part_of_the_picture() -> None:
    """Quarters of 16 pixels with 8 squares of 2 pixels each; all channels weigh the same."""
    grid = PatchGrid((16, 16, 3), 2, 4)
    weight = jnp.arange(8.0).reshape(2, 2, 2)
    pixels = np.asarray(grid.to_image(grid.spread(weight)))
    assert pixels.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(pixels, np.kron(weight, np.ones((8, 8)))[..., None].repeat(3, -1))
