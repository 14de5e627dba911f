"""Where R_ψ rises: the moments of a replay at which something came into sight or was done.

What matters most happens least: of 1,600 random actions in KeyChest one picks up the key. A world
model that replays such a moment as rarely as it happens does not learn what leads to it
(results/keychest/README.md), so a share of every batch is windows through rises
(``explore.rise_share``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from sensei.data.episodes import EpisodeStore

SMALLEST = 0.25
"""Smallest rise within a step that counts, in standard deviations of R_ψ on D_init. Ours: a key
that comes into sight is worth 1.0 (results/labels/keychest-grades.json)."""
BLOCK = 64
"""Rows of every stream that are judged at once, each with the one before it."""
RISE = np.dtype([("env", "i8"), ("row", "i8"), ("before", "f8"), ("after", "f8")])
"""Stream and row at which R_ψ has risen, and R_ψ on both sides."""

Judge = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Observations of n rows → R_ψ of each, (n,); n is the same at every call."""


class Rises:
    """The rises in one store, judged in whole blocks of rows.

    Which rows are a block does not depend on when it is judged, so that a resumed run, which judges
    all of them anew, draws the same windows as one that was never killed.
    """

    def __init__(self, store: EpisodeStore) -> None:
        self.store = store
        self.blocks = store.oldest // BLOCK
        """Blocks that have been judged, or are no longer held."""
        self.found = np.zeros(0, RISE)

    def look(self, judge: Judge) -> None:
        """Find the rises in the blocks that are complete by now."""
        while (self.blocks + 1) * BLOCK <= self.store.steps:
            self.found = np.concatenate([self.found, self._in_next_block(judge)])
            self.blocks += 1

    def held(self) -> np.ndarray:
        """The rises of which both rows can still be read, of dtype ``RISE``."""
        return self.found[self.found["row"] > self.store.oldest]

    def _in_next_block(self, judge: Judge) -> np.ndarray:
        stop = (self.blocks + 1) * BLOCK
        start = max(stop - BLOCK - 1, self.store.oldest)
        streams = range(self.store.num_envs)
        rows = [self.store.window(env, start, stop - start) for env in streams]
        reward = np.stack([_judged(judge, r) for r in rows])
        resets = np.stack([r["is_first"][1:] for r in rows])
        env, at = np.nonzero((np.diff(reward) >= SMALLEST) & ~resets)
        found = np.zeros(len(env), RISE)
        found["env"], found["row"] = env, start + at + 1
        found["before"], found["after"] = reward[env, at], reward[env, at + 1]
        return found


def draw(
    rises: Sequence[np.ndarray], rng: np.random.Generator, count: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Draw ``count`` rises of several stores, each with its store's number; none if there are none.

    First a level, uniformly between the lowest and the highest R_ψ of a rise; then one of the rises
    that pass it. So what few rises pass is drawn as often as what many do.
    """
    every = np.concatenate(rises)
    if not len(every):
        return
    store = np.repeat(np.arange(len(rises)), [len(r) for r in rises])
    for level in rng.uniform(every["before"].min(), every["after"].max(), size=count):
        passing = np.flatnonzero((every["before"] < level) & (level <= every["after"]))
        among = passing if len(passing) else np.arange(len(every))
        chosen = among[rng.integers(len(among))]
        yield int(store[chosen]), every[chosen]


def _judged(judge: Judge, rows: dict[str, np.ndarray]) -> Float[np.ndarray, " n"]:
    """R_ψ of one stream's rows; the last is repeated until they are as many as always."""
    n = len(rows["is_first"])
    at = np.minimum(np.arange(BLOCK + 1), n - 1)
    return judge({name: rows[name][at] for name in ("image", "vector") if name in rows})[:n]
