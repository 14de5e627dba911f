"""A label store with solid-colour pictures: the brightness of a picture is its frame's score."""

import numpy as np
import pytest

from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.data.records import Frame


def picture(score: float) -> bytes:
    """Make a small grey picture as bright as its score, 0 to 250."""
    return encode_png(np.full((8, 8, 3), int(score), np.uint8))


@pytest.fixture
def make_store(tmp_path):
    """Return a function that makes a store with so many pairs of distinct scores."""
    stores = []

    def make(pairs: int, text: str = "") -> LabelStore:
        store = LabelStore(tmp_path / f"labels-{len(stores)}.sqlite")
        stores.append(store)
        rng = np.random.default_rng(0)
        scores = rng.permutation(240)
        store.add_frames(
            Frame("collect", 0, 0, i // 6, i, picture(s), text=text, score=float(s))
            for i, s in enumerate(scores)
        )
        draw(store, "uniform", pairs, rng)
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def noise_store(tmp_path):
    """A store with eight pairs of noisy pictures, no two alike, for models that only look."""
    rng = np.random.default_rng(0)
    with LabelStore(tmp_path / "labels.sqlite") as store:
        store.add_frames(
            Frame("collect", 0, 0, i // 6, i, encode_png(rng.integers(0, 256, (16, 16, 3), "u1")))
            for i in range(30)
        )
        draw(store, "uniform", 8, rng)
        yield store
