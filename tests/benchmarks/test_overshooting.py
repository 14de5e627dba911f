"""Dreams along the actions taken are compared with what these actions led to."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.core.config import AgentConfig, Size
from sensei.core.world_model import WorldModel, world_model_losses
from sensei.types import ActionSpec, ObsSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE = Size(deter=32, blocks=4, hidden=16, stoch=4, classes=4, units=16, layers=1)
CONFIG = AgentConfig(size=SIZE)


def test_dreams_begin_late_and_halfway_and_count_nothing_beyond_a_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows 0 to 5, 2 steps: from row 3, and from row 1. Row 3 is a reset, so that from row 1 only
    the step to row 2 counts, and both from row 3. A row's vector is its number times 100 / 6 once
    compressed; a fresh decoder answers about 0, so the error tells which row was compared."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from overshooting import overshooting_losses

    spec = ObsSpec(None, ("row",))
    model = WorldModel(spec, ActionSpec((3,)), ("task",), CONFIG, key=jax.random.key(0))
    rows = jnp.broadcast_to(jnp.expm1(jnp.arange(6.0) * 100.0 / 6.0)[:, None], (2, 6, 1))
    rng = np.random.default_rng(0)
    batch = {
        "vector": rows,
        "prev_action": jnp.asarray(np.eye(3, dtype=np.float32)[rng.integers(3, size=(2, 6))]),
        "task": jnp.zeros((2, 6)),
        "is_first": jnp.zeros((2, 6), bool).at[:, jnp.array([0, 3])].set(True),
        "is_terminal": jnp.zeros((2, 6), bool),
    }

    @eqx.filter_jit
    def dreamt() -> dict[str, jax.Array]:
        _, latent = world_model_losses(model, batch, CONFIG, (), key=jax.random.key(0))
        return overshooting_losses(model, latent, batch, 2, ("task",), key=jax.random.key(1))

    losses = dreamt()
    assert losses.keys() == {"dream_vector", "dream_task"}
    seen = np.sqrt(np.asarray(losses["dream_vector"])) * 6.0 / 100.0
    expected = [[2.0, 2.0, 4.0, 4.0], [0.0, 0.0, 5.0, 5.0]]
    np.testing.assert_allclose(seen, expected, atol=0.3)
    counted = np.asarray(losses["dream_task"] > 0.0)
    np.testing.assert_array_equal(counted, np.asarray(expected) > 0.0)
