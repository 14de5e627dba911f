"""Lossless PNG bytes of uint8 images with any number of channels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, PngImagePlugin

from sensei.types import SenseiError

_CHANNELS = "sensei-channels"


def encode_png(image: np.ndarray) -> bytes:
    """Encode a uint8 image [H, W, C]. Stacks (C not 1 or 3) become one tall grey picture."""
    if image.dtype != np.uint8 or image.ndim != 3:
        raise SenseiError(f"a picture must be uint8 [H, W, C], got {image.dtype}{image.shape}")
    height, width, channels = image.shape
    info = PngImagePlugin.PngInfo()
    flat = image
    if channels != 3:
        flat = image.transpose(2, 0, 1).reshape(channels * height, width)
        info.add_text(_CHANNELS, str(channels))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(file, "PNG", pnginfo=info, compress_level=3)
    return file.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Decode what ``encode_png`` made, or any other PNG as RGB: uint8 [H, W, C]."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG"])
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise SenseiError(
            f"a stored picture is damaged ({error}): delete it and run again"
        ) from error
    channels = getattr(picture, "text", {}).get(_CHANNELS)
    if channels is None:
        return np.array(picture.convert("RGB"))
    count = int(channels)
    flat = np.array(picture)
    return flat.reshape(count, flat.shape[0] // count, flat.shape[1]).transpose(1, 2, 0).copy()


def side_by_side(one: np.ndarray, other: np.ndarray, gap: int) -> np.ndarray:
    """Put two uint8 pictures [h, w, 3] next to each other, ``gap`` white columns between them."""
    height = max(len(one), len(other))
    sheet = np.full((height, one.shape[1] + gap + other.shape[1], 3), 255, np.uint8)
    sheet[: len(one), : one.shape[1]] = one
    sheet[: len(other), one.shape[1] + gap :] = other
    return sheet
