"""The episode store against a plain list, across shards, evictions, truncations and reopenings."""

import errno
import json
import mmap
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensei.data import shards
from sensei.data.boundaries import EpisodeRef, find_episodes
from sensei.data.episodes import EpisodeStore
from sensei.types import SenseiError, UsageError

FIELDS = {
    "image": ((2, 3, 1), "uint8"),
    "vector": ((2,), np.float32),
    "rewards": ((0,), "float32"),
    "is_first": ((), bool),
    "is_last": ((), bool),
    "events": ((1,), np.int32),
}
ENVS, SHARD = 2, 4
SHARD_BYTES = 5 * 64  # each non-empty field is rounded up to 64 bytes


def rows(t: int, generation: int = 0) -> dict[str, np.ndarray]:
    """Make the row that names its own stream, time and writing."""
    env = np.arange(ENVS)
    return {
        "image": np.broadcast_to(
            (env * 100 + t % 100)[:, None, None, None], (ENVS, 2, 3, 1)
        ).astype(np.uint8),
        "vector": np.stack([env + 1000.0 * t, np.full(ENVS, generation)], axis=1).astype("f4"),
        "rewards": np.zeros((ENVS, 0), "f4"),
        "is_first": np.full(ENVS, t % 5 == 0),
        "is_last": np.full(ENVS, t % 5 == 4),
        "events": np.full((ENVS, 1), t, np.int32),
    }


def small_store(folder, shard_count: int = 4) -> EpisodeStore:
    """Make a store of 4-step shards."""
    cap = (shard_count + 0.5) * SHARD_BYTES / 1e9
    store = EpisodeStore(folder, FIELDS, ENVS, max_gb=cap, shard_steps=SHARD)
    assert (store.layout.shard_steps, store.layout.shard_bytes) == (SHARD, SHARD_BYTES)
    assert store._max_shards == shard_count
    return store


def check_window(window, env, start, model):
    times = window["events"][:, 0]
    np.testing.assert_array_equal(times, np.arange(start, start + len(times)))
    np.testing.assert_array_equal(window["vector"][:, 0], env + 1000.0 * times)
    np.testing.assert_array_equal(window["vector"][:, 1], [model[t] for t in times])
    np.testing.assert_array_equal(window["image"][:, 1, 2, 0], (env * 100 + times % 100))
    np.testing.assert_array_equal(window["is_first"], times % 5 == 0)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 9)),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("kill"), st.floats(0, 1)),
        st.tuples(st.just("sample"), st.integers(1, 7)),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=operations, seed=st.integers(0, 2**31))
