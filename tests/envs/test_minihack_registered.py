"""MiniHack's registered levels: seeds, last screens, limits, events, scores and refusals."""

import pathlib
import random
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("minihack.base")

from sensei.envs import make_adapter, make_env
from sensei.envs.config import EnvConfig
from sensei.envs.minihack_facts import Facts, stairs_score
from sensei.envs.minihack_registered import StairsLevel
from sensei.envs.minihack_stock import Recorder, registered_ids
from sensei.types import SenseiError, UsageError

BRIEF = "minihack:MiniHack-Room-5x5-v0"
DEADLY = "minihack:MiniHack-HideNSeek-Lava-v0"
OWN = """MAZE: "mylevel", ' '
INIT_MAP: solidfill,' '
GEOMETRY: center,center
MAP
-------
|.....|
-------
ENDMAP
REGION: (0,0,6,2), lit, "ordinary"
BRANCH: (1,1,1,1), (0,0,0,0)
OBJECT: ('%',"apple"), (3,1)
STAIR: (5,1), down
"""


def made(name, **options):
    return make_env(name if ":" in name else f"minihack:MiniHack-{name}-v0", **options)


def play(env, seed, steps=400):
    """Play at random; returns what was seen, the counts and how it ended."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    seen, counts = [observation["image"].tobytes() + info["text"].encode()], Counter()
    for _ in range(steps):
        observation, reward, ended, cut, info = env.step(int(rng.integers(env.action_space.n)))
        assert env.observation_space.contains(observation)
        assert tuple(info["events"]) == env.events
        seen.append(observation["image"].tobytes() + info["text"].encode() + repr(reward).encode())
        counts.update(info["events"])
        if ended or cut:
            break
    return seen, counts, (reward, ended, cut)


@pytest.fixture
def corridor(tmp_path):
    """A level of a test's own: five cells, an apple in the middle, the stairs at the end."""
    path = tmp_path / "own.des"
    path.write_text(OWN)
    env = made("Navigation-Custom", des_file=str(path), max_episode_steps=4)
    yield env
    env.close()


EAST = 1


@pytest.mark.parametrize("name", [BRIEF, DEADLY])
def test_same_seed_same_bytes_in_two_games(name):
    first, second = made(name), made(name)
    play(second, seed=9, steps=30)
    for seed in range(3):
        assert play(first, seed) == play(second, seed)
    assert play(first, 0)[0] != play(first, 1)[0]
    first.close()
    second.close()


def test_python_dice_are_left_alone():
    env = made(BRIEF)
    thrown = []
    for seed in (3, 4):
        random.seed(seed)
        env.reset(seed=1)
        thrown.append(random.random())
    assert thrown[0] != thrown[1]
    env.close()


def test_success_at_the_last_step_is_success(corridor):
    corridor.reset(seed=0)
    assert corridor.action_names[EAST] == "e"
    moments = [corridor.step(EAST) for _ in range(4)]
    assert [m[1:4] for m in moments] == [(0.0, False, False)] * 3 + [(1.0, True, False)]
    totals = sum((Counter(m[4]["events"]) for m in moments), Counter())
    assert totals == {"item_picked_up": 1, "stairs_seen": 1, "reward": 1}
    assert "apple" in moments[-1][4]["text"]
    # The last screen is the corridor, not NetHack's farewell.
    assert (corridor.render_label().reshape(5, 16, 5, 16, 3).max((1, 3, 4)) > 0).sum() >= 5
    with pytest.raises(SenseiError, match=r"over: call reset\(\)"):
        corridor.step(EAST)
    corridor.reset(seed=1)
    corridor.step(EAST)


def test_the_score_climbs_to_the_stairs(corridor):
    scores = []
    corridor.reset(seed=0)
    for _ in range(3):
        scores.append(corridor.oracle_score())
        corridor.step(EAST)
    # The apple is in sight; then, from where it lay, the stairs are.
    assert scores == [1.0, 1.0, 5.0]
    corridor.reset(seed=0)
    assert corridor.oracle_score() == 1.0


def test_time_runs_out_as_a_truncation(corridor):
    corridor.reset(seed=0)
    assert [corridor.step(0)[2:4] for _ in range(4)] == [(False, False)] * 3 + [(False, True)]
    assert corridor.render_label().max() > 0


def test_a_death_terminates_on_a_living_screen():
    env = made(DEADLY)
    ends = Counter()
    for seed in range(4):
        _, counts, (reward, ended, cut) = play(env, seed)
        if counts["died"]:
            ends["died"] += 1
            assert (reward, ended, cut) == (0.0, True, False)
            assert env.game.position != (0, 0) and env.render_label().max() > 0
            assert env._observe()["health"][0] == env.game.health < 1.0
    assert ends["died"] >= 2
    env.close()


def test_observations_are_copies():
    env = made(BRIEF)
    first, _ = env.reset(seed=0)
    kept, glyphs = first["image"].copy(), env.game.glyphs
    before = glyphs.copy()
    for action in range(8):
        env.step(action)
        if env.ended:
            break
    np.testing.assert_array_equal(first["image"], kept)
    np.testing.assert_array_equal(glyphs, before)
    env.close()


def test_a_step_that_changes_nothing_costs_nothing(corridor):
    corridor.reset(seed=0)
    assert corridor.step(0)[1] == 0.0  # into the wall


