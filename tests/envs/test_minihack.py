"""KeyChest and KeyRoom: seeds, last frames, limits, events and scores, with a scripted player."""

import importlib
import itertools
import warnings
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("minihack.base")

from sensei.envs import make_env
from sensei.envs.minihack import (
    PUBLISHED,
    KeyChest,
    KeyRoom,
    KeyRoomS5,
    MiniHackEnv,
    MultiRoomChestN4,
)
from sensei.envs.minihack_game import nethack
from sensei.envs.minihack_tiles import crop_around, draw, shrink, tile_table
from sensei.testing.solvers import solve
from sensei.types import SenseiError

LEVELS = [KeyChest, KeyRoom, KeyRoomS5]


@pytest.fixture(params=LEVELS, ids=["keychest", "keyroom", "keyroom-s5"])
def env(request):
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def keychest():
    made = KeyChest()
    yield made
    made.close()


def play_random(env: MiniHackEnv, seed: int, steps: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    seen = [observation["image"].tobytes() + info["text"].encode()]
    for _ in range(steps):
        observation, reward, ended, cut, info = env.step(int(rng.integers(5)))
        seen.append(observation["image"].tobytes() + info["text"].encode())
        seen[-1] += repr((reward, ended, cut, info["events"])).encode()
        if ended or cut:
            break
    return seen


def play_solver(env: MiniHackEnv, seed: int, epsilon: float = 0.0):
    """Return the episode as a list of (score, events, reward, terminated, truncated)."""
    env.reset(seed=seed)
    moments = []
    for action in solve(env, epsilon, seed):
        _, reward, ended, cut, info = env.step(action)
        moments.append((env.oracle_score(), info["events"], reward, ended, cut))
        if ended or cut:
            return moments


@pytest.mark.parametrize("level", LEVELS)
def test_same_seed_same_bytes_in_two_games(level):
    first, second = level(), level()
    # The second game has a past, which must not matter.
    play_random(second, seed=9, steps=30)
    assert play_random(first, 5, 300) == play_random(second, 5, 300)
    first.close()
    second.close()


def test_other_seed_other_level(env):
    starts = {env.reset(seed=seed)[0]["image"].tobytes() for seed in range(8)}
    maps = {(env.reset(seed=s), env.game.glyphs.tobytes())[1] for s in range(8)}
    # KeyChest's first view shows little; chance may repeat it.
    assert len(maps) >= 5
    assert len(starts) >= 3


def test_observation_fits_its_space_and_is_a_copy(env):
    before, _ = env.reset(seed=1)
    kept = before["image"].copy()
    rng = np.random.default_rng(1)
    for _ in range(20):
        after, *_ = env.step(int(rng.integers(4)))
        assert env.observation_space.contains(after)
    np.testing.assert_array_equal(before["image"], kept)
    assert env.render_label().shape == (80, 80, 3)


def test_last_frame_is_the_real_one(env):
    play_solver(env, seed=2)
    picture = env.render_label()
    # A blank screen would be the hero's tile in black; the end of an episode shows the room.
    lit = (picture.reshape(5, 16, 5, 16, 3).max(axis=(1, 3, 4)) > 0).sum()
    assert lit >= 9
    assert env.game.position != (0, 0)


def test_time_limit_truncates_and_shows_a_real_frame():
    env = KeyChest(max_episode_steps=3)
    env.reset(seed=0)
    outcomes = [env.step(4)[1:4] for _ in range(3)]
    assert outcomes == [(0.0, False, False), (0.0, False, False), (0.0, False, True)]
    assert env.render_label().max() > 0
    env.close()


def test_success_terminates_with_reward_one(env):
    *_, (score, events, reward, ended, cut) = play_solver(env, seed=3)
    assert (score, reward, ended, cut) == (5.0, 1.0, True, False)
    assert events["reward"] == 1


def test_scripted_player_succeeds(env):
    ends = [play_solver(env, seed)[-1][2] for seed in range(20)]
    assert sum(ends) >= 19


@pytest.mark.parametrize("name", PUBLISHED)
def test_scripted_player_solves_every_published_level(name):
    env = make_env(f"minihack:{name}", max_episode_steps=400)
    assert type(env) is PUBLISHED[name]
    for seed in range(4):
        *_, (score, events, reward, ended, cut) = play_solver(env, seed)
        assert (score, reward, ended, cut) == (5.0, 1.0, True, False)
        assert events["reward"] == 1
    env.close()


def test_multiroom_has_many_layouts():
    env = MultiRoomChestN4()
    first = set()
    for seed in range(12):
        env.reset(seed=seed)
        first.add(env.game.glyphs.tobytes())
    assert len(first) >= 6
    env.close()


def test_scripted_player_with_noise_still_succeeds(keychest):
    assert sum(play_solver(keychest, seed, epsilon=0.2)[-1][2] for seed in range(10)) >= 9


def test_keychest_events_come_in_order(keychest):
    for seed in range(10):
        moments = play_solver(keychest, seed)
        first = {}
        for step, (_, events, *_) in enumerate(moments):
            for name, count in events.items():
                if count:
                    first.setdefault(name, step)
        assert first["door_opened"] < first["key_picked_up"] < first["at_chest_with_key"]
        assert first["at_chest_with_key"] < first["chest_opened"] == first["reward"]
        total = sum((Counter(events) for _, events, *_ in moments), Counter())
        assert total["key_picked_up"] == total["chest_opened"] == total["reward"] == 1


def test_keyroom_events_come_in_order():
    env = KeyRoom()
    for seed in range(5):
        moments = play_solver(env, seed)
        steps = {name: [i for i, m in enumerate(moments) if m[1][name]] for name in env.events}
        assert steps["key_picked_up"][0] < steps["at_locked_door"][-1] < steps["door_opened"][0]
        assert steps["door_opened"][0] <= steps["at_exit"][-1] == steps["reward"][0]
    env.close()


def test_score_rises_from_nothing_to_success(env):
    for seed in range(5):
        env.reset(seed=seed)
        start = env.oracle_score()
        scores = [start] + [moment[0] for moment in play_solver(env, seed)]
        assert start <= 2.0
        assert scores[-1] == max(scores) == 5.0
        key = next(i for i, score in enumerate(scores) if score >= 2.0)
        assert max(scores[:key], default=0.0) <= 1.0


def test_open_without_key_does_nothing(keychest):
    """Beside the chest without the key: no reward, no end, no turn of the game."""
    for seed in itertools.count():
        keychest.reset(seed=seed)
        for action in np.random.default_rng(seed).integers(4, size=400):
            keychest.step(int(action))
            if keychest.facts.chest_near and not keychest.facts.key_held:
                turn = int(keychest.game._obs["blstats"][20])
                _, reward, ended, _, info = keychest.step(4)
                assert (reward, ended) == (0.0, False)
                assert info["events"]["at_chest_without_key"] == 1
                assert info["events"]["chest_opened"] == 0
                assert int(keychest.game._obs["blstats"][20]) == turn
                return


def test_every_event_is_named_at_every_moment(env):
    _, info = env.reset(seed=0)
    assert info["events"] == dict.fromkeys(env.events, 0)
    assert tuple(env.step(0)[4]["events"]) == env.events


def test_text_has_message_and_inventory(keychest):
    play_solver(keychest, seed=4)
    text = keychest._info({})["text"]
    assert text.startswith("Message: ")
    assert "key" in text.split("Inventory: ")[1]


def test_random_policy_meets_things():
    """Sanity of the level: doors always, the key at times, the chest's reward seldom."""
    met = Counter()
    keychest = KeyChest(max_episode_steps=300)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        keychest.reset(seed=seed)
        episode = set()
        for _ in range(keychest.max_episode_steps):
            *_, ended, cut, info = keychest.step(int(rng.integers(5)))
            episode |= {name for name, count in info["events"].items() if count}
            if ended or cut:
                break
        met.update(episode)
    assert met["door_opened"] == 20
    assert 2 <= met["key_picked_up"] <= 16
    assert met["chest_opened"] <= 8
    keychest.close()


def test_diagonals_add_actions():
    env = KeyRoom(diagonals=True)
    assert env.action_space.n == 9
    assert env.action_names[-1] == "apply"
    env.close()


def test_tiles_equal_minihacks_own_picture(keychest):
    keychest.reset(seed=0)
    glyphs = keychest.game.glyphs[5:12, 30:45]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        mapper = importlib.import_module("minihack.tiles").GlyphMapper()
    np.testing.assert_array_equal(draw(glyphs, tile_table()), mapper.to_rgb(glyphs))


def test_hero_is_a_tourist_in_the_middle(keychest):
    keychest.reset(seed=0)
    tile = keychest.render_label()[32:48, 32:48]
    np.testing.assert_array_equal(tile, tile_table()[keychest.names.tourist])


@pytest.mark.parametrize("place", [(0, 0), (78, 20), (40, 10), (1, 19)])
def test_crop_at_the_edge_is_filled(place):
    glyphs = np.arange(21 * 79, dtype=np.int16).reshape(21, 79)
    crop = crop_around(glyphs, *place, 5, outside=-1)
    padded = np.pad(glyphs, 2, constant_values=-1)
    x, y = place
    np.testing.assert_array_equal(crop, padded[y : y + 5, x : x + 5])


def test_shrink_takes_the_nearest_pixel():
    image = np.arange(80 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(80, 80, 3)
    small = shrink(image, 64)
    assert small.shape == (64, 64, 3)
    np.testing.assert_array_equal(small[63, 5], image[78, 6])


def test_missing_extra_is_explained(monkeypatch):
    nethack.cache_clear()

    def missing(name: str):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("sensei.envs.minihack_game.importlib.import_module", missing)
    with pytest.raises(SenseiError, match=r"pip install 'sensei-rl\[minihack\]'"):
        nethack()
    nethack.cache_clear()


def test_a_level_that_does_not_compile_is_an_error():
    class Broken(KeyChest):
        description = "MAZE: nonsense"

    with pytest.raises(SenseiError, match="cannot compile"):
        Broken()


def test_presets_make_the_levels():
    kinds = {"keychest": KeyChest, "keyroom": KeyRoom, "keyroom-s5": KeyRoomS5}
    for name, kind in kinds.items():
        made = make_env(name)
        assert isinstance(made, kind)
        made.close()
