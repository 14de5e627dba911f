"""The tasks that patches and convolutions are compared on are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_drawn_number_is_a_square_in_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corridor of 4 cells shows 5 columns, each at many heights; reading it earns the best."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from drawn import Drawn

    env, seen = Drawn("Corridor", cells=4), []
    for seed in range(20):
        picture, _ = env.reset(seed=seed)
        seen.append(picture)
        for _ in range(4):
            picture, reward, terminated, _, _ = env.step(1)
            seen.append(picture)
        assert terminated and reward == 1.0
    lit = [np.argwhere(picture[..., 0] == 255) for picture in seen]
    assert all(len(places) == 9 for places in lit)
    assert [places[0, 1] for places in lit] == 20 * [0, 3, 6, 9, 12]
    assert len({places[0, 0] for places in lit}) > 5
