"""NetHack's 16-pixel tiles as lookup tables, cutting the map, and drawing what was cut.

The stock mapper of MiniHack concatenates tiles in Python; one table gives the same pixels several
times faster.
"""

from __future__ import annotations

import functools
import importlib
import warnings

import numpy as np
from jaxtyping import Int16, UInt8
from PIL import Image

from sensei.envs.minihack_game import nethack

TILE = 16
"""Pixels on a side of a tile as MiniHack brings it."""


@functools.cache
def tile_table(pixels: int = TILE) -> UInt8[np.ndarray, "glyph {pixels} {pixels} 3"]:
    """Return the picture of every glyph, drawn once per process from MiniHack's tiles (4.6 MB).

    Other sizes than 16 pixels are made from those, each pixel the mean of what it covers.
    """
    if pixels != TILE:
        column = Image.fromarray(tile_table().reshape(-1, TILE, 3))
        small = column.resize((pixels, column.height // TILE * pixels), Image.Resampling.BOX)
        return np.asarray(small).reshape(-1, pixels, pixels, 3)
    count = nethack().MAX_GLYPH
    with warnings.catch_warnings():
        # The stock mapper leaves its file of tiles open.
        warnings.simplefilter("ignore", ResourceWarning)
        mapper = importlib.import_module("minihack.tiles").GlyphMapper()
    tiles = [mapper.glyph_id_to_rgb(glyph) for glyph in range(count)]
    return np.stack(tiles).astype(np.uint8)


def crop_around(
    glyphs: Int16[np.ndarray, "21 79"], x: int, y: int, size: int, outside: int
) -> Int16[np.ndarray, "{size} {size}"]:
    """Cut ``size`` × ``size`` glyphs around (x, y), ``size`` odd; off the map is ``outside``."""
    half = size // 2
    height, width = glyphs.shape
    if half <= x < width - half and half <= y < height - half:
        return glyphs[y - half : y + half + 1, x - half : x + half + 1].copy()
    crop = np.full((size, size), outside, glyphs.dtype)
    top, left = max(y - half, 0), max(x - half, 0)
    seen = glyphs[top : y + half + 1, left : x + half + 1]
    row, column = top - (y - half), left - (x - half)
    crop[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return crop


def draw(
    crop: Int16[np.ndarray, "h w"], table: UInt8[np.ndarray, "glyph tile tile 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw glyphs as tiles: 5×5 glyphs become 80×80 pixels."""
    (rows, columns), tile = crop.shape, table.shape[1]
    return table[crop].transpose(0, 2, 1, 3, 4).reshape(rows * tile, columns * tile, 3)


@functools.cache
def _nearest(size: int, source: int) -> np.ndarray:
    return (np.arange(size) * source) // size


def shrink(image: UInt8[np.ndarray, "h h 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Resize a square picture to ``size`` by nearest neighbour, as the published code does."""
    index = _nearest(size, image.shape[0])
    return image.take(index, axis=0).take(index, axis=1)
