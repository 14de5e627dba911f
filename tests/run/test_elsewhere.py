"""What another process compiled is the same step, taken from the cache; without it all goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from loop_parts import CONFIG, small_learner

from sensei.core.training import train_step
from sensei.run.elsewhere import Elsewhere
from sensei.types import ActionSpec, EnvSpec, ObsSpec

SPEC = EnvSpec(ObsSpec((16, 16, 3)), ActionSpec((3,)))
STEP = train_step.__wrapped__  # type: ignore[attr-defined]
PROGRAMS = "jit_train_step_*-cache"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """An empty persistent cache of compiled programs."""
    before = jax.config.values["jax_compilation_cache_dir"]
    yield use_cache(tmp_path / "xla")
    use_cache(before)


def use_cache(folder: Any) -> Any:
    """JAX looks at the setting only once."""
    jax.config.update("jax_compilation_cache_dir", folder and str(folder))
    compilation_cache.reset_cache()
    return folder


class Counted:
    """A step that doubles x, and how often it was traced."""

    def __init__(self) -> None:
        self.traced = 0

    def __call__(self, fixed: tuple, state: dict[str, Any]) -> tuple[dict[str, Any], jax.Array]:
        self.traced += 1
        name, a = fixed
        assert name == "double"
        key, k_noise = jax.random.split(state["key"])
        x = a * state["x"] + 0.0 * jax.random.normal(k_noise)
        return state | {"x": x, "key": key}, x.sum()


def no_way(*_: Any, **__: Any) -> Any:
    raise AssertionError("not asked for")


def given() -> tuple[tuple, dict[str, Any]]:
    state = {"x": jax.numpy.arange(3.0), "key": jax.random.key(0, impl="rbg"), "word": "kept"}
    return ("double", np.float32(2.0)), state


def test_an_update_is_the_same_bits_as_one_compiled_here(cache: Path) -> None:
    batch = random_batch()

    def two(step: Callable) -> list[bytes]:
        learner = small_learner(SPEC)
        state = learner.state
        for _ in range(2):
            state, metrics = step((learner.setup, None, batch), state)
        arrays = jax.tree.leaves(eqx.filter((state, metrics), eqx.is_array))
        assert all(np.isfinite(plain(x)).all() for x in arrays)
        return [plain(x).tobytes() for x in arrays]

    here = eqx.filter_jit(STEP, donate="all-except-first")
    elsewhere = Elsewhere(STEP, no_way)
    assert two(elsewhere) == two(here)
    assert len(elsewhere.ready) == 1


def plain(x: Any) -> np.ndarray:
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def random_batch() -> dict[str, np.ndarray]:
    rng, shape = np.random.default_rng(0), (CONFIG.batch, CONFIG.length)
    flags = {name: np.zeros(shape, bool) for name in ("is_first", "is_last", "is_terminal")}
    return flags | {
        "image": rng.integers(0, 256, (*shape, 16, 16, 3), dtype=np.uint8),
        "prev_action": np.eye(3, dtype=np.float32)[rng.integers(0, 3, shape)],
        "reward": rng.normal(size=shape).astype(np.float32),
        "rewards": np.zeros((*shape, 0), np.float32),
    }


def test_nothing_is_compiled_here_and_a_second_process_not_even_started(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fixed, state = given()
    jax.block_until_ready(state)
    listen = lambda event, **_: events.append(event.rpartition("/")[2])
    jax.monitoring.register_event_listener(listen)
    try:
        Elsewhere(Counted(), no_way).compiled(fixed, state)
        monkeypatch.setattr(subprocess, "run", no_way)
        Elsewhere(Counted(), no_way).compiled(fixed, state)
    finally:
        jax.monitoring.unregister_event_listener(listen)
    assert events.count("cache_hits") == 2 and "cache_misses" not in events
    assert len(list(cache.glob(PROGRAMS))) == 1


def test_the_state_is_consumed_and_what_is_no_array_comes_back(cache: Path) -> None:
    step = Elsewhere(Counted(), no_way)
    fixed, state = given()
    new, total = step(fixed, state)
    assert state["x"].is_deleted() and new["word"] == "kept"
    assert (new["x"].tolist(), float(total)) == ([0.0, 2.0, 4.0], 6.0)
    assert step(fixed, new)[1] == 12.0
    assert step.step.traced == 1


def test_other_shapes_are_another_program(cache: Path) -> None:
    step = Elsewhere(Counted(), no_way)
    for size in (5, 4):
        fixed, state = given()
        assert step(fixed, state | {"x": jax.numpy.ones(size)})[1] == 2.0 * size
    assert len(step.ready) == len(list(cache.glob(PROGRAMS))) == 2


@pytest.mark.parametrize("executable", ["/bin/false", "/no/such/python"])
def test_it_is_compiled_here_when_the_other_process_fails(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    here = Counted()
    assert Elsewhere(Counted(), here)(*given())[1] == 6.0
    assert here.traced == 1 and "another one failed" in caplog.text


def test_it_is_compiled_here_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    before = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setattr(subprocess, "run", no_way)
    use_cache(None)
    try:
        assert Elsewhere(no_way, Counted())(*given())[1] == 6.0
    finally:
        use_cache(before)
