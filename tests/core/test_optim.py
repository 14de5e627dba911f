"""LaProp and adaptive clipping against plain numpy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.core.agent import Agent, TrainState
from sensei.core.optim import LaProp, clip, clip_leaf, global_norm
from sensei.core.training import clip_parts


def laprop_reference(grads: list[np.ndarray], rate: float, warmup: int) -> list[np.ndarray]:
    """Ziyin et al. 2020, algorithm 2, with β₁ = 0.9 and β₂ = 0.999: updates of one parameter."""
    m = v = np.zeros_like(grads[0])
    updates = []
    for t, g in enumerate(grads, start=1):
        v = 0.999 * v + 0.001 * g**2
        m = 0.9 * m + 0.1 * g / (np.sqrt(v / (1 - 0.999**t)) + 1e-20)
        updates.append(-rate * min(1.0, t / max(1, warmup)) * m / (1 - 0.9**t))
    return updates


@pytest.mark.parametrize("warmup", [0, 3])
def test_laprop_is_the_reference(warmup: int) -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (3,), "b": (2, 2)}
    grads = [{k: rng.normal(size=s) * 10.0**i for k, s in shapes.items()} for i in range(5)]
    optimiser = LaProp(0.1, warmup=warmup)
    state = optimiser.init({k: jnp.zeros(s) for k, s in shapes.items()})
    expected = {k: laprop_reference([g[k] for g in grads], 0.1, warmup) for k in shapes}
    for t, grad in enumerate(grads):
        update, state = optimiser.update(jax.tree.map(jnp.float32, grad), state)
        for k in shapes:
            np.testing.assert_allclose(update[k], expected[k][t], rtol=2e-4)


def test_laprop_takes_a_first_step_of_the_learning_rate_whatever_the_gradient() -> None:
    """After one step m̂ = g / |g| = ± 1; where the gradient is exactly 0 nothing moves."""
    optimiser = LaProp(0.01)
    update, _ = optimiser.update(jnp.array([1e-12, -1e6, 0.0]), optimiser.init(jnp.zeros(3)))
    np.testing.assert_allclose(update, [-0.01, 0.01, 0.0], rtol=1e-4)


def test_laprop_differs_from_adam() -> None:
    """Gradients 1 then 100: LaProp averages 1 and 100/√v̂, Adam divides the average by the last √v̂.

    v̂₂ = (0.999·1 + 10⁴)/1.999, so m̂₂ = (0.9·0.1·1 + 0.1·100/√v̂₂)/(1 − 0.81).
    """
    optimiser = LaProp(1.0)
    state = optimiser.init(jnp.zeros(1))
    _, state = optimiser.update(jnp.array([1.0]), state)
    update, _ = optimiser.update(jnp.array([100.0]), state)
    root = np.sqrt((0.999 + 1e4) / 1.999)
    np.testing.assert_allclose(update, [-(0.09 + 10.0 / root) / 0.19], rtol=1e-4)


def test_clip_leaf_golden_values() -> None:
    """‖p‖ = 5, so at ratio 0.3 a gradient of norm 10 shrinks to 1.5, and one of norm 1 stays."""
    p = jnp.array([3.0, 4.0])
    np.testing.assert_allclose(clip_leaf(jnp.array([6.0, 8.0]), p, 0.3), [0.9, 1.2], rtol=1e-6)
    np.testing.assert_array_equal(clip_leaf(jnp.array([0.6, 0.8]), p, 0.3), jnp.array([0.6, 0.8]))


def test_clip_compares_a_zero_parameter_with_the_floor() -> None:
    """A bias that starts at 0 must still learn: the limit is 0.3 · 0.001."""
    clipped = clip_leaf(jnp.array([7.0]), jnp.zeros(1), 0.3)
    np.testing.assert_allclose(clipped, [3e-4], rtol=1e-5)
    assert (clip_leaf(jnp.zeros(2), jnp.zeros(2), 0.3) == 0.0).all()


def test_members_are_clipped_one_by_one() -> None:
    params = jnp.ones((3, 4))  # each member's norm is 2
    grads = jnp.full((3, 4), 0.1).at[1].set(1e6)
    alone = clip(grads, params, 0.3, members=True)
    np.testing.assert_array_equal(alone[0], grads[0])
    np.testing.assert_array_equal(alone[2], grads[2])
    assert float(jnp.linalg.norm(alone[1])) == pytest.approx(0.6, rel=1e-5)
    together = clip(grads, params, 0.3)
    assert float(jnp.abs(together[0]).max()) < 1e-5  # what clipping the stack at once would do


@pytest.mark.parametrize("part", ["ensemble", "critics"])
def test_one_network_of_a_stack_cannot_silence_the_others(part: str, state: TrainState) -> None:
    """``clip_parts`` clips every ensemble member, and every channel's critic, by itself.

    Published code clips the last member only, or all of them as one.
    """
    params = eqx.filter(state.agent, eqx.is_inexact_array)

    @jax.jit
    def clipped_gradients(params: Agent) -> Agent:
        grads = jax.tree.map(lambda p: jnp.full_like(p, 1e-7), params)
        huge = jax.tree.map(lambda g: g.at[1].set(1e6), getattr(grads, part))
        return clip_parts(grads.replace(**{part: huge}), params, 0.3)

    clipped = clipped_gradients(params)
    pairs = zip(
        jax.tree.leaves(getattr(clipped, part)), jax.tree.leaves(getattr(params, part)), strict=True
    )
    for g, p in (map(np.asarray, pair) for pair in pairs):
        assert (g[0] == np.float32(1e-7)).all()
        for member in range(g.shape[0]):
            limit = 0.3 * max(1e-3, float(np.linalg.norm(p[member])))
            assert float(np.linalg.norm(g[member])) <= limit * 1.0001


def test_global_norm() -> None:
    assert float(global_norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0]])})) == pytest.approx(5)
