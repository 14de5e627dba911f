"""Pictures keep their pixels on the way into the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from sensei.report.pictures import as_rgb, error_colours, picture, strip, to_bytes


def decode(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_picture_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(picture(image)), image)


def test_a_stack_of_grey_images_shows_its_first() -> None:
    stack = np.zeros((4, 4, 2), np.uint8)
    stack[..., 0] = 9
    assert (as_rgb(stack) == 9).all() and as_rgb(stack).shape == (4, 4, 3)


def test_every_image_of_a_strip_is_in_the_middle_of_its_slot() -> None:
    images = [np.full((64, 64, 3), value, np.uint8) for value in (10, 20, 30)]
    pixels = decode(strip(images))
    slot = pixels.shape[1] // 3
    for i, value in enumerate((10, 20, 30)):
        row = pixels[32, i * slot : (i + 1) * slot]
        opaque = np.flatnonzero(row[:, 3])
        assert (row[opaque, :3] == value).all() and len(opaque) == 64
        assert opaque[0] == slot - 1 - opaque[-1] > 0


def test_error_is_black_where_right_and_white_from_half_brightness_on() -> None:
    truth = np.zeros((1, 1, 3, 3), np.uint8)
    predicted = truth.copy()
    predicted[0, 0, 1], predicted[0, 0, 2] = 64, 200
    assert error_colours(truth, predicted)[0, 0, :, 0].tolist() == [0, 128, 255]


def test_brightness_is_clipped() -> None:
    assert to_bytes(np.array([[[-1.0, 0.5, 2.0]]])).ravel().tolist() == [0, 128, 255]
