"""Where R_ψ jumps: the moments of a replay at which something came, went or was done.

They are rare, and a world model that meets them as rarely as they happen learns everything else
first: after 4,000 updates from uniform windows, 2 of 100 dreams along the actions that picked up a
key had it picked up (results/keychest/pick-ups-seed1.json). So a share of every batch is windows
around such moments (``explore.highlight_share``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64

from sensei.data.episodes import EpisodeStore

JUMP = 0.5
"""Smallest change of R_ψ within a step that counts, in standard deviations of R_ψ on D_init."""
BLOCK = 64
"""Rows of every stream that are judged at once, each with the one before it."""

Judge = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Observations of n rows → R_ψ of each, (n,); n is the same at every call."""


class Highlights:
    """The jumps in one store, judged in whole blocks of rows.

    Which rows are a block does not depend on when it is judged, so that a resumed run, which judges
    all of them anew, draws the same windows as one that was never killed.
    """

    def __init__(self, store: EpisodeStore) -> None:
        self.store = store
        self.blocks = store.oldest // BLOCK
        """Blocks that have been judged, or are no longer held."""
        self.found = np.zeros((0, 2), np.int64)
        """Stream and row of each jump."""

    def look(self, judge: Judge) -> None:
        """Find the jumps in the blocks that are complete by now."""
        while (self.blocks + 1) * BLOCK <= self.store.steps:
            self.found = np.concatenate([self.found, self._jumps(judge)])
            self.blocks += 1

    def held(self) -> Int64[np.ndarray, "n 2"]:
        """The jumps whose row, and the one before, can still be read."""
        return self.found[self.found[:, 1] > self.store.oldest]

    def _jumps(self, judge: Judge) -> Int64[np.ndarray, "n 2"]:
        stop = (self.blocks + 1) * BLOCK
        start = max(stop - BLOCK - 1, self.store.oldest)
        streams = range(self.store.num_envs)
        rows = [self.store.window(env, start, stop - start) for env in streams]
        reward = np.stack([self._judged(judge, r) for r in rows])
        resets = np.stack([r["is_first"][1:] for r in rows])
        env, row = np.nonzero((np.abs(np.diff(reward)) >= JUMP) & ~resets)
        return np.stack([env, row + 1 + start], axis=1)

    def _judged(self, judge: Judge, rows: dict[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        """R_ψ of one stream's rows, repeating the last until they are as many as always."""
        n = len(rows["is_first"])
        at = np.minimum(np.arange(BLOCK + 1), n - 1)
        return judge({name: rows[name][at] for name in ("image", "vector") if name in rows})[:n]
