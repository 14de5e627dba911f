"""Running statistics."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from sensei.core.scaling import RunningMean, quantiles, return_range


def test_debiased_mean_of_a_constant_is_the_constant_at_once() -> None:
    mean = RunningMean()
    for _ in range(3):
        mean = mean.update(jnp.float32(5.0))
        assert float(mean.value) == pytest.approx(5.0, rel=1e-5)
    # Without the correction it has only come 1 − 0.99³ of the way.
    assert float(mean.biased) == pytest.approx(5.0 * (1 - 0.99**3), rel=1e-5)


def test_mean_of_two_values_by_hand() -> None:
    """(0.99·0.01·2 + 0.01·6) / (0.99·0.01 + 0.01) = (0.99·2 + 6) / 1.99."""
    mean = RunningMean((2,))
    mean = mean.update(jnp.array([2.0, 0.0])).update(jnp.array([6.0, 0.0]))
    np.testing.assert_allclose(mean.value, [(0.99 * 2 + 6) / 1.99, 0.0], rtol=1e-5)


def test_no_value_yet_is_zero_not_nan() -> None:
    assert float(RunningMean().value) == 0.0


def test_quantiles_are_numpys_over_everything() -> None:
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    at = np.array([0.05, 0.9, 0.95], np.float32)
    np.testing.assert_allclose(
        quantiles(jnp.asarray(x), jnp.asarray(at)), np.quantile(x, at), rtol=1e-5
    )


def test_return_range_is_never_below_one() -> None:
    low_high = jnp.array([[0.0, 0.5], [-3.0, 4.0], [2.0, 2.0]])
    np.testing.assert_array_equal(return_range(low_high), [1.0, 7.0, 1.0])


def test_a_smaller_decay_follows_a_drift_more_closely() -> None:
    """A line of slope 1 is followed at a distance of decay / (1 − decay) once settled."""
    mean = RunningMean()
    for step in range(200):
        mean = mean.update(jnp.float32(step), 0.9)
    assert 199.0 - float(mean.value) == pytest.approx(0.9 / 0.1, rel=1e-3)
