"""Packed shards: the same rows in fewer bytes, whatever a crash leaves behind."""

import lz4.block
import numpy as np
import pytest

from sensei.data.episodes import EpisodeStore
from sensei.data.packed import PackedShard
from sensei.types import SenseiError

STREAMS, STEPS = 2, 40
FIELDS = {
    "flag": ((), bool),
    "image": ((32, 16, 3), "uint8"),
    "second": ((2048,), "uint8"),
    "vector": ((300,), np.float32),
}
"""Two fields that are packed, and a large one that is not, for it is not of bytes."""


def row(t: int) -> dict[str, np.ndarray]:
    """Pictures that change in one place, as a game's do."""
    image = np.zeros((STREAMS, 32, 16, 3), np.uint8)
    image[:, t % 32, :, 0] = 1 + t % 200
    image[1, :, 0, 1] = 7
    second = np.full((STREAMS, 2048), t % 256, np.uint8)
    return {
        "flag": np.full(STREAMS, t % 3 == 0),
        "image": image,
        "second": second,
        "vector": np.full((STREAMS, 300), t, np.float32),
    }


def filled(folder, count: int) -> EpisodeStore:
    """A store of shards of 40 rows, which are two blocks and a half, flushed."""
    store = EpisodeStore(folder, FIELDS, STREAMS, max_gb=0.05, shard_steps=STEPS)
    for t in range(count):
        store.append(row(t))
    store.flush()
    return store


def names(store: EpisodeStore) -> list[str]:
    return sorted(path.name for path in store.folder.glob("shard-*"))


def check(store: EpisodeStore, env: int, start: int, length: int) -> None:
    window = store.window(env, start, length)
    for i in range(length):
        for name, value in row(start + i).items():
            np.testing.assert_array_equal(window[name][i], value[env])


def test_full_shards_are_packed_and_every_window_stays_what_it_was(tmp_path):
    store = filled(tmp_path / "s", 100)
    assert names(store) == ["shard-000000.lz4", "shard-000001.lz4", "shard-000002.bin"]
    sizes = [path.stat().st_size for path in sorted(store.folder.glob("shard-*"))]
    floats = STREAMS * STEPS * 4 * 300
    assert floats < sizes[0] < floats + 0.1 * (sizes[2] - floats)
    for opened in (store, EpisodeStore.open(tmp_path / "s", read_only=True)):
        for start in range(100):
            for length in {1, 15, 16, 17, 50, 100 - start} & set(range(101 - start)):
                check(opened, start % 2, start, length)
    np.testing.assert_array_equal(store.column("image")[1, 77], row(77)["image"][1])
    batch = store.sample(np.random.default_rng(0), batch=8, length=33)
    np.testing.assert_array_equal(batch["second"][:, :, 5], batch["vector"][:, :, 0])


def test_a_packed_shard_is_unpacked_to_go_on_in_its_middle(tmp_path):
    store = filled(tmp_path / "s", 80)
    store.close()
    store = EpisodeStore.open(tmp_path / "s")
    store.truncate(50)
    store.append(row(50))
    assert names(store) == ["shard-000000.lz4", "shard-000001.bin"]
    check(store, 1, 0, 51)
    for t in range(51, 80):
        store.append(row(t))
    store.flush()
    assert names(store) == ["shard-000000.lz4", "shard-000001.lz4"]
    check(EpisodeStore.open(tmp_path / "s"), 0, 0, 80)


def test_noise_and_small_pictures_stay_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in {"noise": (64, 64), "small": (8, 8)}.items():
        store = EpisodeStore(tmp_path / name, {"image": (shape, "uint8")}, 1, 0.1, shard_steps=32)
        pictures = rng.integers(0, 256, (32, 1, *shape), np.uint8)
        if name == "small":
            pictures[:] = 0
        for picture in pictures:
            store.append({"image": picture})
        store.flush()
        assert names(store) == ["shard-000000.bin"]
        np.testing.assert_array_equal(store.column("image")[0], pictures[:, 0])


def test_what_a_crash_leaves_is_cleared_away(tmp_path):
    store = filled(tmp_path / "s", 50)
    for left in ("shard-000000.bin", "shard-000001.tmp", "shard-000007.lz4"):
        (store.folder / left).write_bytes(b"half")
    reader = EpisodeStore.open(tmp_path / "s", read_only=True)
    check(reader, 0, 0, 50)
    assert (store.folder / "shard-000000.bin").exists()  # only the writer clears away
    check(EpisodeStore.open(tmp_path / "s"), 1, 0, 50)
    assert names(store) == ["shard-000000.lz4", "shard-000001.bin"]


def test_a_full_disk_while_packing_loses_nothing(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path / "s", FIELDS, STREAMS, max_gb=0.05, shard_steps=STEPS)
    for t in range(STEPS):
        store.append(row(t))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sensei.data.packed.os.fsync", full)
    with pytest.raises(SenseiError, match="no space left"):
        store.flush()
    assert names(store) == ["shard-000000.bin"]
    monkeypatch.undo()
    store.flush()
    assert names(store) == ["shard-000000.lz4"]
    check(EpisodeStore.open(tmp_path / "s"), 0, 0, STEPS)


def test_damage_in_a_packed_shard_is_found(tmp_path):
    store = filled(tmp_path / "s", STEPS)
    path = store.folder / "shard-000000.lz4"
    whole, block = path.read_bytes(), int(np.diff(PackedShard(path, store.layout).begins)[-1])
    for wrong in (b"", whole[:-1], whole[:200]):
        path.write_bytes(wrong)
        with pytest.raises(SenseiError, match=r"shard-000000.lz4.*restore the folder"):
            EpisodeStore.open(tmp_path / "s")
    few = lz4.block.compress(bytes(range(block - 2)), store_size=False)  # too few to repeat
    assert len(few) == block
    for wrong in (bytes(block), few):
        path.write_bytes(whole[:-block] + wrong)
        store = EpisodeStore.open(tmp_path / "s")
        check(store, 0, 0, 16)
        with pytest.raises(SenseiError, match=r"shard-000000.lz4.*restore the folder"):
            store.column("second")


def test_a_folder_packed_by_another_library_is_refused_as_it_is(tmp_path):
    store = filled(tmp_path / "s", STEPS)
    index = store.folder / "index.json"
    index.write_text(index.read_text().replace('"version": 3', '"version": 2'))
    with pytest.raises(SenseiError, match=r"format 2, this one reads 1 and 3"):
        EpisodeStore.open(tmp_path / "s")
    assert names(store) == ["shard-000000.lz4"]


def test_a_folder_of_the_first_format_is_read_on(tmp_path):
    store = filled(tmp_path / "s", 20)
    index = store.folder / "index.json"
    index.write_text(index.read_text().replace('"version": 3', '"version": 1'))
    store = EpisodeStore.open(tmp_path / "s")
    check(store, 0, 0, 20)
    for t in range(20, 45):
        store.append(row(t))
    store.flush()
    assert '"version": 3' in index.read_text()
    check(EpisodeStore.open(tmp_path / "s"), 1, 0, 45)
