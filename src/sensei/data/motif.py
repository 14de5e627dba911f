"""The folder layout of the published MOTIF and SENSEI label sets.

data/images.pickle          uint8 [N, 2, 1, H, W, 3], pair by pair (or images.npy)
data/observations.npy       numbers the agent sees beside the image [N, 2, 1, V], if there are any
preference/NAME.npy         who prefers what [N]: 0 first, 1 second, 2 tie, 3 unknown
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from sensei.data.plain_pickle import map_array
from sensei.data.records import Choice
from sensei.types import SenseiError, UsageError

CHOICES: tuple[Choice, ...] = ("first", "second", "tie", "unknown")
"""What the numbers in a preference file mean, from 0."""
TRUTH = "preferences_gt"
"""The preference file of a simulator's own order, which nobody is trained on unasked."""


@dataclasses.dataclass(frozen=True)
class MotifFolder:
    """A label set as published; the pictures stay on disk until they are looked at."""

    images: np.ndarray
    """uint8 [N, 2, H, W, 3]."""
    vector: np.ndarray
    """float32 [N, 2, V]; V = 0 where there are no numbers."""
    preferences: dict[str, np.ndarray]
    """File name without ending → indices into ``CHOICES`` [N]."""

    def chosen(self, name: str | None) -> str:
        """Return the preference file to train on: the named one, or the only one.

        Raises:
            UsageError: there is none of that name, or a choice is needed.
        """
        others = [other for other in self.preferences if other != TRUTH] or list(self.preferences)
        if name is None and len(others) == 1:
            return others[0]
        if name in self.preferences:
            return str(name)
        given = "not given" if name is None else repr(name)
        raise UsageError(f"--preference is {given}: give one of {', '.join(self.preferences)}")


def read_motif(folder: Path) -> MotifFolder:
    """Read a folder of this layout; pickles are read without being run.

    Raises:
        UsageError: something is missing.
        SenseiError: something is there, but not what the layout says.
    """
    images = _images(folder)
    paths = sorted((folder / "preference").glob("*.npy"))
    if not paths:
        raise UsageError(f"{folder} has no preference/*.npy: there are no labels to import")
    preferences = {path.stem: _preferences(path, len(images)) for path in paths}
    return MotifFolder(images, _vector(folder, len(images)), preferences)


def _images(folder: Path) -> np.ndarray:
    array, pickled = folder / "data" / "images.npy", folder / "data" / "images.pickle"
    if not array.exists() and not pickled.exists():
        raise UsageError(
            f"{folder} has no data/images.pickle or data/images.npy: name the folder that holds "
            "data/ and preference/"
        )
    path = array if array.exists() else pickled
    stored = _load(array) if array.exists() else map_array(pickled)
    images = stored[:, :, 0] if stored.ndim == 6 and stored.shape[2] == 1 else stored
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[1] != 2 or images.shape[4] != 3:
        raise SenseiError(
            f"{path} is {stored.dtype}{list(stored.shape)}: it must be uint8 [N, 2, 1, H, W, 3]"
        )
    return images


def _vector(folder: Path, pairs: int) -> np.ndarray:
    path = folder / "data" / "observations.npy"
    if not path.exists():
        return np.zeros((pairs, 2, 0), np.float32)
    vector = _load(path)
    if vector.shape[:2] != (pairs, 2) or vector.dtype.kind not in "biuf":
        raise SenseiError(
            f"{path} is {vector.dtype}{list(vector.shape)}: it must be numbers of {pairs} pairs, "
            f"[{pairs}, 2, 1, V]"
        )
    return vector.reshape(pairs, 2, -1).astype(np.float32)


def _preferences(path: Path, pairs: int) -> np.ndarray:
    said = _load(path)
    if said.shape != (pairs,):
        raise SenseiError(
            f"{path} has shape {list(said.shape)}, but there are pictures of {pairs} pairs: it "
            "must have one number a pair"
        )
    wrong = ~np.isin(said, range(len(CHOICES)))
    if wrong.any():
        raise SenseiError(
            f"{path} says {said[wrong][0]} of pair {int(np.argmax(wrong))}: 0 is first, 1 second, "
            "2 tie, 3 unknown"
        )
    return said.astype(np.int8)


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SenseiError(f"{path} is no plain numpy array ({error}): export it again") from error
