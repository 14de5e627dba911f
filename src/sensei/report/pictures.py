"""Pictures as data URLs, so that a page needs no file beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

GAP = 8
"""Pixels of a strip are ``GAP`` times enlarged before a gap of this many pixels is left."""
FULL_ERROR = 0.5
"""The error of a pixel, in [0, 1], that is drawn in the brightest colour."""


def data_url(data: bytes, kind: str) -> str:
    """Return bytes as a URL that holds them; ``kind`` is a media type such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(image: UInt8[np.ndarray, "h w c"]) -> str:
    """Return one image as a PNG data URL."""
    return _png(as_rgb(image))


def strip(images: Sequence[np.ndarray]) -> str:
    """Return images (h, w, c) of one size side by side, with transparent gaps, as one PNG URL."""
    factor = max(1, round(64 / images[0].shape[0]))
    large = [as_rgb(image).repeat(factor, 0).repeat(factor, 1) for image in images]
    opaque = [np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]) for image in large]
    gap = np.zeros((opaque[0].shape[0], max(2, opaque[0].shape[1] // GAP // 2), 4), np.uint8)
    # Half a gap on either side keeps each image in the middle of its slot.
    slots = [part for image in opaque for part in (gap, image, gap)]
    return _png(np.concatenate(slots, axis=1))


def as_rgb(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return what a person can look at: of a stack of grey images, the first."""
    return image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1)


def error_colours(
    truth: UInt8[np.ndarray, "t h w c"], predicted: UInt8[np.ndarray, "t h w c"]
) -> UInt8[np.ndarray, "t h w 3"]:
    """Draw the mean absolute error over the colours: black 0, white ``FULL_ERROR`` or more."""
    error = np.abs(truth.astype(np.float32) - predicted).mean(-1) / 255.0
    grey = (np.minimum(error / FULL_ERROR, 1.0) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def to_bytes(image: Float[np.ndarray, "*n h w c"]) -> UInt8[np.ndarray, "*n h w c"]:
    """Turn brightness in [0, 1] into 0 … 255."""
    return np.round(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return data_url(file.getvalue(), "image/png")
