"""The moments at which R_ψ rises, and the windows through them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sensei.data import rises
from sensei.data.episodes import EpisodeStore
from sensei.data.replay import Replay
from sensei.data.rises import RISE, Rises, draw

FIELDS = {"vector": ((1,), np.float32), "is_first": ((), np.bool_)}
STREAMS = 2


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rises, "BLOCK", 8)


def judge(obs: dict[str, np.ndarray]) -> np.ndarray:
    """The vector is R_ψ."""
    return obs["vector"][:, 0]


def filled(
    folder: Path, rows: int, value: Callable[[int, int], float], max_gb: float = 1.0
) -> EpisodeStore:
    """A store whose episodes last 20 rows; ``value`` of (stream, row) is seen."""
    store = EpisodeStore(folder, FIELDS, STREAMS, max_gb)
    for row in range(rows):
        seen = np.array([[value(env, row)] for env in range(STREAMS)], np.float32)
        store.append({"vector": seen, "is_first": np.full(STREAMS, row % 20 == 0)})
    return store


def steps_up_at(*places: tuple[int, int]) -> Callable[[int, int], float]:
    """One more from each (stream, row) on."""
    return lambda env, row: float(sum(env == e and row >= r for e, r in places))


def places(found: Rises) -> list[tuple[int, int]]:
    """Stream and row of each rise."""
    return [(int(r["env"]), int(r["row"])) for r in found.held()]


def test_rises_are_found_in_whole_blocks_also_between_two_of_them(tmp_path: Path) -> None:
    """Blocks are rows 0 to 7, 8 to 15, 16 to 23, so of 23 rows the last 7 wait."""
    wanted = [(0, 3), (1, 8), (1, 15), (0, 17)]
    store = filled(tmp_path, 23, steps_up_at(*wanted))
    found = Rises(store)
    found.look(judge)
    assert places(found) == wanted[:3]
    assert found.held()["before"].tolist() == [0, 0, 1]
    assert found.held()["after"].tolist() == [1, 1, 2]
    store.append({"vector": np.ones((2, 1), np.float32), "is_first": np.zeros(2, bool)})
    found.look(judge)
    assert wanted[3] in places(found)


def test_neither_a_reset_nor_a_fall_nor_a_small_change_is_a_rise(tmp_path: Path) -> None:
    store = filled(tmp_path, 40, lambda env, row: float(20 <= row < 30) + 0.2 * (row % 2))
    found = Rises(store)
    found.look(judge)
    assert places(found) == []


@pytest.mark.parametrize("max_gb", [1.0, 6e-7])
def test_judged_at_once_or_bit_by_bit_it_is_the_same(tmp_path: Path, max_gb: float) -> None:
    """Also where the oldest rows have gone in the meantime, in the middle of a block."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(STREAMS, 300))
    store = EpisodeStore(tmp_path, FIELDS, STREAMS, max_gb)
    steady = Rises(store)
    for row in range(300):
        seen = values[:, row, None].astype(np.float32)
        store.append({"vector": seen, "is_first": np.full(STREAMS, row % 20 == 0)})
        steady.look(judge)
    late = Rises(store)
    late.look(judge)
    assert (store.oldest > 0) == (max_gb < 1.0)
    assert late.held().tolist() == steady.held().tolist()
    assert len(late.held()) > 20


def test_a_rise_is_drawn_by_how_rare_its_levels_are() -> None:
    """Nine rises from 0 to 1 and one from 1 to 3: two thirds of the levels are the one's."""
    common = np.array([(0, row, 0.0, 1.0) for row in range(1, 10)], RISE)
    rare = np.array([(1, 50, 1.0, 3.0)], RISE)
    rng = np.random.default_rng(0)
    drawn = Counter(number for number, _ in draw([common, rare], rng, 3000))
    assert drawn[1] / 3000 == pytest.approx(2 / 3, abs=0.03)


def test_a_level_that_no_rise_passes_is_every_rise_s() -> None:
    apart = np.array([(0, 1, 0.0, 1.0), (0, 2, 9.0, 10.0)], RISE)
    rng = np.random.default_rng(0)
    drawn = Counter(int(rise["row"]) for _, rise in draw([apart], rng, 3000))
    assert drawn[1] / 3000 == pytest.approx(1 / 2, abs=0.03)


def test_a_share_of_the_windows_hold_a_rise_that_is_not_their_first_row(tmp_path: Path) -> None:
    first = filled(tmp_path / "a", 400, steps_up_at((1, 203)))
    last = filled(tmp_path / "b", 400, steps_up_at((0, 2), (0, 399)))
    replay, rng = Replay([first, last], 0.5), np.random.default_rng(0)
    replay.look(judge)
    found = []
    for _ in range(50):
        rows = replay.sample(rng, 8, 6)["vector"][..., 0]
        assert rows.shape == (8, 6)
        found.append(np.any(np.diff(rows, axis=1) > 0.5, axis=1)[:4])
    assert np.all(found)


def test_without_rises_or_a_share_everything_is_uniform(tmp_path: Path) -> None:
    store = filled(tmp_path, 100, steps_up_at((0, 50)))
    plain, shared, unseen = Replay([store]), Replay([store], 0.0), Replay([store], 0.5)
    shared.look(judge)
    batches = [r.sample(np.random.default_rng(0), 8, 6) for r in (plain, shared, unseen)]
    for name in batches[0]:
        for other in batches[1:]:
            np.testing.assert_array_equal(batches[0][name], other[name])


def test_what_was_judged_is_forgotten_with_the_judge(tmp_path: Path) -> None:
    replay = Replay([filled(tmp_path, 100, steps_up_at((0, 50)))], 0.5)
    replay.look(judge)
    replay.forget_rises()
    replay.look(lambda obs: np.zeros(len(obs["vector"])))
    assert not len(replay.rises[0].held())
