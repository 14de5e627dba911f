"""Running statistics: debiased exponential averages of percentiles and quantiles."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

DECAY = 0.99
"""Of a running statistic, unless told otherwise (DreamerV3; SENSEI uses the same for Q_k)."""


class RunningMean(eqx.Module):
    """An exponential average that starts from 0 and, if ``debias``, is corrected for it."""

    total: Float[Array, "*s"]
    weight: Float[Array, ""]

    def __init__(self, shape: tuple[int, ...] = ()):
        self.total = jnp.zeros(shape)
        self.weight = jnp.zeros(())

    def update(self, value: Float[Array, "*s"], decay: float = DECAY) -> RunningMean:
        total = decay * self.total + (1 - decay) * value
        weight = decay * self.weight + (1 - decay)
        return eqx.tree_at(lambda s: (s.total, s.weight), self, (total, weight))

    @property
    def value(self) -> Float[Array, "*s"]:
        """The debiased average."""
        return self.total / jnp.maximum(self.weight, 1e-8)

    @property
    def biased(self) -> Float[Array, "*s"]:
        """The average as the published code keeps it: too small at first."""
        return self.total


def quantiles(x: Float[Array, "*n"], at: Float[Array, " q"]) -> Float[Array, " q"]:
    """Quantiles of all of ``x``, by linear interpolation."""
    return jnp.quantile(x.ravel(), at)


def return_range(low_high: Float[Array, "... 2"]) -> Float[Array, ...]:
    """S = max(1, P95 − P5): the scale of an advantage (DreamerV3)."""
    return jnp.maximum(1.0, low_high[..., 1] - low_high[..., 0])
