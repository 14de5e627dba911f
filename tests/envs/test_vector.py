"""Vector environments of gymnasium's in the pool: the same rows as the single ones give."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_env_pool import actions_for, assert_same, play

from sensei.envs import EnvConfig, make_adapter, make_env, wrap_env
from sensei.envs.pool import EnvPool
from sensei.testing.envs import LastAction
from sensei.types import SenseiError, UsageError

ODD = "sensei.testing.odd_envs"


def odd(callable_name: str, processes: int) -> EnvConfig:
    name = f"{ODD}:{callable_name}"
    return EnvConfig(name, 3, processes, 16, options={"kind": "nested"})


def test_rows_are_those_of_single_environments_until_the_first_end() -> None:
    """The episodes that follow are begun by the vector environment, from its own numbers."""
    seen = []
    for name in ("OddWorld", "odd_vector"):
        with EnvPool(odd(name, 0), seed=4) as pool:
            wants = np.ones(3, np.bool_)
            _, labels = pool.step(actions_for(pool, 0), wants)
            seen.append((play(pool, 30, start=1), labels, pool.spec))
    (single, label, spec), (vector, vector_label, vector_spec) = seen
    assert spec == vector_spec and spec.has_oracle and spec.has_text
    for one, other in zip(single, vector, strict=True):
        assert_same(one, other)
    assert single[-1]["is_last"].all()
    for one, other in zip(label, vector_label, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.text == other.text


def test_rows_do_not_depend_on_the_number_of_processes() -> None:
    seen = []
    for processes in (0, 2):
        with EnvPool(odd("odd_vector", processes), seed=4) as pool:
            seen.append(play(pool, 70))
    for one, other in zip(*seen, strict=True):
        assert_same(one, other)
    firsts = np.stack([rows["is_first"] for rows in seen[0]])
    assert firsts.sum(0).tolist() == [3, 3, 3]


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_gym_id_is_made_by_make_vec(mode: str) -> None:
    options = {"vectorization_mode": mode}
    with EnvPool(EnvConfig("gym:CartPole-v1", 3, 0, options=options), seed=0) as pool:
        rows = play(pool, 60)
    ends = np.stack([row["is_last"] for row in rows])
    firsts = np.stack([row["is_first"] for row in rows])
    assert ends[:-1].sum(0).min() >= 1
    np.testing.assert_array_equal(firsts[1:], ends[:-1])
    states = np.stack([row["vector"] for row in rows])
    assert np.abs(states[firsts]).max() <= 0.05  # where CartPole begins
    assert not np.stack([row["reward"] for row in rows])[firsts].any()


def test_restore_re_enacts_episodes_of_one_length() -> None:
    with EnvPool(odd("odd_vector", 0), seed=4) as pool:
        past = play(pool, 20)
        following = play(pool, 5, start=20)
    actions = [np.stack([rows["prev_action"][e] for rows in past])[1:] for e in range(3)]
    with EnvPool(odd("odd_vector", 0), seed=4) as pool:
        assert_same(past[-1], pool.restore(np.zeros(3, np.int64), actions))
        for one, other in zip(following, play(pool, 5, start=20), strict=True):
            assert_same(one, other)


def of_two() -> SyncVectorEnv:
    return SyncVectorEnv([LastAction] * 2)


def of_another_mode() -> SyncVectorEnv:
    return SyncVectorEnv([LastAction], autoreset_mode=AutoresetMode.SAME_STEP)


def test_what_cannot_be_taken_is_explained() -> None:
    with pytest.raises(UsageError, match=r"num_envs 2 where 1 were wanted.*--env\.num-envs 2"):
        make_adapter(EnvConfig("test_vector:of_two"))
    with pytest.raises(SenseiError, match=r"SyncVectorEnv has the autoreset mode.*NEXT_STEP"):
        make_adapter(EnvConfig("test_vector:of_another_mode"))
    with pytest.raises(SenseiError, match="is a vector environment; a run takes it"):
        make_env("test_vector:of_two")
    with pytest.raises(SenseiError, match="SyncVectorEnv holds many environments; name it in"):
        wrap_env(of_two())
    limited = EnvConfig("test_vector:of_two", time_limit=3)
    with pytest.raises(UsageError, match=r"env\.time_limit is 3, but .* option of its own"):
        make_adapter(limited)
    with pytest.raises(UsageError, match=r"gym:CartPole-v1 refuses .*Invalid vectorization mode"):
        make_adapter(EnvConfig("gym:CartPole-v1", options={"vectorization_mode": "fast"}))


def test_closing_an_adapter_closes_the_whole() -> None:
    adapter = make_adapter(EnvConfig(f"{ODD}:odd_vector", options={"kind": "grey"}))
    whole = adapter.env.group.env
    assert isinstance(whole, gymnasium.vector.VectorEnv) and not whole.closed
    adapter.close()
    adapter.close()
    assert whole.closed
