"""NetHack's 16-pixel tiles as one lookup table, and what the agent sees of the map.

The stock mapper of MiniHack concatenates tiles in Python; one table gives the same pixels several
times faster.
"""

from __future__ import annotations

import functools
import importlib
import warnings

import numpy as np
from jaxtyping import Int16, UInt8

from sensei.envs.minihack_game import nethack

CROP = 5
"""Tiles on a side of the agent's view (published setting)."""
TILE = 16
"""Pixels on a side of a tile."""


@functools.cache
def tile_table() -> UInt8[np.ndarray, "glyph 16 16 3"]:
    """Return the picture of every glyph, drawn once per process from MiniHack's tiles (4.6 MB)."""
    count = nethack().MAX_GLYPH
    with warnings.catch_warnings():
        # The stock mapper leaves its file of tiles open.
        warnings.simplefilter("ignore", ResourceWarning)
        mapper = importlib.import_module("minihack.tiles").GlyphMapper()
    tiles = [mapper.glyph_id_to_rgb(glyph) for glyph in range(count)]
    return np.stack(tiles).astype(np.uint8)


def crop_around(
    glyphs: Int16[np.ndarray, "21 79"], x: int, y: int, outside: int
) -> Int16[np.ndarray, "5 5"]:
    """Cut the 5×5 glyphs around (x, y); beyond the map's edge is the glyph ``outside``."""
    half = CROP // 2
    height, width = glyphs.shape
    if half <= x < width - half and half <= y < height - half:
        return glyphs[y - half : y + half + 1, x - half : x + half + 1].copy()
    crop = np.full((CROP, CROP), outside, glyphs.dtype)
    top, left = max(y - half, 0), max(x - half, 0)
    seen = glyphs[top : y + half + 1, left : x + half + 1]
    row, column = top - (y - half), left - (x - half)
    crop[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return crop


def draw(
    crop: Int16[np.ndarray, "h w"], table: UInt8[np.ndarray, "glyph 16 16 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw glyphs as tiles: 5×5 glyphs become 80×80 pixels."""
    rows, columns = crop.shape
    return table[crop].transpose(0, 2, 1, 3, 4).reshape(rows * TILE, columns * TILE, 3)


@functools.cache
def _nearest(size: int, source: int) -> np.ndarray:
    return (np.arange(size) * source) // size


def shrink(image: UInt8[np.ndarray, "h h 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Resize a square picture to ``size`` by nearest neighbour, as the published code does."""
    index = _nearest(size, image.shape[0])
    return image.take(index, axis=0).take(index, axis=1)
