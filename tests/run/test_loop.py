"""What the one loop stores, counts, trains and logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loop_parts import CONFIG, ENV, ROUND_STEPS, play

from sensei.data.episodes import EpisodeStore
from sensei.data.images import decode_png
from sensei.data.label_store import LabelStore
from sensei.data.replay import Replay
from sensei.run.loop import LOG_ROUNDS
from sensei.run.metrics import read_metrics

REPLAYED = CONFIG.batch * CONFIG.length


def episodes(folder: Path) -> EpisodeStore:
    return EpisodeStore.open(folder / "stage" / "episodes", read_only=True)


@pytest.mark.parametrize("processes", [0, 2])
def test_what_the_pool_returned_is_what_is_stored(tmp_path: Path, processes: int) -> None:
    env = ENV.__class__(name="tiny", num_envs=3, processes=processes, image_size=16)
    _, pool = play(tmp_path, env=env, env_steps=600)
    store = episodes(tmp_path)
    assert store.steps == len(pool.returned)
    for name in store.layout.fields:
        returned = np.stack([rows[name] for rows in pool.returned], axis=1)
        np.testing.assert_array_equal(store.column(name), returned, err_msg=name)


def test_stored_actions_are_those_that_were_taken(tmp_path: Path) -> None:
    _, pool = play(tmp_path, env_steps=600)
    store = episodes(tmp_path)
    taken = np.stack(pool.asked, axis=1)
    first = store.column("is_first")
    assert first.sum() > ENV.num_envs  # some episodes have ended
    np.testing.assert_array_equal(store.column("prev_action")[~first], taken[~first])
    assert not store.column("prev_action")[first].any()


def test_resets_are_no_environment_steps(tmp_path: Path) -> None:
    loop, _ = play(tmp_path, env_steps=600)
    first = episodes(tmp_path).column("is_first")
    assert loop.env_steps == (~first).sum()
    assert 600 <= loop.env_steps < 600 + ENV.num_envs
    assert loop.env_steps < first.size
    assert loop.summary()["episodes"] == episodes(tmp_path).column("is_last").sum()
    assert loop.summary()["restarts"] == 0


def test_events_are_counted_once_each(tmp_path: Path) -> None:
    loop, pool = play(tmp_path, env_steps=1_500, action_repeat=3.0)
    counted = episodes(tmp_path).column("events").sum((0, 1))
    assert loop.summary()["events"] == dict(zip(pool.spec.events, counted.tolist(), strict=True))
    assert counted.sum() > 0


def test_updates_are_train_ratio_times_steps_after_prefill(tmp_path: Path) -> None:
    loop, _ = play(tmp_path, agent=True, env_steps=300, prefill=60, train_ratio=4.0)
    store = episodes(tmp_path)
    # A round's steps earn updates that are made during the next round, so the last one's are not.
    steps = (~store.column("is_first")).sum(0)
    total = np.cumsum(steps)
    earning = steps[:-1][total[:-1] > 60].sum()
    assert loop.updates == int(earning * 4.0 / REPLAYED)
    assert abs(loop.updates - (300 - 60) * 4.0 / REPLAYED) <= ROUND_STEPS * 4.0 / REPLAYED + 1


def test_prefill_is_random_and_then_the_agent_acts(tmp_path: Path) -> None:
    random, _ = play(tmp_path / "random", env_steps=60)
    agent, _ = play(tmp_path / "agent", agent=True, env_steps=120, prefill=60, train_ratio=0.0)
    by_chance = episodes(tmp_path / "random").column("prev_action")
    by_agent = episodes(tmp_path / "agent").column("prev_action")
    both = by_chance.shape[1]
    np.testing.assert_array_equal(by_agent[:, :both], by_chance)
    assert agent.agent is not None and agent.env_steps >= 120
    assert random.agent is None


def test_every_environment_plays_its_episodes(tmp_path: Path) -> None:
    loop, _ = play(tmp_path, env_steps=10**6, episodes_each=2)
    last = episodes(tmp_path).column("is_last")
    assert last.sum(1).min() == 2
    assert last[:, -1].any()  # it ended at once when the slowest had its second
    assert loop.finished.tolist() == last.sum(1).tolist()


def test_label_frames_show_the_stored_rows(tmp_path: Path) -> None:
    wanted = 150
    loop, _ = play(tmp_path, env_steps=900, label_frames=wanted)
    store = episodes(tmp_path)
    with LabelStore(tmp_path / "labels.sqlite") as labels:
        frames = labels.frames(labels.frame_table("explore").id)
    assert abs(len(frames) - wanted) < 4 * np.sqrt(wanted)
    first = np.cumsum(store.column("is_first"), axis=1)
    image, vector, score = (store.column(n) for n in ("image", "vector", "score"))
    for frame in frames:
        assert frame.obs is not None
        at = frame.env, frame.step
        np.testing.assert_array_equal(decode_png(frame.obs), image[at])
        np.testing.assert_array_equal(np.float32(frame.vector), vector[at])
        assert frame.score == score[at]
        assert frame.episode == first[at] - 1
        assert decode_png(frame.picture).ndim == 3
        assert frame.generation == 1
    assert loop.frames == []


def test_records_hold_counts_losses_and_speed(tmp_path: Path) -> None:
    steps = 2 * LOG_ROUNDS * ENV.num_envs
    loop, pool = play(tmp_path, agent=True, env_steps=steps, prefill=60, train_ratio=0.5)
    records = read_metrics(tmp_path / "metrics.jsonl", "explore")
    assert len(records) >= 2
    assert [r["step"] for r in records] == sorted({r["step"] for r in records})
    last = records[-1]
    assert last["step"] == loop.env_steps and last["update"] == loop.updates
    assert {f"event/{name}" for name in pool.spec.events} <= last.keys()
    assert {
        "episode/count",
        "speed/env_steps",
        "speed/updates",
        "speed/share_update",
    } <= last.keys()
    assert any(name.startswith("loss/") for name in last)
    assert any("episode/return" in r and "episode/length" in r for r in records)
    assert all(np.isfinite(v) for r in records for v in r.values() if isinstance(v, float))


def test_offline_updates_come_before_the_first_step(tmp_path: Path) -> None:
    play(tmp_path / "before", env_steps=120)
    source = episodes(tmp_path / "before")
    loop, pool = play(
        tmp_path / "after", agent=True, env_steps=0, offline_updates=3, sources=(source,)
    )
    assert (loop.updates, loop.env_steps, len(pool.returned)) == (3, 0, 0)
    again, _ = play(
        tmp_path / "after", agent=True, env_steps=0, offline_updates=3, sources=(source,)
    )
    assert again.updates == 3


def test_a_finished_job_does_nothing_more(tmp_path: Path) -> None:
    play(tmp_path, env_steps=120)
    _, pool = play(tmp_path, env_steps=120)
    assert pool.returned == []


def filled(folder: Path, steps: int, image: int) -> EpisodeStore:
    fields = {"image": ((2,), np.uint8), "is_first": ((), np.bool_), "score": ((), np.float32)}
    store = EpisodeStore(folder, fields, num_envs=2, max_gb=0.001)
    for _ in range(steps):
        store.append(
            {
                "image": np.full((2, 2), image, np.uint8),
                "is_first": np.zeros(2, np.bool_),
                "score": np.zeros(2, np.float32),
            }
        )
    return store


def test_replay_mixes_sources_by_size(tmp_path: Path) -> None:
    replay = Replay([filled(tmp_path / "a", 104, 1), filled(tmp_path / "b", 34, 2)])
    assert replay.windows(5).tolist() == [200, 60]
    batch = replay.sample(np.random.default_rng(0), 2_000, 5)
    share = (batch["image"][:, 0, 0] == 1).mean()
    assert abs(share - 200 / 260) < 4 * np.sqrt(0.2 / 2_000)
    assert batch["image"].shape == (2_000, 5, 2)
    assert "score" not in batch  # privileged: the learner never sees it


def test_own_windows_count_more_where_told(tmp_path: Path) -> None:
    stores = [filled(tmp_path / "a", 104, 1), filled(tmp_path / "b", 34, 2)]
    batch = Replay(stores, own_weight=10.0).sample(np.random.default_rng(0), 2_000, 5)
    share = (batch["image"][:, 0, 0] == 2).mean()
    assert abs(share - 600 / 800) < 4 * np.sqrt(0.2 / 2_000)


def test_a_window_begins_like_an_episode(tmp_path: Path) -> None:
    stores = [filled(tmp_path / "a", 30, 1), filled(tmp_path / "b", 3, 2)]
    batch = Replay(stores).sample(np.random.default_rng(0), 16, 5)
    assert batch["is_first"][:, 0].all() and not batch["is_first"][:, 1:].any()
    assert (batch["image"] == 1).all()  # the short store has no window
