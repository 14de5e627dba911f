"""R_ψ learns what is interesting in KeyChest, from exact and from noisy labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import pytest

pytest.importorskip("nle")

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.core.reward_model import RewardModel
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.data.records import Frame
from sensei.envs import make_adapter
from sensei.envs.config import EnvConfig
from sensei.envs.contract import Adapter, Row
from sensei.fields import with_dotted
from sensei.presets import preset
from sensei.run.progress import Progress
from sensei.stages.distill import finish, fit, load_frames
from sensei.stages.setups import blank_reward_model
from sensei.testing.solvers import solve

MISTAKES = (0.0, 0.1, 0.3, 0.5)
"""Shares of random actions in the scripted players' episodes."""
SOLVED, PLAYED, KEPT = 120, 3, 4_000
ACTIONS = np.eye(5, dtype=np.float32)
HELD_OUT = 10**6
"""Seeds from here on are of no training episode."""


@pytest.fixture(scope="module")
def adapter() -> Iterator[Adapter]:
    adapter = make_adapter(EnvConfig(name="keychest"))
    yield adapter
    adapter.close()


def scripted(adapter: Adapter, seed: int, epsilon: float = 0.0) -> Iterator[Row]:
    row = adapter.reset(seed)
    yield row
    for action in solve(adapter.env, epsilon, seed):
        row = adapter.step(ACTIONS[action])
        yield row
        if row["is_last"]:
            return


def by_chance(adapter: Adapter, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    row = adapter.reset(seed)
    while not row["is_last"]:
        yield row
        row = adapter.step(ACTIONS[rng.integers(5)])


@pytest.fixture(scope="module")
def frames(adapter: Adapter) -> list[Frame]:
    """Label frames of episodes by scripted players that err, and by chance."""
    play: list[Any] = [
        scripted(adapter, seed, epsilon)
        for seed, epsilon in zip(range(SOLVED), itertools.cycle(MISTAKES), strict=False)
    ]
    play += [by_chance(adapter, SOLVED + i) for i in range(PLAYED)]
    moments = [(number, row) for number, rows in enumerate(play) for row in rows]
    chosen = np.random.default_rng(0).choice(len(moments), KEPT, replace=False)
    return [frame(*moments[i], step=int(i)) for i in sorted(chosen)]


def frame(episode: int, row: Row, step: int) -> Frame:
    return Frame(
        stage="collect",
        generation=1,
        env=0,
        episode=episode,
        step=step,
        picture=b"the oracle does not look",
        obs=encode_png(row["image"]),
        vector=tuple(row["vector"].tolist()),
        score=float(row["score"]),
    )


def distilled(
    folder: Path, frames: list[Frame], pairs: int, epochs: int, **annotator: Any
) -> tuple[RewardModel, dict[str, Any]]:
    """Draw pairs, label them, and train R_ψ, as the stages do."""
    config = with_dotted(preset("keychest"), {"distill.epochs": epochs, "distill.patience": 2})
    who = AnnotatorConfig(**annotator)
    with LabelStore(folder / "labels.sqlite") as store:
        store.add_frames(frames)
        draw(store, "uniform", pairs, np.random.default_rng(0))
        annotate(store, build_annotator(who), who)
        data = load_frames(store)
    with Progress("distill", epochs, "epochs") as progress:
        model, _ = fit(blank_reward_model(config, data.spec), data, config, progress)
    return finish(model, data)


@pytest.fixture(scope="module")
def exact(
    frames: list[Frame], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RewardModel, dict[str, Any]]:
    return distilled(tmp_path_factory.mktemp("exact"), frames, 4_000, 6, kind="oracle")


def test_exact_labels_are_learned(exact: tuple[RewardModel, dict[str, Any]]) -> None:
    _, measures = exact
    assert measures["validation_accuracy"] >= 0.95
    assert measures["true_order_accuracy"] == measures["validation_accuracy"]
    assert measures["validation_pairs"] >= 400


def test_a_quarter_of_wrong_labels_is_seen_through(frames: list[Frame], tmp_path: Path) -> None:
    _, measures = distilled(tmp_path, frames, 8_000, 4, kind="noisy", flip_rate=0.25)
    assert 0.6 < measures["validation_accuracy"] < 0.85  # of labels a quarter of which is wrong
    assert measures["true_order_accuracy"] >= 0.9


def test_the_reward_rises_along_a_solution(
    adapter: Adapter, exact: tuple[RewardModel, dict[str, Any]]
) -> None:
    model, _ = exact
    episodes = [list(scripted(adapter, HELD_OUT + seed)) for seed in range(20)]
    rows = [row for episode in episodes for row in episode]
    obs = {name: np.stack([row[name] for row in rows]) for name in ("image", "vector")}
    reward = np.asarray(eqx.filter_jit(model)(obs))
    score = np.array([row["score"] for row in rows])
    with_key = obs["vector"][:, 0] > 0
    before, carrying = reward[~with_key].mean(), reward[score == 2].mean()
    in_sight, beside = reward[score == 3].mean(), reward[score == 4].mean()
    assert before < carrying < in_sight < beside
    assert reward[with_key].mean() > before + 0.5  # in standard deviations over the label frames
    # NetHack draws an opened chest like a closed one, so opening it looks like standing there.
    opened = np.flatnonzero(score == 5)
    assert len(opened) == 20
    np.testing.assert_allclose(reward[opened], reward[opened - 1], atol=1e-5)
    assert reward[opened].mean() > in_sight
