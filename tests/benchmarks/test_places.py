"""Which rows of D_init the two looks at it take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sensei.data.episodes import EpisodeStore

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FIELDS = {
    "image": ((2, 2, 3), np.uint8),
    "vector": ((1,), np.float32),
    "prev_action": ((3,), np.float32),
    "score": ((), np.float32),
    **dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), np.bool_)),
}
EPISODE = 50


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def filled(folder: Path, rows: int, on: tuple[set[int], ...]) -> EpisodeStore:
    """A store with a stream for each of ``on``, the rows at which the bit is on; a picture's value
    is its row, a score how often the bit has gone on."""
    store = EpisodeStore(folder, FIELDS, len(on), 1.0)
    for row in range(rows):
        bits = np.array([[row in rows] for rows in on], np.float32)
        begun = [sum(r in rows and r - 1 not in rows for r in range(row + 1)) for rows in on]
        store.append(
            {
                "image": np.full((len(on), 2, 2, 3), row, np.uint8),
                "vector": bits,
                "prev_action": np.zeros((len(on), 3), np.float32),
                "score": np.array(begun, np.float32),
                "is_first": np.full(len(on), row % EPISODE == 0),
                "is_last": np.full(len(on), row % EPISODE == EPISODE - 1),
                "is_terminal": np.zeros(len(on), np.bool_),
            }
        )
    return store


def test_pick_ups_are_windows_of_one_episode(tmp_path: Path) -> None:
    """The bit goes on at row 40 of two streams; at rows 60 and 97 too near to an episode's begin
    and end; at row 50 a new episode begins with it."""
    from pick_ups import AFTER, AHEAD, LOOKED, changes

    store = filled(tmp_path, 100, ({40, 60, 61}, {40, 41, 50, 97}))
    windows = changes(store)
    before = LOOKED + AHEAD - 1
    assert windows["image"].shape == (2, before + AFTER, 2, 2, 3)
    assert (windows["image"][:, before] == 40).all()
    bits = np.asarray(windows["vector"])[:, before - 1 : before + 2, 0]
    assert bits.tolist() == [[0, 1, 0], [0, 1, 1]]
    assert np.asarray(windows["is_first"])[:, 0].all()


def test_grades_are_those_of_their_own_rows(tmp_path: Path) -> None:
    """R_ψ is the picture's value here. The bit goes on at rows 20 and 60, and with the new episode
    of row 50, before which nothing led to it."""
    from grades import by_place

    store = filled(tmp_path, 80, ({20, 50, 60},))
    found = by_place(store, lambda seen: seen["image"][:, 0, 0, 0].astype(float))
    assert {name: place["rows"] for name, place in found.items()} == {
        "grade 0": 20,
        "grade 1": 30,
        "grade 2": 10,
        "grade 3": 20,
        "before the bit goes on": 2,
    }
    assert found["grade 1"]["quartiles"] == [27.25, 34.5, 41.75]
    assert found["before the bit goes on"]["quartiles"] == [29.0, 39.0, 49.0]