def test_store_equals_a_list(tmp_path_factory, operations, seed):
    """Whatever happens, held rows are those last written, and the oldest follows from `steps`."""
    folder = tmp_path_factory.mktemp("store")
    store, model, saved, generation = small_store(folder / "s"), [], 0, 0
    unsaved = 0  # flushes since the latest that a checkpoint followed
    rng = np.random.default_rng(seed)
    for kind, value in operations:
        if kind == "append":
            for _ in range(value):
                store.append(rows(len(model), generation))
                model.append(generation)
        elif kind == "flush":
            store.flush()
            unsaved += 1
            if rng.random() < 0.7:
                saved, unsaved = len(model), 0
        elif kind == "kill":
            if unsaved > 1:
                return  # no run does that; another test says what happens
            store.close()
            store = EpisodeStore.open(folder / "s")
            store.truncate(saved)
            store.truncate(saved)
            del model[saved:]
            generation += 1
            unsaved = 0
        held = -(-len(model) // SHARD) - store._max_shards
        assert store.steps == len(model)
        assert unsaved > 1 or store.oldest == max(0, held * SHARD)
        if kind == "sample" and len(model) - store.oldest >= value:
            batch = store.sample(rng, 5, value)
            for b in range(5):
                env = int(batch["vector"][b, 0, 0]) % 1000
                start = int(batch["events"][b, 0, 0])
                assert store.oldest <= start and start + value <= store.steps
                check_window({k: v[b] for k, v in batch.items()}, env, start, model)
    for env in range(ENVS):
        window = store.window(env, store.oldest, store.steps - store.oldest)
        check_window(window, env, store.oldest, model)


def filled(folder, count):
    store = small_store(folder)
    for t in range(count):
        store.append(rows(t))
    return store


def test_eviction_deletes_files_but_keeps_what_the_previous_checkpoint_needs(tmp_path):
    store = filled(tmp_path / "s", 16)
    store.flush()  # checkpoint at 16 holds rows 0..15
    for t in range(16, 40):
        store.append(rows(t))
    assert store.oldest == 24
    store.flush()  # killed before the checkpoint at 40 is saved
    resumed = EpisodeStore.open(tmp_path / "s")
    resumed.truncate(16)
    assert (resumed.oldest, resumed.steps) == (0, 16)
    check_window(resumed.window(1, 0, 16), 1, 0, [0] * 16)
    for t in range(16, 200):
        resumed.append(rows(t))
        if t % 8 == 0:
            resumed.flush()
    assert len(list((tmp_path / "s").glob("shard-*"))) <= 4 + 2 * 2


def test_two_unsaved_flushes_are_reported_not_silently_wrong(tmp_path):
    store = filled(tmp_path / "s", 8)
    store.flush()
    for t in range(8, 80):
        store.append(rows(t))
        if t % 20 == 0:
            store.flush()
    store.flush()
    with pytest.raises(SenseiError, match="no longer holds row 7"):
        EpisodeStore.open(tmp_path / "s").truncate(8)


def test_truncate_to_zero_starts_anew(tmp_path):
    store = filled(tmp_path / "s", 80)
    for _ in range(3):
        store.flush()
    store.truncate(0)
    assert (store.steps, store.oldest, list((tmp_path / "s").glob("shard*"))) == (0, 0, [])
    store.append(rows(0))
    check_window(store.window(0, 0, 1), 0, 0, [0])


def test_rows_after_the_last_flush_do_not_survive(tmp_path):
    store = filled(tmp_path / "s", 6)
    store.flush()
    store.append(rows(6))
    assert EpisodeStore.open(tmp_path / "s").steps == 6


def test_checkpoint_ahead_of_the_rows_is_an_error(tmp_path):
    store = filled(tmp_path / "s", 6)
    with pytest.raises(SenseiError, match="holds 6 rows, the checkpoint 7"):
        store.truncate(7)


def test_sampling_is_uniform_and_deterministic(tmp_path):
    store = filled(tmp_path / "s", 14)
    one = store.sample(np.random.default_rng(3), 8, 5)
    two = {k: np.zeros_like(v) for k, v in one.items()}
    store.sample_into(np.random.default_rng(3), two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    many = store.sample(np.random.default_rng(0), 4000, 5)
    starts = many["events"][:, 0, 0]
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10  # 14 rows, windows of 5
    assert counts.min() > 300 and counts.max() < 500
    assert 0.45 < np.mean(many["vector"][:, 0, 0] % 1000) < 0.55


def test_a_window_longer_than_the_store_is_an_error(tmp_path):
    store = filled(tmp_path / "s", 4)
    with pytest.raises(SenseiError, match="holds 4 rows a stream, fewer than the 5"):
        store.sample(np.random.default_rng(0), 1, 5)
    with pytest.raises(SenseiError, match="outside"):
        store.window(0, 1, 4)


def test_sampled_arrays_do_not_change_later(tmp_path):
    store = filled(tmp_path / "s", 4)
    before = store.sample(np.random.default_rng(0), 1, 4)
    copy = before["events"].copy()
    store.truncate(0)
    store.append(rows(9))
    np.testing.assert_array_equal(before["events"], copy)


def test_read_only_sees_the_last_flush_and_changes_nothing(tmp_path):
    store = filled(tmp_path / "s", 6)
    store.flush()
    store.append(rows(6))
    files = sorted(p.name for p in (tmp_path / "s").iterdir())
    reader = EpisodeStore.open(tmp_path / "s", read_only=True)
    assert reader.steps == 6
    for forbidden in (lambda: reader.append(rows(6)), reader.flush, lambda: reader.truncate(0)):
        with pytest.raises(SenseiError, match="read-only"):
            forbidden()
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == files


def test_wrong_rows_are_named(tmp_path):
    store = filled(tmp_path / "s", 1)
    with pytest.raises(SenseiError, match=r"missing or unknown.*events"):
        store.append({k: v for k, v in rows(1).items() if k != "events"})
    with pytest.raises(SenseiError, match=r"field vector is float64\[2, 2\]"):
        store.append(rows(1) | {"vector": np.zeros((2, 2))})
    assert store.steps == 1


def test_damage_is_explained(tmp_path):
    folder = tmp_path / "s"
    with pytest.raises(SenseiError, match="holds no episodes"):
        EpisodeStore.open(folder)
    filled(folder, 6).flush()
    with pytest.raises(SenseiError, match="already holds"):
        small_store(folder)
    shard = folder / "shard-000000.bin"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(SenseiError, match=r"shard-000000.bin has .* bytes"):
        EpisodeStore.open(folder)
    shard.unlink()
    assert EpisodeStore.open(folder).oldest == 4  # as after an eviction
    (folder / "shard-000001.bin").unlink()
    with pytest.raises(SenseiError, match=r"shard-000001.bin is missing"):
        EpisodeStore.open(folder)
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"version": 99}))
    with pytest.raises(SenseiError, match="another version"):
        EpisodeStore.open(folder)
    (folder / "index.json").write_text('{"version": 1')
    with pytest.raises(SenseiError, match="damaged"):
        EpisodeStore.open(folder)


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    store = filled(tmp_path / "s", 4)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shards.os, "posix_fallocate", full)
    with pytest.raises(SenseiError, match="no space left"):
        store.append(rows(4))
    assert store.steps == 4
    assert not list((tmp_path / "s").glob("*.tmp"))
    monkeypatch.undo()
    store.append(rows(4))  # after space was made
    check_window(store.window(0, 0, 5), 0, 0, [0] * 5)


