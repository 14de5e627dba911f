"""Few runs compared honestly: interquartile means with stratified bootstrap intervals.

The measures are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (2021). A *stratum* is one environment: a matrix of scores (runs, tasks). Its
runs are resampled whole, because the events of one run belong together; with one column a stratum,
this is the paper's own scheme.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import trim_mean

REPETITIONS = 2_000
"""Bootstrap samples of an interval."""
LEVEL = 0.95
"""Share of the bootstrap samples inside an interval."""

Scores = Float[np.ndarray, "_ _"]
"""Runs × tasks; strata differ in both."""
Statistic = Callable[..., np.ndarray]
"""Strata, each (..., runs, tasks), to a value for each of the leading axes."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A measure and the percentile interval of its bootstrap distribution."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(values: Float[np.ndarray, "*n runs"]) -> np.ndarray:
    """Mean of the middle half: a quarter of the runs, rounded down, is cut off at either end."""
    return np.asarray(trim_mean(values, 0.25, axis=-1))


def pooled_iqm(*strata: np.ndarray) -> np.ndarray:
    """IQM over all runs and tasks of all strata together, the paper's aggregate."""
    flat = [stratum.reshape(*stratum.shape[:-2], -1) for stratum in strata]
    return iqm(np.concatenate(flat, axis=-1))


def each_iqm(stratum: np.ndarray) -> np.ndarray:
    """IQM over the runs, task by task."""
    return iqm(np.swapaxes(stratum, -1, -2))


def interval(
    statistic: Statistic, *strata: Scores, repetitions: int = REPETITIONS, seed: int = 0
) -> Interval:
    """Measure, resample the runs of every stratum, and measure again.

    Args:
        statistic: strata, each (..., runs, tasks) → values.
        strata: scores (runs, tasks); the numbers of runs may differ.
        repetitions: bootstrap samples.
        seed: of the resampling, so that a report can be made twice.
    """
    rng = np.random.default_rng(seed)
    sampled = [stratum[_resampled(len(stratum), repetitions, rng)] for stratum in strata]
    low, high = np.quantile(statistic(*sampled), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Interval(np.asarray(statistic(*strata)), np.asarray(low), np.asarray(high))


def _resampled(runs: int, repetitions: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(runs, size=(repetitions, runs))


def profile(thresholds: Float[np.ndarray, " t"]) -> Statistic:
    """Performance profile: share of the runs' scores above each threshold, (..., t)."""

    def measure(*strata: np.ndarray) -> np.ndarray:
        flat = [stratum.reshape(*stratum.shape[:-2], -1, 1) for stratum in strata]
        return (np.concatenate(flat, axis=-2) > thresholds).mean(-2)

    return measure


def improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Probability that a run of ``x`` scores more than one of ``y``, a tie counting half; the mean
    over the tasks. Both are (..., runs, tasks)."""
    above = x[..., :, None, :] > y[..., None, :, :]
    equal = x[..., :, None, :] == y[..., None, :, :]
    return np.asarray((above + 0.5 * equal).mean((-3, -2, -1)))


def area(steps: Float[np.ndarray, " t"], curves: Float[np.ndarray, "*n t"]) -> np.ndarray:
    """Area under curves divided by the width: the mean height over the steps."""
    width = float(steps[-1] - steps[0])
    return np.asarray(np.trapezoid(curves, steps, axis=-1) / width if width else curves[..., -1])


def normalised(scores: Sequence[Scores]) -> list[Scores]:
    """Divide every task by the largest score that any run of any method has in it, so that tasks
    can be put together; a task in which nobody scored stays 0."""
    largest = np.max([matrix.max(0) for matrix in scores], axis=0)
    return [matrix / np.where(largest > 0, largest, 1.0) for matrix in scores]
