"""Checkpoints come back bit for bit, and survive what disks and kills do to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.run import checkpoint
from sensei.types import SenseiError


def make_tree() -> dict[str, Any]:
    key = jax.random.key(7)
    return {
        "net": eqx.nn.MLP(3, 2, 4, 1, key=key),
        "half": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        "key": key,
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 3),
        "host": np.arange(5, dtype=np.int64) * 10**12,
        "empty": jnp.zeros((0, 4)),
        "pair": (jnp.array(True), [jnp.float32(-0.0)]),
        "updates": 12,
        "nothing": None,
    }


def other_tree() -> dict[str, Any]:
    """The same structure, other numbers."""
    return jax.tree.map(lambda leaf: leaf if callable(leaf) else changed(leaf), make_tree())


def changed(leaf: Any) -> Any:
    if is_key(leaf):
        return jax.random.fold_in(leaf, 1) if leaf.ndim == 0 else leaf[::-1]
    return leaf + 1 if jnp.issubdtype(jnp.result_type(leaf), jnp.number) else ~leaf


def is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def raw(leaf: Any) -> bytes:
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def test_every_leaf_returns_bit_exact(tmp_path: Path) -> None:
    tree, path = make_tree(), tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, tree, {"step": 3, "nested": {"a": [1, 2]}})

    back, meta = checkpoint.load(path, other_tree())

    assert meta == {"step": 3, "nested": {"a": [1, 2]}}
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    arrays = [leaf for leaf in jax.tree.leaves(tree) if not callable(leaf)]
    restored = [leaf for leaf in jax.tree.leaves(back) if not callable(leaf)]
    assert [raw(leaf) for leaf in restored] == [raw(leaf) for leaf in arrays]
    assert [type(leaf) for leaf in restored] == [type(leaf) for leaf in arrays]
    assert back["updates"] == 12
    assert back["host"].dtype == np.int64 and back["host"].flags.writeable


def test_random_keys_go_on_as_if_never_saved(tmp_path: Path) -> None:
    tree = {"a": jax.random.key(3), "b": jax.random.key(3, impl="rbg")}
    checkpoint.save(tmp_path / "c", tree)
    back, _ = checkpoint.load(tmp_path / "c", {"a": jax.random.key(0), "b": tree["b"]})
    for name in tree:
        expected, found = jax.random.normal(tree[name], (4,)), jax.random.normal(back[name], (4,))
        assert np.array_equal(expected, found)


def test_shapes_alone_are_enough_to_load(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", {"w": jnp.ones((2, 3))})
    back, _ = checkpoint.load(tmp_path / "c", jax.eval_shape(lambda: {"w": jnp.zeros((2, 3))}))
    assert back["w"].sum() == 6


def test_file_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    checkpoint.save(tmp_path / "c", {"w": jnp.ones(2)})
    assert list(load_file(tmp_path / "c")) == ["['w']"]


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"w": jnp.ones((3, 2))}, ["['w']", "float32[2, 3]", "float32[3, 2]", "--force"]),
        ({"w": jnp.ones((2, 3), jnp.int32)}, ["['w']", "int32[2, 3]"]),
        ({"w": jnp.ones((2, 3)), "more": jnp.ones(1)}, ["['more']", "is missing"]),
        ({}, ["['w']", "no such part"]),
        ({"w": jax.random.key(0)}, ["['w']", "random key"]),
    ],
)
def test_first_misfit_is_named(tmp_path: Path, like: Any, words: list[str]) -> None:
    checkpoint.save(tmp_path / "c", {"w": jnp.ones((2, 3))})
    with pytest.raises(SenseiError) as caught:
        checkpoint.load(tmp_path / "c", like)
    assert all(word in str(caught.value) for word in words), caught.value


def test_part_of_a_checkpoint(tmp_path: Path) -> None:
    tree = {"agent": {"world": jnp.arange(3), "worldly": jnp.ones(1)}, "step": 4}
    checkpoint.save(tmp_path / "c", tree)
    part = checkpoint.load_part(tmp_path / "c", jnp.zeros(3, jnp.int32), "['agent']['world']")
    assert part.tolist() == [0, 1, 2]
    with pytest.raises(SenseiError, match="worldly"):
        checkpoint.load_part(tmp_path / "c", {"world": jnp.zeros(3, jnp.int32)}, "['agent']")
    with pytest.raises(SenseiError, match="nothing below"):
        checkpoint.load_part(tmp_path / "c", jnp.zeros(3), "['absent']")


def _save_twice(path: Path) -> None:
    checkpoint.save(path, {"w": jnp.zeros(1000)}, {"step": 1})
    checkpoint.save(path, {"w": jnp.ones(1000)}, {"step": 2})


@pytest.mark.parametrize("damage", ["truncated", "empty", "bit", "missing"])
def test_damaged_file_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    _save_twice(path)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    damaged = {"truncated": bytes(data[:-100]), "empty": b"", "bit": bytes(data)}
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])

    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors\.prev"):
        tree, meta = checkpoint.load(path, {"w": jnp.zeros(1000)})
    assert meta == {"step": 1} and float(tree["w"].sum()) == 0

    checkpoint.save(path, tree, {"step": 3})
    assert checkpoint.read_meta(path) == {"step": 3}
    assert checkpoint.read_meta(path.with_name(path.name + ".prev")) == {"step": 1}


def test_both_damaged_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "c"
    _save_twice(path)
    path.write_bytes(b"")
    (tmp_path / "c.prev").write_bytes(b"x")
    with pytest.raises(SenseiError, match="--force"):
        checkpoint.load(path, {"w": jnp.zeros(1000)})
    with pytest.raises(SenseiError, match="none before it"):
        checkpoint.load(tmp_path / "absent", {})
    assert checkpoint.exists(path) and not checkpoint.exists(tmp_path / "absent")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, {"w": jnp.zeros(3)}, {"step": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(SenseiError, match="no space left"):
            checkpoint.save(path, {"w": jnp.ones(3)}, {"step": 2})
    assert checkpoint.read_meta(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_formats_newer_and_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, {"w": jnp.zeros(3)}, {"old": 1})

    def rename(contents: checkpoint.Contents) -> checkpoint.Contents:
        return contents._replace(arrays={"['v']": contents.arrays["['w']"]}, meta={"new": 1})

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 2)
        patch.setitem(checkpoint.MIGRATIONS, 1, rename)
        assert checkpoint.load(path, {"v": jnp.ones(3)})[1] == {"new": 1}
        checkpoint.save(path, {"v": jnp.zeros(3)})
    with pytest.raises(SenseiError, match="update sensei"):
        checkpoint.load(path, {"v": jnp.zeros(3)})


def test_other_safetensors_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "c")
    with pytest.raises(SenseiError, match="not a sensei checkpoint"):
        checkpoint.load(tmp_path / "c", {})


def test_numpy_generator_goes_on_through_json() -> None:
    rng = np.random.default_rng(5)
    rng.random(3)
    state = json.loads(json.dumps(checkpoint.rng_state(rng)))
    assert checkpoint.rng_from_state(state).random(8).tolist() == rng.random(8).tolist()
