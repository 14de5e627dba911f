"""A tiny folder in the layout of the published label sets."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

SAID = np.array([0, 1, 2, 3, 1, 0])
"""First, second, tie, unknown, second, first."""
IMAGES = np.random.default_rng(0).integers(256, size=(6, 2, 1, 8, 8, 3)).astype(np.uint8)


def write(folder: Path, images: np.ndarray = IMAGES, said: np.ndarray = SAID) -> Path:
    """Write pictures [N, 2, 1, H, W, 3], a key bit and the preferences of "gpt4"."""
    (folder / "data").mkdir(parents=True)
    (folder / "preference").mkdir()
    with (folder / "data" / "images.pickle").open("wb") as file:
        pickle.dump(images, file, protocol=pickle.HIGHEST_PROTOCOL)
    key = np.zeros((len(said), 2, 1, 1), np.uint8)
    key[1::2, 0] = 1
    np.save(folder / "data" / "observations.npy", key)
    np.save(folder / "preference" / "preferences_gpt4.npy", said)
    return folder