def test_a_shard_is_reserved_on_the_disk(tmp_path):
    EpisodeStore(
        tmp_path / "s", {"x": ((1000,), "float32")}, 2, max_gb=0.01, shard_steps=64
    ).append({"x": np.zeros((2, 1000), "f4")})
    stat = (tmp_path / "s" / "shard-000000.bin").stat()
    assert stat.st_blocks * 512 >= stat.st_size == 2 * 64 * 4000


def test_shards_fit_the_cap_and_the_descriptor_limit(tmp_path):
    image = {"image": ((64, 64, 3), "uint8")}
    big = EpisodeStore(tmp_path / "big", image, 1, max_gb=12.0)
    assert big._max_shards <= 256
    tiny = EpisodeStore(tmp_path / "tiny", image, 4, max_gb=0.001)
    assert tiny._max_shards >= 4 and tiny.layout.shard_bytes * 4 <= 1e6
    with pytest.raises(UsageError, match="max_gb is 1e-07"):
        EpisodeStore(tmp_path / "none", image, 4, max_gb=1e-7)
    with pytest.raises(UsageError, match="float64"):
        EpisodeStore(tmp_path / "none", {"x": ((), "float64")}, 4, max_gb=1.0)


def test_episodes_from_flags(tmp_path):
    store = filled(tmp_path / "s", 12)
    assert store.episodes() == [
        EpisodeRef(env, start, min(start + 5, 12), start < 10)
        for env in range(2)
        for start in (0, 5, 10)
    ]
    first, last = np.zeros((2, 8), bool), np.zeros((2, 8), bool)
    first[1, [2, 5]] = True  # stream 1: cut beginning, then a restart without is_last
    last[1, 7] = True
    assert find_episodes(first, last, 100) == [
        EpisodeRef(1, 102, 105, False),
        EpisodeRef(1, 105, 108, True),
    ]


def test_what_is_announced_holds_the_rows_to_be_read(tmp_path):
    # Rows of 5,000 bytes, so that neither they nor the streams begin on a page.
    fields = {"flag": ((), bool), "image": ((5000,), "uint8")}
    store = EpisodeStore(tmp_path, fields, 2, max_gb=0.01, shard_steps=7)
    for t in range(7):
        store.append({"flag": np.full(2, t % 2 == 0), "image": np.full((2, 5000), t, np.uint8)})
    shard, asked = store._shards[0], []

    class Map:
        def madvise(self, option, start, length):
            assert option == mmap.MADV_WILLNEED
            assert start % mmap.PAGESIZE == 0
            asked.append(bytes(whole)[start : start + length])

    whole, shard.map = shard.map, Map()
    shard.announce(1, 2, 3)
    flags, pictures = asked
    assert flags.endswith(bytes([1, 0, 1]))
    wanted = np.repeat(np.array([2, 3, 4], np.uint8), 5000).tobytes()
    assert pictures.endswith(wanted)
    assert len(pictures) < len(wanted) + mmap.PAGESIZE
    store.sample(np.random.default_rng(0), batch=5, length=4)
    assert len(asked) == 2 + 2 * 5
