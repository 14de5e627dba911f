"""Replay over one or several episode stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensei.data.episodes import EpisodeStore

LEARNER_FIELDS = (
    "image",
    "vector",
    "prev_action",
    "reward",
    "rewards",
    "is_first",
    "is_last",
    "is_terminal",
)
"""What a batch holds of a stored row."""


class Replay:
    """Uniform over the windows of all its stores, so a store counts by its size."""

    def __init__(self, stores: Sequence[EpisodeStore]) -> None:
        """``stores`` share their fields; the last one may grow while it is sampled."""
        self.stores = tuple(stores)

    def windows(self, length: int) -> np.ndarray:
        """Count the windows of ``length`` rows in each store."""
        held = [s.num_envs * max(0, s.steps - s.oldest - length + 1) for s in self.stores]
        return np.array(held)

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> dict[str, np.ndarray]:
        """Draw a batch, each field [B, T, ...].

        A window starts without the state that led to it, so its first row counts as a first one.
        """
        weights = self.windows(length)
        counts = rng.multinomial(batch, weights / weights.sum())
        parts = [
            s.sample(rng, int(n), length) for s, n in zip(self.stores, counts, strict=True) if n > 0
        ]
        names = [name for name in LEARNER_FIELDS if name in parts[0]]
        if len(parts) == 1:
            out = {name: parts[0][name] for name in names}
        else:
            out = {name: np.concatenate([p[name] for p in parts]) for name in names}
        out["is_first"][:, 0] = True
        return out
