"""The statistics of few runs, against values worked out by hand and by the paper's own package."""

from __future__ import annotations

import numpy as np
import pytest

from sensei.report.statistics import (
    area,
    each_iqm,
    improvement,
    interval,
    iqm,
    normalised,
    pooled_iqm,
    profile,
)

X = np.random.default_rng(0).gamma(2.0, 1.0, (10, 3)).round(2)
Y = np.random.default_rng(1).gamma(2.5, 1.0, (8, 3)).round(2)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert iqm(np.array([100.0, 1.0, 2.0, 3.0])) == 2.5
    assert iqm(np.array([5.0])) == 5.0
    assert iqm(np.array([1.0, 2.0, 9.0])) == 4.0  # a quarter of three is less than one run


def test_iqm_and_its_interval_are_those_of_rliable() -> None:
    # rliable 1.2.0: get_interval_estimates(..., metrics.aggregate_iqm, reps=50000), which resamples
    # every task on its own: here each column is a stratum.
    for scores, value, low, high in (
        (X, 1.515625, 1.12, 2.021875),
        (Y, 2.07166667, 1.75833333, 2.43833333),
    ):
        found = interval(pooled_iqm, *np.hsplit(scores, 3), repetitions=20_000)
        assert found.value == pytest.approx(value, abs=1e-8)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_one_run_has_no_interval() -> None:
    found = interval(each_iqm, np.array([[3.0, 4.0]]))
    np.testing.assert_array_equal([found.value, found.low, found.high], [[3.0, 4.0]] * 3)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for draw in range(300):
        found = interval(pooled_iqm, rng.normal(1.0, 1.0, (20, 1)), repetitions=300, seed=draw)
        hits += bool(found.low <= 1.0 <= found.high)
    assert 0.87 <= hits / 300 <= 0.98  # percentile intervals of 20 runs are a little narrow


def test_runs_are_resampled_whole() -> None:
    # Two tasks that cancel within each run: whole runs always have mean 0, mixed ones would not.
    scores = np.array([[1.0, -1.0], [5.0, -5.0], [-3.0, 3.0]])
    found = interval(lambda s: s.mean((-1, -2)), scores)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_improvement_counts_a_tie_as_half() -> None:
    ours, others = np.array([[1.0], [2.0]]), np.array([[1.0], [0.0]])
    assert improvement(ours, others) == pytest.approx(7 / 8)
    assert improvement(others, ours) == pytest.approx(1 / 8)


def test_profile_and_area_and_scores() -> None:
    np.testing.assert_allclose(
        profile(np.array([0.0, 0.5, 1.0]))(np.array([[0.0], [0.5], [0.75], [1.0]])),
        [0.75, 0.5, 0.0],
    )
    assert area(np.array([0.0, 10.0]), np.array([0.0, 4.0])) == 2.0
    ours, others = normalised([np.array([[1.0, 0.0]]), np.array([[4.0, 0.0]])])
    np.testing.assert_array_equal(np.concatenate([ours, others]), [[0.25, 0.0], [1.0, 0.0]])
