"""Replay over one or several episode stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensei.data.episodes import EpisodeStore
from sensei.data.rises import Judge, Rises, draw

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
    """Uniform over the windows of all its stores, so a store counts by its size; but for a share of
    each batch that is windows through rises of R_ψ, and for the last store, where that is told to
    count more."""

    def __init__(
        self, stores: Sequence[EpisodeStore], rise_share: float = 0.0, own_weight: float = 1.0
    ) -> None:
        """``stores`` share their fields; the last one may grow while it is sampled, and each of its
        windows is drawn ``own_weight`` times as often as one of the others."""
        self.stores, self.rise_share = tuple(stores), rise_share
        self._weights = np.array([1.0] * (len(self.stores) - 1) + [own_weight])
        self.forget_rises()

    def look(self, judge: Judge) -> None:
        """Find the rises in what came in since the last look."""
        for rises in self.rises:
            rises.look(judge)

    def forget_rises(self) -> None:
        """Have everything judged again at the next look, because the judge has changed."""
        self.rises = [Rises(store) for store in self.stores]

    @property
    def rows(self) -> int:
        """Rows held in all stores and streams."""
        return sum(s.num_envs * (s.steps - s.oldest) for s in self.stores)

    def windows(self, length: int) -> np.ndarray:
        """Count the windows of ``length`` rows in each store."""
        held = [s.num_envs * max(0, s.steps - s.oldest - length + 1) for s in self.stores]
        return np.array(held)

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> dict[str, np.ndarray]:
        """Draw a batch, each field [B, T, ...].

        A window starts without the state that led to it, so its first row counts as a first one.
        """
        parts = self._through_rises(rng, round(self.rise_share * batch), length)
        weights = self.windows(length) * self._weights
        counts = rng.multinomial(batch - len(parts), weights / weights.sum())
        parts += [
            s.sample(rng, int(n), length) for s, n in zip(self.stores, counts, strict=True) if n > 0
        ]
        names = [name for name in LEARNER_FIELDS if name in parts[0]]
        if len(parts) == 1:
            out = {name: parts[0][name] for name in names}
        else:
            out = {name: np.concatenate([p[name] for p in parts]) for name in names}
        out["is_first"][:, 0] = True
        return out

    def _through_rises(
        self, rng: np.random.Generator, count: int, length: int
    ) -> list[dict[str, np.ndarray]]:
        """Draw ``count`` windows, each [1, T, ...], with a rise anywhere after the first row; none
        while there are no rises."""
        held = zip(self.rises, self.windows(length), strict=True)
        rises = [r.held() if n > 0 else r.found[:0] for r, n in held]
        windows = []
        for number, rise in draw(rises, rng, count):
            store = self.stores[number]
            start = int(rise["row"]) - int(rng.integers(1, length))
            start = min(max(start, store.oldest), store.steps - length)
            window = store.window(int(rise["env"]), start, length)
            windows.append({name: value[None] for name, value in window.items()})
        return windows
