"""Replay over one or several episode stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensei.data.episodes import EpisodeStore
from sensei.data.highlights import Highlights, Judge

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
    each batch that is windows around their highlights."""

    def __init__(self, stores: Sequence[EpisodeStore], share: float = 0.0) -> None:
        """``stores`` have the same fields; the last one may grow while it is sampled."""
        self.stores, self.share = tuple(stores), share
        self.highlights = [Highlights(store) for store in self.stores]

    def look(self, judge: Judge) -> None:
        """Find the highlights of what came in since the last look."""
        for highlights in self.highlights:
            highlights.look(judge)

    def forget_highlights(self) -> None:
        """Have everything judged again at the next look, because the judge has changed."""
        self.highlights = [Highlights(store) for store in self.stores]

    def windows(self, length: int) -> np.ndarray:
        """Count the windows of ``length`` rows in each store."""
        held = [s.num_envs * max(0, s.steps - s.oldest - length + 1) for s in self.stores]
        return np.array(held)

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> dict[str, np.ndarray]:
        """Draw a batch, each field [B, T, ...].

        A window starts without the state that led to it, so its first row counts as a first one.
        """
        parts = self._around_highlights(rng, round(self.share * batch), length)
        weights = self.windows(length)
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

    def _around_highlights(
        self, rng: np.random.Generator, count: int, length: int
    ) -> list[dict[str, np.ndarray]]:
        """Draw ``count`` windows, each [1, T, ...], with a highlight anywhere after the first row;
        none while there are no highlights."""
        held = [h.held() if enough else h.found[:0] for h, enough in self._long(length)]
        which = np.repeat(np.arange(len(held)), [len(places) for places in held])
        places, windows = np.concatenate(held), []
        for i in rng.integers(len(places), size=count) if count and len(places) else ():
            store, (env, row) = self.stores[which[i]], places[i].tolist()
            start = row - int(rng.integers(1, length))
            start = min(max(start, store.oldest), store.steps - length)
            window = store.window(env, start, length)
            windows.append({name: value[None] for name, value in window.items()})
        return windows

    def _long(self, length: int) -> list[tuple[Highlights, bool]]:
        """Each store's highlights, and whether it holds a window at all."""
        return list(zip(self.highlights, (self.windows(length) > 0).tolist(), strict=True))
