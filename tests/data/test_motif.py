"""The published folder layout, and one clear line for each way in which a folder is not like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from motif_folder import IMAGES, SAID, write
from sensei.data.motif import read_motif
from sensei.types import SenseiError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "published")


def test_a_published_folder(folder: Path) -> None:
    found = read_motif(folder)
    np.testing.assert_array_equal(found.images, IMAGES[:, :, 0])
    np.testing.assert_array_equal(found.preferences["preferences_gpt4"], SAID)
    assert found.vector.shape == (len(SAID), 2, 1) and found.vector.dtype == np.float32
    assert found.vector[1].tolist() == [[1.0], [0.0]]
    assert found.chosen(None) == "preferences_gpt4"


def test_pictures_as_npy_without_numbers(folder: Path) -> None:
    (folder / "data" / "images.pickle").unlink()
    (folder / "data" / "observations.npy").unlink()
    np.save(folder / "data" / "images.npy", IMAGES[:, :, 0])
    found = read_motif(folder)
    np.testing.assert_array_equal(found.images, IMAGES[:, :, 0])
    assert found.vector.shape == (len(SAID), 2, 0)


def test_who_is_trained_on_has_to_be_said_where_there_are_several(folder: Path) -> None:
    for name in ("preferences_llava", "preferences_gt"):
        np.save(folder / "preference" / f"{name}.npy", SAID)
    found = read_motif(folder)
    assert found.chosen("preferences_llava") == "preferences_llava"
    assert found.chosen("preferences_gt") == "preferences_gt"
    with pytest.raises(UsageError, match="not given: give one of preferences_gpt4, preferences_gt"):
        found.chosen(None)
    with pytest.raises(UsageError, match="--preference is 'gpt5'"):
        found.chosen("gpt5")


def save(name: str, value: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, value)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


GPT4 = "preference/preferences_gpt4.npy"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("data/images.pickle"), "no data/images.pickle or data/images.npy: name the folder"),
        (remove(GPT4), "no preference/\\*.npy"),
        (lambda f: (f / "data/images.pickle").write_bytes(b"cos\nsystem\n."), "holds a name"),
        (save("data/images.npy", IMAGES[:, :1]), r"uint8\[6, 1, 1, 8, 8, 3\]: it must be uint8"),
        (save("data/images.npy", IMAGES.astype(float)), r"is float64\[6, 2, 1"),
        (
            save("data/images.npy", np.moveaxis(IMAGES, -1, -3)),
            r"must be uint8 \[N, 2, 1, H, W, 3\]",
        ),
        (save("data/observations.npy", np.zeros((3, 2))), "numbers of 6 pairs"),
        (save("data/observations.npy", np.full((6, 2), "a")), "numbers of 6 pairs"),
        (save(GPT4, SAID[:4]), r"shape \[4\], but there are pictures of 6 pairs"),
        (save(GPT4, np.array([0, 1, 2, 3, 4, 0])), "says 4 of pair 4: 0 is first"),
        (save(GPT4, np.array([0, 1, 0.5, 3, 1, 0])), r"says 0\.5 of pair 2"),
        (lambda f: np.save(f / GPT4, SAID.astype(object), allow_pickle=True), "no plain numpy"),
        (lambda f: (f / GPT4).write_bytes(b"\x93NUMPY"), "no plain numpy array"),
    ],
)
def test_what_a_folder_may_lack(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(SenseiError, match=message):
        read_motif(folder)
