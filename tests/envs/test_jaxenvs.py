"""Environments in JAX: a batch is its copies one by one, ends and cuts, what the agent sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.envs import EnvConfig, make_env, wrap_env
from sensei.envs.gymnax import fit, from_gymnax, show
from sensei.envs.pool import EnvPool, episode_seed
from sensei.testing.jax_goal import SIZE, ReachGoal, reach_goal
from sensei.types import SenseiError, UsageError

NAME = "sensei.testing.jax_goal:reach_goal"
RED, GREEN = (255, 0, 0), (0, 255, 0)


def pool_of(num_envs: int, processes: int = 0, **options: Any) -> EnvPool:
    return EnvPool(EnvConfig(NAME, num_envs, processes, 16, options=options), seed=3)


def moves(pool: EnvPool, step: int) -> np.ndarray:
    rng = np.random.default_rng(step)
    return np.eye(4, dtype=np.float32)[rng.integers(4, size=pool.num_envs)]


def play(pool: EnvPool, steps: int, start: int = 0) -> list[dict[str, np.ndarray]]:
    return [pool.step(moves(pool, start + i))[0] for i in range(steps)]


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)


def test_a_batch_is_its_copies_one_by_one() -> None:
    with pool_of(5) as pool:
        together = play(pool, 40)
    with pool_of(5, processes=1) as pool:
        same(together, play(pool, 40))
    adapter = wrap_env(make_env(NAME), 16)
    episode = 0
    row = adapter.reset(episode_seed(3, 4, episode))
    for step, rows in enumerate(together):
        for name, value in row.items():
            np.testing.assert_array_equal(rows[name][4], value, name)
        if row["is_last"]:
            episode += 1
            row = adapter.reset(episode_seed(3, 4, episode))
        elif step + 1 < len(together):
            row = adapter.step(moves(pool, step + 1)[4])
    assert episode >= 2


def test_the_game_is_seen_and_told_as_it_is() -> None:
    with pool_of(32) as pool:
        rounds = play(pool, 26)
    ends = cuts = 0
    for rows in rounds:
        red = np.argwhere((rows["image"][:, ::4, ::4] == RED).all(-1))
        assert red[:, 0].tolist() == list(range(32))  # one player in each picture
        green = np.argwhere((rows["image"][:, ::4, ::4] == GREEN).all(-1))
        covered = sorted(set(range(32)) - set(green[:, 0].tolist()))
        # The last picture of an episode is its own, not the next one's first.
        assert covered == np.flatnonzero(rows["is_terminal"]).tolist()
        np.testing.assert_array_equal(rows["reward"], rows["is_terminal"])
        np.testing.assert_array_equal(rows["events"][:, 1], rows["is_terminal"])
        np.testing.assert_array_equal(rows["score"] == 0, rows["is_terminal"])
        cut = rows["is_last"] & ~rows["is_terminal"]
        ends, cuts = ends + rows["is_terminal"].sum(), cuts + cut.sum()
    # Two episodes of at most 12 steps: each copy is at a last row in round 13 at the latest.
    assert ends > 0 and cuts > 0
    assert rounds[0]["is_first"].all() and not rounds[0]["prev_action"].any()


def test_an_end_at_the_time_limit_is_an_end() -> None:
    env = reach_goal(max_episode_steps=1)
    seen = set()
    for seed in range(40):
        env.reset(seed=seed)
        seen.add(env.step(0)[2:4])
    assert seen == {(True, False), (False, True)}


def test_unfinished_episodes_are_re_enacted() -> None:
    with pool_of(3) as pool:
        play(pool, 9)
        history = play(pool, 4, start=9)
        index = pool.episode_index
        after = play(pool, 6, start=13)
    taken: list[list[np.ndarray]] = [[] for _ in range(3)]
    with pool_of(3) as pool:
        for rows in play(pool, 13):
            for env in range(3):
                if rows["is_first"][env]:
                    taken[env] = []
                else:
                    taken[env].append(rows["prev_action"][env])
    with pool_of(3) as pool:
        none = np.zeros((0, 4), np.float32)
        last = pool.restore(index, [np.stack(own) if own else none for own in taken])
        same([last], history[-1:])
        same(play(pool, 6, start=13), after)


def test_labels_of_the_wanted_copies() -> None:
    with pool_of(3) as pool:
        _, labels = pool.step(moves(pool, 0), np.array([False, True, False]))
        pool.step(moves(pool, 1))
        _, later = pool.step(moves(pool, 2), np.ones(3, np.bool_))
    assert labels[0] is None and labels[2] is None and labels[1] is not None
    assert labels[1].image.shape == (32, 32, 3) and labels[1].text.startswith("Row ")
    texts = [label.text for label in later if label]
    assert len(texts) == 3 and len({label.image.tobytes() for label in later if label}) > 1


def test_a_game_without_extras_and_of_numbers() -> None:
    class Walk:
        """A position on a line; the action is a speed. Its ``step`` resets nothing."""

        default_params = SimpleNamespace()

        def action_space(self, params: Any) -> Any:
            return SimpleNamespace(low=-2.0, high=2.0, shape=(1,))

        def reset(self, key: Any, params: Any) -> Any:
            return jnp.zeros((1, 2)), 0

        def step(self, key: Any, state: Any, action: Any, params: Any) -> Any:
            state = state + action[0]
            return jnp.full((1, 2), state), state, -state, state > 3, {}

    with pytest.raises(UsageError, match="Walk has no time limit: give max_episode_steps"):
        from_gymnax(Walk())
    env = wrap_env(from_gymnax(Walk(), max_episode_steps=5))
    assert env.spec.obs.vector == ("obs[0]", "obs[1]") and env.spec.action.continuous == 1
    assert not env.spec.has_oracle and not env.spec.has_label_picture and env.spec.events == ()
    env.reset(0)
    assert env.step(np.array([0.5], np.float32))["vector"].tolist() == [1.0, 1.0]
    assert [env.step(np.ones(1, np.float32))["is_terminal"] for _ in range(2)] == [False, True]


def test_the_state_is_compiled_once_though_a_reset_returns_a_number() -> None:
    env = reach_goal()
    for seed in range(3):
        env.reset(seed=seed)
        env.step(0)
        env.step(1)
    assert env._program.advance._cache_size() == 1 and env._program.begin._cache_size() == 1


def test_pictures_keep_their_tiles() -> None:
    tiles = jnp.arange(3 * 3 * 3, dtype=jnp.uint8).reshape(3, 3, 3).repeat(7, 0).repeat(7, 1)
    fitted = np.asarray(fit(tiles, 64))  # 21 pixels, three times, and 1 of border
    np.testing.assert_array_equal(fitted[:63, :63], np.asarray(tiles).repeat(3, 0).repeat(3, 1))
    assert not fitted[63:].any() and not fitted[:, 63:].any()
    large = jnp.uint8(2 * jnp.arange(128))[:, None, None].repeat(96, 1).repeat(3, 2)
    np.testing.assert_array_equal(fit(large, 64)[:, 0, 0], np.arange(64) * 4 + 1)
    assert fit(large, 64).shape == (64, 64, 3)
    wide = np.asarray(fit(jnp.full((10, 30, 3), 9, jnp.uint8), 64))
    assert wide.any(1).sum() // 3 == 20 and wide.any(0).sum() // 3 == 60


def test_what_is_shown() -> None:
    assert show(jnp.ones((10, 10, 4), bool), 64).shape == (64, 64, 4)
    assert show(jnp.full((8, 8, 3), 0.5), 8).max() == 128
    assert show(jnp.ones((2, 3)), 64).shape == (6,)
    with pytest.raises(UsageError, match="a dict, not one array"):
        show({"a": jnp.ones(3)}, 64)


def test_rewards_must_be_finite() -> None:
    class Broken(ReachGoal):
        def step_env(self, key: Any, state: Any, action: Any, params: Any) -> Any:
            shown, state, reward, *rest = super().step_env(key, state, action, params)
            return shown, state, reward + jnp.nan, *rest

    from sensei.envs.batch_shard import BatchShard
    from sensei.envs.contract import row_fields
    from sensei.envs.shard import Command

    shard = BatchShard(wrap_env(from_gymnax(Broken(), image_size=16), 16), range(2))
    fields = row_fields(shard.spec).items()
    rows = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in fields}
    move = np.eye(4, dtype=np.float32)[:1]
    shard.run(Command([1, 2], [move[:0], move[:0]], [False, False]), rows)
    with pytest.raises(SenseiError, match="returned the reward nan"):
        shard.run(Command([None, None], [move, move], [False, False]), rows)


def test_it_runs_where_jax_runs() -> None:
    env = reach_goal()
    env.reset(seed=0)
    carry = env._batch._carry
    assert carry is not None and carry.state.at.devices() == {jax.devices()[0]}
    assert carry.moment.observation.shape == (1, 4 * SIZE, 4 * SIZE, 3)
