"""The built-in tiny environment and the micro environments: their promises hold."""

import warnings
from collections import Counter

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sensei.envs.tiny import TinyRooms
from sensei.testing.envs import (
    Corridor,
    CueReward,
    LastAction,
    PointMass,
    TerminateOne,
    TimeLimitOne,
)
from sensei.testing.solvers import solve

MICRO = [LastAction, CueReward, Corridor, TimeLimitOne, TerminateOne, PointMass, TinyRooms]


@pytest.mark.parametrize("kind", MICRO)
def test_gymnasium_accepts_them(kind):
    with warnings.catch_warnings():
        # It advises on bounds and registration; what breaks its rules it raises.
        warnings.simplefilter("ignore")
        check_env(kind(), skip_render_check=True)


@pytest.mark.parametrize("kind", MICRO)
def test_same_seed_same_episode(kind):
    def episode():
        env = kind()
        env.action_space.seed(3)
        seen = [str(env.reset(seed=3)[0])]
        for _ in range(12):
            observation, reward, ended, cut, _ = env.step(env.action_space.sample())
            seen.append(f"{observation} {reward}")
            if ended or cut:
                return seen
        return seen

    assert episode() == episode()


def test_tiny_is_solved_in_the_right_order():
    env = TinyRooms()
    lengths = []
    for seed in range(50):
        env.reset(seed=seed)
        total, scores = Counter(), [env.oracle_score()]
        for action in solve(env):
            _, reward, ended, cut, info = env.step(action)
            total.update(info["events"])
            scores.append(env.oracle_score())
            if ended or cut:
                break
        assert (reward, ended, cut) == (1.0, True, False)
        assert total["key_picked_up"] == total["door_opened"] == total["chest_opened"] == 1
        assert scores[-1] == 5.0 and scores[0] <= 1.0 and 4.0 in scores
        lengths.append(len(scores))
    assert max(lengths) < 30


def test_tiny_truncates_and_counts_the_key_once():
    env = TinyRooms(max_episode_steps=3)
    env.reset(seed=0)
    outcomes = [env.step(4)[2:4] for _ in range(3)]
    assert outcomes == [(False, False), (False, False), (False, True)]


def test_tiny_picture_is_the_map_and_the_label_the_same_map_larger():
    env = TinyRooms()
    observation, _ = env.reset(seed=1)
    np.testing.assert_array_equal(observation["image"][::2, ::2], env.render_label()[::10, ::10])


def test_corridor_pays_at_the_end_only():
    env = Corridor(3)
    env.reset(seed=0)
    assert [env.step(1)[1:3] for _ in range(3)] == [(0.0, False), (0.0, False), (1.0, True)]


def test_cue_pays_for_reading():
    env = CueReward(choices=3, steps=2)
    observation, _ = env.reset(seed=0)
    observation, reward, ended, _, _ = env.step(int(observation.argmax()))
    assert (reward, ended) == (1.0, False)
    assert env.step(int(observation.argmin()))[1:3] == (0.0, True)


def test_one_a_step_ends_as_promised():
    for kind, outcome in ((TimeLimitOne, (1.0, False, True)), (TerminateOne, (1.0, True, False))):
        env = kind(length=2)
        env.reset(seed=0)
        assert env.step(0)[1:4] == (1.0, False, False)
        assert env.step(0)[1:4] == outcome
