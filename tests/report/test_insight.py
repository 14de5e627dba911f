"""R_ψ in chunks, and which episode is shown."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.core.reward_model import RewardModel
from sensei.data.episodes import EpisodeStore
from sensei.report.episodes import choose
from sensei.report.insight import CHUNK, score
from sensei.types import ObsSpec

FIELDS = {
    "vector": ((1,), np.float32),
    "events": ((2,), np.int32),
    "is_first": ((), np.bool_),
    "is_last": ((), np.bool_),
}


@pytest.fixture(scope="module")
def model() -> RewardModel:
    return RewardModel(ObsSpec(None, ("x",)), members=2, units=4, key=jax.random.key(0))


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 3])
def test_chunks_change_nothing(model: RewardModel, count: int) -> None:
    vector = np.random.default_rng(0).normal(size=(count, 1)).astype(np.float32)
    found = score(model, {"vector": vector})
    assert found.shape == (count,)
    if count:
        expected = np.asarray(model({"vector": jnp.asarray(vector)}))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def store(folder: Path, *episodes: list[tuple[int, int, float]]) -> EpisodeStore:
    """A stream of complete episodes, each a list of (event 0, event 1, x)."""
    made = EpisodeStore(folder, FIELDS, num_envs=1, max_gb=0.001)
    for episode in episodes:
        for t, (one, other, x) in enumerate(episode):
            made.append(
                {
                    "vector": np.array([[x]], np.float32),
                    "events": np.array([[one, other]], np.int32),
                    "is_first": np.array([t == 0]),
                    "is_last": np.array([t == len(episode) - 1]),
                }
            )
    return made


def chosen(made: EpisodeStore, model: RewardModel | None) -> int | None:
    ref = choose(made, model)
    return None if ref is None else ref.start


def test_variety_of_events_decides_not_their_number(tmp_path: Path) -> None:
    many = [(9, 0, 0.0), (9, 0, 0.0)]
    both = [(1, 0, 0.0), (0, 1, 0.0)]
    assert chosen(store(tmp_path / "s", many, both, many), None) == 2


def test_among_equals_the_last_or_the_one_where_the_reward_varies(
    tmp_path: Path, model: RewardModel
) -> None:
    varied, flat = [(1, 0, -5.0), (0, 0, 5.0)], [(1, 0, 1.0), (0, 0, 1.0)]
    made = store(tmp_path / "s", flat, varied, flat)
    assert chosen(made, model) == 2
    assert chosen(made, None) == 4


def test_an_episode_of_one_row_cannot_be_shown(tmp_path: Path) -> None:
    assert chosen(store(tmp_path / "s", [(1, 1, 0.0)]), None) is None
