"""Pair samplers: distinct pairs, one side of the split, the promised distributions."""

import numpy as np
import pytest

from sensei.data.label_store import LabelStore
from sensei.data.pairs import Candidates, contrast, draw, recent, uncertain, uniform
from sensei.data.records import Frame
from sensei.types import SenseiError, UsageError


def fill(tmp_path, episodes=20, frames=6, envs=2, score=True):
    store = LabelStore(tmp_path / "labels.sqlite")
    store.add_frames(
        Frame(
            "collect",
            0,
            env,
            episode,
            episode * 100 + step,
            b"x",
            score=float(step == frames - 1) if score else None,
        )
        for episode in range(episodes)
        for env in range(envs)
        for step in range(frames)
    )
    return store


def candidates(episodes=10, frames=20):
    episode = np.repeat(np.arange(episodes), frames)
    score = np.tile(np.arange(frames), episodes).astype("f4")
    return Candidates(np.arange(len(episode)) + 1000, episode, score)


@pytest.mark.parametrize("sampler", ["uniform", "recent", "contrast", "uncertain"])
def test_drawn_pairs_are_new_distinct_and_on_one_side(tmp_path, sampler):
    store = fill(tmp_path)
    one = draw(store, sampler, 100, np.random.default_rng(0), generation=3)
    two = draw(store, sampler, 100, np.random.default_rng(0), doubt=lambda a, b: a + b)
    assert len(one.ids) == len(two.ids) == 100 and one.message == ""
    assert len(np.unique(store.pair_keys(), axis=0)) == 200
    table = store.frame_table()
    split = dict(zip(table.id.tolist(), table.split.tolist(), strict=True))
    episode = dict(zip(table.id.tolist(), (table.env + 10 * table.episode).tolist(), strict=True))
    pairs = store.pairs()
    assert all(split[p.first] == split[p.second] for p in pairs)
    if sampler != "contrast":
        assert all(episode[p.first] != episode[p.second] for p in pairs)
    assert sum(split[p.first] == "val" for p in pairs) == 30
    assert {p.generation for p in pairs[:100]} == {3}
    store.close()


def test_the_draw_is_deterministic(tmp_path):
    keys = []
    for name in ("a", "b"):
        store = fill(tmp_path / name)
        draw(store, "uniform", 50, np.random.default_rng(7))
        keys.append([(p.first, p.second) for p in store.pairs()])
        store.close()
    assert keys[0] == keys[1]


def test_too_few_pairs_are_reported(tmp_path):
    store = fill(tmp_path, episodes=3, frames=2, envs=1)
    drawn = draw(store, "uniform", 100, np.random.default_rng(0))
    trained = store.frame_table().split.tolist().count("train") // 2
    assert len(drawn.ids) == {2: 4, 3: 12}[trained]  # every cross-episode pair, each once
    assert drawn.message.startswith(f"only {len(drawn.ids)} of 100 pairs")
    assert draw(store, "uniform", 5, np.random.default_rng(1)).ids == []
    store.close()


def test_one_episode_gives_no_pair(tmp_path):
    store = fill(tmp_path, episodes=1, envs=1)
    with pytest.raises(SenseiError, match="collect more episodes"):
        draw(store, "uniform", 5, np.random.default_rng(0))
    store.close()


def test_contrast_needs_an_oracle(tmp_path):
    store = fill(tmp_path, score=False)
    with pytest.raises(UsageError, match="oracle_score"):
        draw(store, "contrast", 5, np.random.default_rng(0))
    store.close()


def test_uniform_covers_frames_evenly():
    frames = candidates()
    pairs = uniform(frames, np.random.default_rng(0), 40_000)
    counts = np.bincount(pairs.reshape(-1), minlength=200)
    assert counts.min() > 0.75 * counts.mean() and counts.max() < 1.25 * counts.mean()


def test_recent_follows_beta_3_1():
    """The mean of Beta(3, 1) is 3/4; dropping equal episodes moves it a little."""
    frames = candidates(episodes=200)
    pairs = recent(frames, np.random.default_rng(0), 40_000)
    ranks = frames.episode[pairs] / 200
    assert abs(ranks.mean() - 0.75) < 0.01
    assert abs((ranks < 0.5).mean() - 0.5**3) < 0.01


def test_contrast_pairs_good_with_bad_in_random_order():
    frames = candidates()
    scores = frames.score[contrast(frames, np.random.default_rng(0), 2000)]
    good = scores > np.median(frames.score)
    assert np.all(good.sum(axis=1) == 1)
    assert 0.45 < good[:, 0].mean() < 0.55


def test_uncertain_chooses_what_is_trained_on_and_leaves_validation_uniform(tmp_path):
    """Doubt is high on late frames; uniform pairs have a mean rank of a half."""
    store = fill(tmp_path, episodes=60)
    table = store.frame_table()
    draw(store, "uncertain", 200, np.random.default_rng(0), doubt=lambda a, b: a + b)
    split = dict(zip(table.id.tolist(), table.split.tolist(), strict=True))
    ranks = {"train": [], "val": []}
    for pair in store.pairs():
        ranks[split[pair.first]] += [pair.first / len(table), pair.second / len(table)]
    assert np.mean(ranks["train"]) > 0.8
    assert 0.35 < np.mean(ranks["val"]) < 0.65
    assert {pair.sampler for pair in store.pairs()} == {"uncertain"}
    store.close()


def test_uncertain_keeps_the_pairs_of_highest_doubt():
    frames = candidates()
    pairs = uncertain(lambda first, second: -np.abs(first - second))(
        frames, np.random.default_rng(0), 50
    )
    gaps = np.abs(pairs[:, 0] - pairs[:, 1])
    assert len(pairs) == 50
    assert np.mean(gaps) < 25  # of 200 frames; 67 by chance
