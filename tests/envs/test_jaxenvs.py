"""Environments in JAX: a batch is its copies one by one, ends and cuts, what the agent sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.envs import EnvConfig, wrap_env
from sensei.envs.batch_shard import BatchShard
from sensei.envs.contract import row_fields
from sensei.envs.gymnax import fit, from_gymnax, show
from sensei.envs.pool import EnvPool, episode_seed
from sensei.envs.shard import Command, Memory
from sensei.testing.jax_goal import ReachGoal, reach_goal
from sensei.types import SenseiError, UsageError

NAME = "sensei.testing.jax_goal:reach_goal"
RED, GREEN = (255, 0, 0), (0, 255, 0)
COPIES, ROUNDS = 3, 60


@dataclasses.dataclass
class History:
    """What a pool was asked and what it answered, from its start."""

    pool: EnvPool
    rows: list[dict[str, np.ndarray]]
    labels: list[Any]


def play(pool: EnvPool, steps: range) -> tuple[list[dict[str, np.ndarray]], list[Any]]:
    """Walk at random, the same way at the same step; label every copy but the first."""
    want = np.arange(COPIES) > 0
    rounds = [pool.step(moves(step), want) for step in steps]
    return [rows for rows, _ in rounds], [labels for _, labels in rounds]


def moves(step: int) -> np.ndarray:
    rng = np.random.default_rng(step)
    return np.eye(4, dtype=np.float32)[rng.integers(4, size=COPIES)]


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with EnvPool(EnvConfig(NAME, COPIES, 0, 16), seed=3) as pool:
        yield History(pool, *play(pool, range(ROUNDS)))


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)


def test_a_batch_in_a_process_of_its_own_is_the_same(history: History) -> None:
    with EnvPool(EnvConfig(NAME, COPIES, 1, 16), seed=3) as pool:
        rows, labels = play(pool, range(20))
    same(rows, history.rows[:20])
    assert [label.text for label in labels[9][1:]] == [
        label.text for label in history.labels[9][1:]
    ]


def test_a_batch_is_its_copies_one_by_one(history: History) -> None:
    env = reach_goal()
    adapter, episode, last = wrap_env(env, 16), 0, COPIES - 1
    row = adapter.reset(episode_seed(3, last, episode))
    for step, rows in enumerate(history.rows):
        same([row], [{name: values[last] for name, values in rows.items()}])
        if row["is_last"]:
            episode += 1
            row = adapter.reset(episode_seed(3, last, episode))
        else:
            row = adapter.step(moves(step + 1)[last])
    assert episode >= 2
    # Compiled once, though this game's resets return a Python number where steps return arrays.
    assert env._program.advance._cache_size() == env._program.begin._cache_size() == 1
    carry = env._batch._carry
    assert carry is not None and carry.state.at.devices() == {jax.devices()[0]}


def test_the_game_is_seen_and_told_as_it_is(history: History) -> None:
    ends = cuts = 0
    for rows in history.rows:
        cells = rows["image"][:, ::4, ::4]
        assert ((cells == RED).all(-1).sum((1, 2)) == 1).all()  # one player in each picture
        # The last picture of an episode is its own, not the next one's first: no goal is left.
        covered = ~(cells == GREEN).all(-1).any((1, 2))
        for told in (rows["is_terminal"], rows["reward"], rows["events"][:, 1], rows["score"] == 0):
            np.testing.assert_array_equal(told, covered)
        ends += rows["is_terminal"].sum()
        cuts += (rows["is_last"] & ~rows["is_terminal"]).sum()
    assert ends > 0 and cuts > 0
    first = history.rows[0]
    assert first["is_first"].all() and not first["prev_action"].any()
    assert not any(rows["prev_action"][rows["is_first"]].any() for rows in history.rows)


def test_labels_of_the_wanted_copies(history: History) -> None:
    for rows, labels in zip(history.rows, history.labels, strict=True):
        assert labels[0] is None
        for image, label in zip(rows["image"][1:], labels[1:], strict=True):
            np.testing.assert_array_equal(label.image, image.repeat(2, 0).repeat(2, 1))
            row, column = np.argwhere((image[::4, ::4] == RED).all(-1))[0]
            assert label.text == f"Row {row}, column {column}"


def test_unfinished_episodes_are_re_enacted(history: History) -> None:
    taken: list[list[np.ndarray]] = [[] for _ in range(COPIES)]
    for rows in history.rows:
        for env in range(COPIES):
            first = rows["is_first"][env]
            taken[env] = [] if first else [*taken[env], rows["prev_action"][env]]
    pool, index = history.pool, history.pool.episode_index
    after, _ = play(pool, range(ROUNDS, ROUNDS + 20))
    none = np.zeros((0, 4), np.float32)
    last = pool.restore(index, [np.stack(own) if own else none for own in taken])
    same([last], history.rows[-1:])
    same(play(pool, range(ROUNDS, ROUNDS + 20))[0], after)


def test_an_end_at_the_time_limit_is_an_end() -> None:
    env = reach_goal(max_episode_steps=1)
    seen = set()
    for seed in range(40):
        env.reset(seed=seed)
        seen.add(env.step(0)[2:4])
    assert seen == {(True, False), (False, True)}


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

    shard = BatchShard(wrap_env(from_gymnax(Broken(), image_size=16), 16), range(2))
    fields = row_fields(shard.spec).items()
    rows = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in fields}
    memory = Memory(rows, np.zeros(2, np.int64))
    move = np.eye(4, dtype=np.float32)[:1]
    shard.run(Command([1, 2], [move[:0], move[:0]], [False, False]), memory)
    with pytest.raises(SenseiError, match="returned the reward nan"):
        shard.run(Command([None, None], [move, move], [False, False]), memory)
