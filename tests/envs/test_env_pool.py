"""EnvPool: the same bytes on any number of processes, resets, crashes, hangs and re-enactment."""

import itertools
import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from sensei.envs import EnvConfig
from sensei.envs.health import Health, WorkerDied
from sensei.envs.pool import EnvPool, episode_seed
from sensei.testing.envs import LastAction
from sensei.types import SenseiError, UsageError

MISBEHAVING = "sensei.testing.envs:Misbehaving"


def tiny(processes: int, num_envs: int = 3) -> EnvConfig:
    return EnvConfig(
        "tiny",
        num_envs=num_envs,
        processes=processes,
        image_size=16,
        options={"max_episode_steps": 12},
    )


def actions_for(pool: EnvPool, step: int) -> np.ndarray:
    choices = np.random.default_rng(step).integers(pool.spec.action.size, size=pool.num_envs)
    return np.eye(pool.spec.action.size, dtype=np.float32)[choices]


def play(pool: EnvPool, steps: int, start: int = 0) -> list[dict[str, np.ndarray]]:
    return [pool.step(actions_for(pool, start + i))[0] for i in range(steps)]


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.fixture(scope="module")
def local_rows():
    with EnvPool(tiny(0), seed=5) as pool:
        return play(pool, 40)


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_do_not_depend_on_the_number_of_processes(processes, local_rows):
    with EnvPool(tiny(processes), seed=5) as pool:
        for expected, got in zip(local_rows, play(pool, 40), strict=True):
            assert_same(expected, got)


def test_other_seed_other_rows(local_rows):
    with EnvPool(tiny(0), seed=6) as pool:
        rows, _ = pool.step(actions_for(pool, 0))
    assert not np.array_equal(rows["image"], local_rows[0]["image"])


def test_environments_and_episodes_have_their_own_seeds():
    seeds = {episode_seed(0, env, episode) for env in range(20) for episode in range(20)}
    assert len(seeds) == 400
    assert episode_seed(0, 1, 2) == episode_seed(0, 1, 2)


def test_first_rows_and_resets(local_rows):
    assert local_rows[0]["is_first"].all()
    for before, after in itertools.pairwise(local_rows):
        np.testing.assert_array_equal(after["is_first"], before["is_last"])
        fresh = after["is_first"]
        assert not after["reward"][fresh].any()
        assert not after["prev_action"][fresh].any()
        assert (after["prev_action"][~fresh].sum(axis=1) == 1.0).all()
    assert sum(rows["is_last"].sum() for rows in local_rows) >= 6


def test_episodes_are_counted():
    with EnvPool(tiny(0), seed=0) as pool:
        assert pool.episode_index.tolist() == [-1, -1, -1]
        firsts = sum(rows["is_first"] for rows in play(pool, 40))
        np.testing.assert_array_equal(pool.episode_index, firsts - 1)


@pytest.mark.parametrize("processes", [0, 2])
def test_labels_come_where_they_are_wanted(processes):
    with EnvPool(tiny(processes), seed=0) as pool:
        wants = np.array([True, False, True])
        _, labels = pool.step(actions_for(pool, 0), wants)
        assert [label is not None for label in labels] == wants.tolist()
        assert labels[0].image.shape == (80, 80, 3)
        assert labels[0].text == "Inventory: nothing"


@pytest.mark.parametrize("processes", [0, 2])
def test_restore_continues_as_if_nothing_had_happened(processes, local_rows):
    """Re-enact the unfinished episodes after 25 rows; the following rows are the same."""
    past = local_rows[:25]
    starts = [max(i for i, rows in enumerate(past) if rows["is_first"][e]) for e in range(3)]
    indices = np.array([sum(rows["is_first"][e] for rows in past) - 1 for e in range(3)], np.int64)
    replay = [
        np.stack([rows["prev_action"][e] for rows in past])[start + 1 :]
        for e, start in enumerate(starts)
    ]
    with EnvPool(tiny(processes), seed=5) as pool:
        assert_same(past[-1], pool.restore(indices, replay))
        np.testing.assert_array_equal(pool.episode_index, indices)
        for expected, got in zip(local_rows[25:], play(pool, 15, start=25), strict=True):
            assert_same(expected, got)


def test_restore_needs_started_episodes():
    with EnvPool(tiny(0), seed=0) as pool, pytest.raises(SenseiError, match="cannot restore"):
        pool.restore(np.array([-1, 0, 0]), [np.zeros((0, 5), np.float32)] * 3)


@pytest.mark.parametrize("misdeed", ["crash", "raise"])
def test_a_crash_restarts_with_new_episodes(misdeed, caplog):
    options = {"misdeed": misdeed, "at": 6, "length": 4}
    config = EnvConfig(MISBEHAVING, num_envs=2, processes=1, options=options)
    with caplog.at_level(logging.WARNING), EnvPool(config, seed=0) as pool:
        rows = play(pool, 10)
        assert pool.restarts == 1
        assert pool.spec.obs.vector == ("state[0]", "state[1]")
    cause = "exit code 7" if misdeed == "crash" else "the simulation exploded"
    assert cause in caplog.text
    crashed = [i for i in range(1, 10) if rows[i]["is_first"][0] and not rows[i - 1]["is_last"][0]]
    # Five good steps: an episode of four and one more; then the crash begins a new episode.
    assert crashed[0] == 7
    assert not rows[crashed[0]]["prev_action"].any()


def test_a_local_environment_that_raises_is_made_again():
    options = {"misdeed": "raise", "at": 6, "length": 4}
    with EnvPool(EnvConfig(MISBEHAVING, 1, 0, options=options), seed=0) as pool:
        play(pool, 16)
        assert pool.restarts >= 1


