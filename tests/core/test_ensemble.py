"""Disagreement and what the ensemble is trained on."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_agent import SIZE

from sensei.core.ensemble import Ensemble, transitions

FEATURE = SIZE.deter + SIZE.stoch * SIZE.classes


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return Ensemble(3, SIZE, key=jax.random.key(0))


def inputs(n: int = 5) -> tuple[jax.Array, jax.Array]:
    feature = jax.random.normal(jax.random.key(1), (n, FEATURE))
    return feature, jax.nn.one_hot(jnp.arange(n) % 3, 3)


@pytest.mark.parametrize("spread", ["variance", "std"])
def test_disagreement_is_numpys_spread(ensemble: Ensemble, spread: str) -> None:
    """Population variance (or deviation) over the E members, then the mean over S·K dimensions."""
    feature, action = inputs()
    out = np.stack(ensemble.predictions(jnp.concatenate([feature, action], -1))).astype(np.float64)
    assert out.shape == (SIZE.members, 5, SIZE.stoch * SIZE.classes)
    expected = (out.var(0) if spread == "variance" else out.std(0)).mean(-1)
    np.testing.assert_allclose(ensemble.disagreement(feature, action, spread), expected, rtol=1e-4)


@pytest.mark.parametrize("spread", ["variance", "std"])
def test_identical_members_do_not_disagree(ensemble: Ensemble, spread: str) -> None:
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), ensemble)
    assert (same.disagreement(*inputs(), spread) == 0.0).all()


def test_disagreement_is_accurate_far_from_zero(ensemble: Ensemble) -> None:
    """A common offset of 1000 leaves the variance (≈ 0.1) alone; E[x²] − E[x]² would lose it."""
    bias = ensemble.members.out.bias + 1000.0
    far = eqx.tree_at(lambda e: e.members.out.bias, ensemble, bias)
    np.testing.assert_allclose(
        far.disagreement(*inputs()), ensemble.disagreement(*inputs()), rtol=0.01
    )


def test_members_start_different_and_the_action_matters(ensemble: Ensemble) -> None:
    feature, action = inputs()
    assert (ensemble.disagreement(feature, action) > 1e-4).all()
    other = ensemble.disagreement(feature, jnp.roll(action, 1, -1))
    assert not jnp.allclose(other, ensemble.disagreement(feature, action))


def test_loss_is_the_squared_error_where_valid_and_zero_elsewhere(ensemble: Ensemble) -> None:
    feature = jax.random.normal(jax.random.key(1), (2, 3, FEATURE))
    action = jax.random.normal(jax.random.key(2), (2, 3, 3))
    target = jax.random.normal(jax.random.key(3), (2, 3, 16))
    valid = jnp.array([[True, False, True], [True, True, False]])
    out = ensemble.predictions(jnp.concatenate([feature, action], -1).reshape(6, -1))
    error = np.square(np.asarray(out).reshape(3, 2, 3, 16) - np.asarray(target)).mean(-1).sum(0)
    np.testing.assert_allclose(
        ensemble.loss(feature, action, target, valid), error * np.asarray(valid), rtol=1e-5
    )


def labelled_rows(b: int = 2, t: int = 5) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Feature t holds the number t, latent t the number 100 + t, and row t's prev_action t − 1:
    the action taken at t − 1 is stored with what it caused."""
    at = jnp.broadcast_to(jnp.arange(t, dtype=jnp.float32), (b, t))
    return at[..., None], 100.0 + at[..., None, None], at[..., None] - 1.0


def test_transitions_pair_state_and_action_of_t_with_the_latent_of_t_plus_1() -> None:
    feature, stoch, prev_action = labelled_rows()
    state, action, target, valid = transitions(feature, stoch, prev_action, jnp.zeros((2, 5), bool))
    np.testing.assert_array_equal(state[..., 0], [[0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(action, state)  # the action *taken at* t, not the one before
    np.testing.assert_array_equal(target, state + 101.0)
    assert valid.all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_step_into_a_reset_is_never_valid(first: list[bool]) -> None:
    feature, stoch, prev_action = labelled_rows(1, 6)
    *_, valid = transitions(feature, stoch, prev_action, jnp.array([first]))
    assert valid[0].tolist() == [not f for f in first[1:]]


def test_transitions_carry_no_gradient() -> None:
    feature, stoch, prev_action = labelled_rows()
    first = jnp.zeros((2, 5), bool)

    def total(feature: jax.Array, stoch: jax.Array) -> jax.Array:
        state, _, target, _ = transitions(feature, stoch, prev_action, first)
        return state.sum() + target.sum()

    grads = jax.grad(total, argnums=(0, 1))(feature, stoch)
    assert all((g == 0.0).all() for g in grads)