def test_only_a_task_of_stairs_has_an_oracle():
    for name, graded in (("Room-5x5", True), ("Eat", False), ("Sokoban1a", False)):
        name = f"minihack:MiniHack-{name}-v{1 if 'Sok' in name else 0}"
        adapter = make_adapter(EnvConfig(name))
        assert adapter.spec.has_oracle == graded == isinstance(adapter.env, StairsLevel)
        assert adapter.spec.has_text and adapter.spec.has_label_picture
        assert set(adapter.spec.obs.vector) == {"key", "health", "asking"}
        adapter.close()


def test_the_ladder_of_the_score():
    nothing = dict.fromkeys(Facts.__dataclass_fields__, False)
    nothing |= {"doors": frozenset(), "depth": 1}

    def score(solved=False, more=False, **facts):
        return stairs_score(Facts(**nothing | facts), solved, more)

    rungs = [
        score(),
        score(object_visible=True),
        score(more=True, object_visible=True),
        score(key_held=True, door_visible=True),
        score(open_door_visible=True, more=True),
        score(stairs_visible=True),
    ]
    assert rungs == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert (score(door_visible=True), score(key_held=True), score(solved=True)) == (1.0, 2.0, 5.0)


def test_questions_are_shown_and_answered():
    env = made("Eat")
    env.reset(seed=0)
    asked, *_ = env.step(env.action_names.index("wield"))
    assert asked["asking"] == [1.0]
    answered, *_ = env.step(env.action_names.index("esc"))
    assert answered["asking"] == [0.0]
    env.close()


def test_the_stock_level_takes_its_own_options():
    env = made("Room-5x5", character="kni-hum-law-fem", pet=False)
    env.reset(seed=0)
    assert "lance" in env.game.inventory
    env.close()


def test_an_action_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr("sensei.envs.minihack_stock._MOST_KEYS", 5)
    screen = Recorder.__new__(Recorder)
    screen.pressed, screen._places = 5, []
    with pytest.raises(SenseiError, match="pressed 5 keys without end"):
        screen.step(0)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("minihack:MiniHack-Room-5x6-v0", {}, r"no such level; near: MiniHack-Room-5x5-v0"),
        ("minihack:Nowhere", {}, r"like MiniHack-Room-5x5-v0"),
        ("gym:MiniHack-Room-5x5-v0", {}, r"use --env minihack:MiniHack-Room-5x5-v0"),
        (BRIEF, {"colour": "red"}, r"refuses .*colour"),
        ("minihack:MiniHack-KeyChestCorridor-S3-v0", {"pet": True}, r"refuses .*pet"),
        ("minihack:MiniHack-Navigation-Custom-v0", {}, r"des_file is missing"),
        ("minihack:MiniHack-Navigation-Custom-v0", {"des_file": "no.des"}, r"no such file"),
    ],
)
def test_wrong_names_and_options_are_usage_errors(name, options, words):
    with pytest.raises(UsageError, match=words):
        make_env(name, **options)


def test_what_else_a_level_needs_is_said():
    with pytest.raises(SenseiError, match="download maps"):
        made("Boxoban-Hard")


def test_a_level_that_does_not_fit_its_packages_is_refused(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError

    monkeypatch.setattr("minihack.base.MiniHack.__init__", refuse)
    with pytest.raises(SenseiError, match="refuse; choose another level"):
        made("Room-5x5")


def test_boxoban_draws_its_map_by_the_seed(monkeypatch, tmp_path):
    """Its dice are Python's, and its reset takes no seed."""
    folder = tmp_path / "hard"
    folder.mkdir()
    plans = [f"; {n}\n#####\n#@$.#\n#{' ' * n}{'#' * (3 - n)}#\n#####\n\n" for n in range(4)]
    (folder / "000.txt").write_text("".join(plans))
    monkeypatch.setattr("minihack.envs.boxohack.LEVELS_PATH", str(tmp_path))
    env = made("Boxoban-Hard")
    maps = [(env.reset(seed=seed), env.game.glyphs.tobytes())[1] for seed in (0, 1, 2, 3, 4, 0)]
    assert maps[0] == maps[-1] and len(set(maps)) >= 2
    *_, reward, ended, _, _ = env.step(env.action_names.index("e"))
    assert (reward, ended) == (1.0, True)
    env.close()


def test_all_levels_are_found():
    ids = registered_ids()
    assert len(ids) > 150 and "MiniHack-Room-5x5-v0" in ids


@pytest.mark.slow
def test_every_level_that_can_be_made_plays():
    """Two minutes; levels that need minigrid or Boxoban's maps, or do not fit them, say so."""
    left_out = []
    for name in registered_ids():
        try:
            env = make_env(f"minihack:{name}")
        except SenseiError as error:
            left_out.append(str(error))
            continue
        play(env, seed=0, steps=50)
        env.close()
    reasons = ("minigrid", "Boxoban", "des_file", "choose another level")
    assert all(any(reason in word for reason in reasons) for word in left_out)
    assert len(left_out) <= 40


def test_a_level_without_its_compiler_is_an_error(monkeypatch):
    monkeypatch.setattr("minihack.base.PATCH_SCRIPT", str(pathlib.Path("/nowhere/patch")))
    with pytest.raises(SenseiError, match="cannot compile"):
        made(BRIEF)