def test_a_hang_is_ended_after_the_timeout(caplog):
    options = {"misdeed": "hang", "at": 6, "length": 4}
    config = EnvConfig(MISBEHAVING, num_envs=2, processes=1, timeout_s=1.0, options=options)
    with caplog.at_level(logging.WARNING), EnvPool(config, seed=0) as pool:
        start = time.monotonic()
        rows = play(pool, 9)
        assert time.monotonic() - start < 20.0
        assert pool.restarts == 1
    assert "environment 0 gave no answer for 1 s" in caplog.text
    assert rows[7]["is_first"].all()


def test_an_environment_that_always_fails_is_given_up():
    options = {"misdeed": "crash", "at": 1}
    with EnvPool(EnvConfig(MISBEHAVING, 1, 1, options=options), seed=0) as pool:
        pool.step(actions_for(pool, 0))
        with pytest.raises(SenseiError, match=r"failed 5 times in a row: .*exit code 7"):
            play(pool, 20)


def test_an_environment_that_fails_after_every_episode_is_given_up(caplog):
    options = {"misdeed": "raise", "at": 5, "length": 4}
    with EnvPool(EnvConfig(MISBEHAVING, 2, 1, options=options), seed=0) as pool:
        with pytest.raises(SenseiError, match=r"failed 5 times in a row: .*simulation exploded"):
            play(pool, 100)
        assert pool.restarts == 5
    assert "in _misbehave" in caplog.text and "This was environment 0." in caplog.text


def test_failures_far_apart_are_forgiven():
    """An episode takes 5 calls; in 50 each environment finishes 10."""
    health = Health("x", range(2))
    ended = np.array([[False, False]] * 4 + [[True, False]])
    for _ in range(20):
        health.died(WorkerDied("why"))
        for _ in range(10):
            for row in ended:
                health.lived(row)
    for _ in range(4):
        health.died(WorkerDied("why"))
        for row in ended:
            health.lived(row)
    with pytest.raises(SenseiError, match="environments 0-1 of x failed 5 times in a row: why"):
        health.died(WorkerDied("why"))


def test_slow_environments_are_not_taken_for_hung_ones():
    """Four steps of 0.3 s: together more than the time-out, each less."""
    options = {"seconds": 0.3}
    config = EnvConfig("test_env_pool:Slow", 4, 1, timeout_s=1.0, options=options)
    with EnvPool(config, seed=0) as pool:
        play(pool, 2)
        assert pool.restarts == 0


class Slow(LastAction):
    """Takes its time for every step."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


@pytest.mark.parametrize("processes", [0, 1])
def test_our_own_errors_reach_the_user_at_once(processes):
    options = {"misdeed": "nan", "at": 2}
    with EnvPool(EnvConfig(MISBEHAVING, 2, processes, options=options), seed=0) as pool:
        with pytest.raises(SenseiError, match="'state' has nan"):
            play(pool, 5)
        assert pool.restarts == 0
    with pytest.raises(UsageError, match="did you mean keychest"):
        EnvPool(EnvConfig("keychst", processes=processes), seed=0)


def test_closing_leaves_no_process_behind():
    pool = EnvPool(tiny(2), seed=0)
    pool.step(actions_for(pool, 0))
    processes = [worker._process for worker in pool._workers]
    pool.close()
    pool.close()
    assert all(process.returncode == 0 for process in processes)


def test_workers_import_no_jax_and_leave_with_their_parent(tmp_path):
    """Kill the parent outright: its workers end by themselves and leave no folder behind."""
    code = (
        "import sys, os; from sensei.envs import EnvConfig; from sensei.envs.pool import EnvPool\n"
        "pool = EnvPool(EnvConfig('tiny', 2, 2, 16), seed=0)\n"
        "assert 'jax' not in sys.modules\n"
        "print(*(w._process.pid for w in pool._workers), flush=True); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 9
    pids = [int(word) for word in done.stdout.split()]
    deadline = time.monotonic() + 10.0
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(_alive(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_forgotten_pool_says_nothing_at_exit():
    code = (
        "from sensei.envs import EnvConfig; from sensei.envs.pool import EnvPool\n"
        "EnvPool(EnvConfig('tiny', 2, 1, 16), seed=0); kept = EnvPool(EnvConfig('tiny', 1, 1), 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wrong_calls_are_explained():
    with pytest.raises(UsageError, match="at least 1"):
        EnvPool(EnvConfig("tiny", num_envs=0), seed=0)
    with EnvPool(tiny(0), seed=0) as pool:
        with pytest.raises(SenseiError, match=r"give \(3, 5\)"):
            pool.step(np.zeros((2, 5), np.float32))
        with pytest.raises(SenseiError, match="without step_async"):
            pool.step_wait()
        pool.step_async(actions_for(pool, 0))
        with pytest.raises(SenseiError, match="called twice"):
            pool.step_async(actions_for(pool, 0))


def test_keychest_is_byte_equal_in_a_process_of_its_own():
    pytest.importorskip("minihack.base")
    seen = []
    for processes in (0, 1):
        config = EnvConfig("keychest", num_envs=2, processes=processes)
        with EnvPool(config, seed=3) as pool:
            seen.append(play(pool, 60))
    for first, second in zip(*seen, strict=True):
        assert_same(first, second)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_pools_leak_no_files():
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    EnvPool(tiny(1), seed=0).close()
    before = count()
    for _ in range(2):
        EnvPool(tiny(1), seed=0).close()
    assert count() == before
