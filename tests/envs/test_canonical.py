"""One environment by itself plays the pool's episodes."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from sensei.envs.canonical import CanonicalEnv
from sensei.envs.config import EnvConfig
from sensei.envs.pool import EnvPool
from sensei.types import UsageError

TINY = EnvConfig(name="tiny", num_envs=2, processes=0, image_size=16)


def test_it_is_the_pools_environment() -> None:
    rng = np.random.default_rng(0)
    env = CanonicalEnv(TINY, seed=5, index=1)
    assert env.action_space == spaces.Discrete(5)
    seen, _ = env.reset()
    with EnvPool(TINY, seed=5) as pool:
        none = np.zeros((2, 5), np.float32)
        rows, _ = pool.step(none)
        for _ in range(200):
            assert env.observation_space.contains(seen)
            for name in seen:
                np.testing.assert_array_equal(seen[name], rows[name][1])
            if rows["is_last"][1]:
                seen, _ = env.reset()
                rows, _ = pool.step(none)
                continue
            choices = rng.integers(5, size=2)
            rows, _ = pool.step(np.eye(5, dtype=np.float32)[choices])
            seen, reward, terminated, truncated, info = env.step(choices[1])
            assert reward == rows["reward"][1]
            assert (terminated, terminated or truncated) == (
                rows["is_terminal"][1],
                rows["is_last"][1],
            )
            np.testing.assert_array_equal(info["row"]["events"], rows["events"][1])
    assert env.episode >= 2
    env.close()


def test_a_named_reward_is_the_reward_and_numbers_are_numbers() -> None:
    env = CanonicalEnv(EnvConfig(name="sensei.testing.envs:ManyTasks"), 0, task="twice")
    env.reset()
    assert env.step(env.action_space.sample())[1] == 2.0


def test_choices_and_numbers_together_have_no_policy() -> None:
    with pytest.raises(UsageError, match="has no policy for"):
        CanonicalEnv(EnvConfig(name=f"{__name__}:mixed"), 0)


def mixed():
    """Make an environment that takes a choice and a number."""
    from sensei.envs.tiny import TinyRooms

    env = TinyRooms()
    env.action_space = spaces.Tuple([spaces.Discrete(5), spaces.Box(-1.0, 1.0, (1,))])
    return env
