"""Which arrays are pictures, and how any picture becomes a small square one of uint8."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8
from PIL import Image

_MIN_SIDE = 8
"""Arrays smaller than this on a side are numbers, not pictures."""
_MAX_CHANNELS = 16
"""More channels, or more frames of a stack, than this make an array numbers, not a picture."""
COLOURS = (1, 3, 4)
"""Channels (grey, RGB, RGBA) by which a float array of any range is known as a picture."""


@dataclasses.dataclass(frozen=True)
class PictureShape:
    """How a picture lies in its array: ``frames`` of height × width × channels."""

    height: int
    width: int
    channels: int
    channels_first: bool = False
    frames: int = 1


def picture_shape(shape: tuple[int, ...]) -> PictureShape | None:
    """Read a shape as (H, W), (H, W, C), (C, H, W), or a stack of frames (K, …) of the last two.

    Where both orders are possible, the one with fewer channels is meant. None: no picture.
    """
    if len(shape) == 2:
        return PictureShape(*shape, 1) if min(shape) >= _MIN_SIDE else None
    if len(shape) == 4 and shape[0] <= _MAX_CHANNELS:
        inner = picture_shape(shape[1:])
        return inner and dataclasses.replace(inner, frames=shape[0])
    if len(shape) != 3:
        return None
    orders = [
        PictureShape(shape[0], shape[1], shape[2]),
        PictureShape(shape[1], shape[2], shape[0], channels_first=True),
    ]
    fit = [o for o in orders if o.channels <= _MAX_CHANNELS and min(o.height, o.width) >= _MIN_SIDE]
    return min(fit, key=lambda order: order.channels, default=None)


def is_picture(space: spaces.Space[Any]) -> bool:
    """Tell whether values of a space are pictures: by shape, dtype and range."""
    if not isinstance(space, spaces.Box) or (shape := picture_shape(space.shape)) is None:
        return False
    if space.dtype == np.uint8:
        return True
    low, high = float(space.low.min()), float(space.high.max())
    if low == 0.0 and high == 255.0:
        return True
    if not np.issubdtype(space.dtype, np.floating):
        return False
    same = space.low.max() == low and space.high.min() == high and np.isfinite(high - low)
    coloured = len(space.shape) > 2 and shape.channels in COLOURS
    return bool((low, high) == (0.0, 1.0) or (same and coloured))


def pixels(value: np.ndarray, space: spaces.Box) -> UInt8[np.ndarray, "height width channel"]:
    """Turn a checked image value into uint8 pixels, channels last, in its own size.

    Frames of a stack become channels, the oldest first.
    """
    shape = picture_shape(space.shape)
    assert shape is not None
    if value.ndim == 2:
        value = value[:, :, None]
    elif shape.channels_first:
        value = np.moveaxis(value, -3, -1)
    if value.ndim == 4:
        value = np.moveaxis(value, 0, 2).reshape(shape.height, shape.width, -1)
    if space.dtype == np.uint8:
        return np.ascontiguousarray(value)
    low, high = float(space.low.min()), float(space.high.max())
    scaled = (value - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


def resize(
    image: UInt8[np.ndarray, "height width channel"], size: int
) -> UInt8[np.ndarray, "size size channel"]:
    """Resize by area averaging to a square; an image of that size comes back untouched."""
    height, width, channels = image.shape
    if height == size and width == size:
        return image
    if channels == 3:
        planes = [Image.fromarray(image)]
    else:
        planes = [Image.fromarray(np.ascontiguousarray(image[:, :, c])) for c in range(channels)]
    small = [np.asarray(plane.resize((size, size), Image.Resampling.BOX)) for plane in planes]
    return small[0] if channels == 3 else np.stack(small, axis=-1)
