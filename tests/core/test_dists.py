"""Two-hot numbers, one-hot latents and their divergence, against values derived by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensei.core.dists import (
    BINS,
    bins,
    categorical_kl,
    sample_one_hot,
    straight_through,
    symexp,
    symlog,
    two_hot,
    two_hot_loss,
    two_hot_mean,
    unimix,
)

numbers = st.floats(-1e8, 1e8, width=32)


def test_symlog_golden_values() -> None:
    """symlog(e − 1) = log(e) = 1 and symlog(−3) = −log 4."""
    x = jnp.array([0.0, np.e - 1.0, 1.0 - np.e, -3.0])
    np.testing.assert_allclose(symlog(x), [0.0, 1.0, -1.0, -np.log(4.0)], rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(numbers)
def test_symexp_undoes_symlog(x: float) -> None:
    # symlog(1e8) ≈ 18.4, where float32 steps by 2e-6: that is the relative error after exp.
    np.testing.assert_allclose(symexp(symlog(jnp.float32(x))), x, rtol=1e-5, atol=1e-9)


def test_bins_are_antisymmetric_and_end_at_symexp_20() -> None:
    at = np.asarray(bins())
    assert at.shape == (255,)
    assert (at == -at[::-1]).all()  # exactly
    assert at[127] == 0.0
    np.testing.assert_allclose(at[-1], np.expm1(20.0), rtol=1e-6)
    # Equal steps of 40/254 under symlog: the first positive bin is e^(40/254) − 1.
    np.testing.assert_allclose(at[128], np.expm1(40.0 / 254.0), rtol=1e-4)


@settings(deadline=None, max_examples=100)
@given(numbers)
def test_two_hot_is_a_distribution_on_two_neighbours_with_the_right_mean(x: float) -> None:
    w = np.asarray(two_hot(jnp.float32(x)), np.float64)
    where = np.flatnonzero(w)
    assert 1 <= len(where) <= 2
    assert where[-1] - where[0] <= 1
    np.testing.assert_allclose(w.sum(), 1.0, atol=1e-5)
    at = np.asarray(bins(), np.float64)
    # The weights are float32: the error is a part in 10⁶ of the bins beside the number.
    np.testing.assert_allclose((w * at).sum(), x, rtol=1e-4, atol=2e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, BINS - 2), st.floats(0.0, 1.0))
def test_two_hot_between_bins(index: int, share: float) -> None:
    """A number ``share`` of the way from bin i to bin i + 1 puts ``share`` on bin i + 1."""
    at = np.asarray(bins(), np.float64)
    x = at[index] + share * (at[index + 1] - at[index])
    w = two_hot(jnp.float32(x))
    np.testing.assert_allclose(w[index : index + 2], [1.0 - share, share], atol=1e-4)


@pytest.mark.parametrize(("x", "index"), [(1e12, -1), (-1e12, 0)])
def test_beyond_the_outermost_bin_all_weight_is_on_it(x: float, index: int) -> None:
    w = two_hot(jnp.array([x]))[0]
    assert float(w[index]) == pytest.approx(1.0, rel=1e-6)
    assert float(w.sum()) == float(w[index])


def test_uniform_head_predicts_exactly_zero() -> None:
    """As every new reward head and critic must: its weights, and so its logits, are all 0."""
    assert (two_hot_mean(jnp.zeros((4, BINS))) == 0.0).all()
    assert (two_hot_mean(jnp.full((2, BINS), 3.7)) == 0.0).all()


@settings(deadline=None, max_examples=50)
@given(st.floats(-1e6, 1e6, width=32))
def test_two_hot_mean_reads_back_what_was_encoded(x: float) -> None:
    logits = jnp.log(two_hot(jnp.array([x], jnp.float32)) + 1e-30)
    np.testing.assert_allclose(two_hot_mean(logits)[0], x, rtol=1e-4, atol=1e-4)


def test_two_hot_loss_golden_value_and_minimum() -> None:
    """Against uniform logits the cross-entropy is log 255; at its minimum it is the entropy."""
    target = two_hot(jnp.array([0.05]))
    np.testing.assert_allclose(two_hot_loss(jnp.zeros((1, BINS)), target), [np.log(255.0)], 1e-6)
    p = np.asarray(target[0], np.float64)
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
    np.testing.assert_allclose(two_hot_loss(jnp.log(target + 1e-30), target), [entropy], 1e-4)
    # Linear in the target: a sum of two targets costs the sum of the two losses.
    other, logits = two_hot(jnp.array([3.0])), jnp.linspace(0.0, 1.0, BINS)[None]
    both = two_hot_loss(logits, target + other)
    np.testing.assert_allclose(
        both, two_hot_loss(logits, target) + two_hot_loss(logits, other), 1e-6
    )


def test_unimix_floor_and_sum() -> None:
    """0.99 p + 0.01 / 4: a certain choice keeps 0.9925 and the others get 0.0025 each."""
    p = jnp.exp(unimix(jnp.array([[100.0, 0.0, 0.0, 0.0]]), 0.01))
    np.testing.assert_allclose(p[0], [0.9925, 0.0025, 0.0025, 0.0025], rtol=1e-5)
    assert jnp.isfinite(unimix(jnp.array([[1e4, -1e4]]), 0.01)).all()


def test_sample_one_hot_frequencies() -> None:
    """40 000 draws: the standard error of a frequency is below 0.0025, so 0.0125 is 5 of them."""
    p = jnp.array([[0.5, 0.0, 0.2, 0.3], [0.0, 0.05, 0.9, 0.05]])
    logp = jnp.broadcast_to(jnp.log(p), (40_000, 2, 4))
    draws = np.asarray(sample_one_hot(logp, key=jax.random.key(0)))
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert (draws.sum(-1) == 1.0).all()
    np.testing.assert_allclose(draws.mean(0), p, atol=0.0125)
    assert (draws.mean(0)[np.asarray(p) == 0.0] == 0.0).all()
    # The two groups are drawn independently: P(0 and 2) = 0.5 · 0.9.
    np.testing.assert_allclose((draws[:, 0, 0] * draws[:, 1, 2]).mean(), 0.45, atol=0.0125)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.floats(0.1, 30.0))
def test_sample_is_always_one_hot(seed: int, spread: float) -> None:
    k_logits, k_draw = jax.random.split(jax.random.key(seed))
    logp = jax.nn.log_softmax(spread * jax.random.normal(k_logits, (64, 16)))
    draws = np.asarray(sample_one_hot(logp, key=k_draw))
    assert ((draws == 0.0) | (draws == 1.0)).all()
    assert (draws.sum(-1) == 1.0).all()


def test_straight_through_has_the_gradient_of_the_probabilities() -> None:
    """Forward the sample; backward d(w·p)/d logits = p ⊙ (w − p·w)."""
    logits, w = jnp.array([1.0, 0.0, -1.0]), jnp.array([2.0, 3.0, 5.0])
    sample = jnp.array([0.0, 1.0, 0.0])

    def weighted(logits: jax.Array) -> jax.Array:
        return w @ straight_through(sample, jax.nn.log_softmax(logits))

    value, grad = jax.value_and_grad(weighted)(logits)
    p = np.asarray(jax.nn.softmax(logits))
    assert value == pytest.approx(3.0)
    np.testing.assert_allclose(grad, p * (w - p @ w), rtol=1e-5)


def test_kl_golden_value() -> None:
    """Group 1: ½ log(½ / ¼) + ½ log(½ / ¾) = ½ log(4/3); group 2: equal, so 0."""
    p = jnp.log(jnp.array([[[0.5, 0.5], [0.9, 0.1]]]))
    q = jnp.log(jnp.array([[[0.25, 0.75], [0.9, 0.1]]]))
    np.testing.assert_allclose(categorical_kl(p, q), [0.5 * np.log(4.0 / 3.0)], rtol=1e-6)
    # And the other way round: ¼ log ½ + ¾ log(3/2), which differs.
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(categorical_kl(q, p), [expected], rtol=1e-5)
