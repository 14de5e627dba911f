"""Which pairs of frames are worth a question: samplers, and drawing new pairs into the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from sensei.data.label_store import LabelStore
from sensei.data.label_tables import VAL_FRACTION, FrameTable
from sensei.data.records import Pair
from sensei.types import SenseiError, UsageError

OVERSAMPLE = 10
"""`uncertain` scores this many candidate pairs for each one it keeps."""
MAX_FRUITLESS = 10
"""Rounds without a new pair after which a side counts as exhausted."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The frames of one side of the split."""

    id: np.ndarray
    episode: np.ndarray
    """Index of the frame's episode, 0 … E−1 from the earliest to the latest."""
    score: np.ndarray

    @property
    def episodes(self) -> int:
        """E, the number of episodes."""
        return int(self.episode.max()) + 1 if len(self.episode) else 0


Sampler = Callable[[Candidates, np.random.Generator, int], np.ndarray]
"""Draws n pairs: indices [n, 2] into the candidates; repeats and self-pairs are dropped later."""
SamplerName = Literal["uniform", "recent", "contrast", "uncertain"]
Doubt = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""How unsure somebody is about pairs, [n], given their first and second frame ids, [n] each."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What a draw gave."""

    ids: list[int]
    """The new pairs."""
    wanted: int
    message: str
    """Empty, or one line saying why there are fewer than wanted."""


def uniform(frames: Candidates, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw frames uniformly, the two of a pair from different episodes."""
    pairs = rng.integers(len(frames.id), size=(n, 2))
    return _different_episodes(frames, pairs)


def recent(frames: Candidates, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw the episode's rank from Beta(3, 1), favouring late data, then a frame uniformly."""
    order = np.argsort(frames.episode, kind="stable")
    starts = np.searchsorted(frames.episode[order], np.arange(frames.episodes + 1))
    chosen = (rng.beta(3.0, 1.0, size=(n, 2)) * frames.episodes).astype(int)
    low, high = starts[chosen], starts[chosen + 1]
    return _different_episodes(frames, order[rng.integers(low, high)])


def contrast(frames: Candidates, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw one frame that the oracle scores above the median and one that it does not.

    Privileged: kept to reproduce the published RoboDesk labels. The order is random.
    """
    if np.isnan(frames.score).any():
        raise UsageError("pairs `contrast` needs an environment with oracle_score(): use `uniform`")
    better = frames.score > np.median(frames.score)
    good, bad = np.flatnonzero(better), np.flatnonzero(~better)
    if not len(good):
        return np.empty((0, 2), int)
    pairs = np.stack([rng.choice(good, n), rng.choice(bad, n)], axis=1)
    return rng.permuted(pairs, axis=1)


def uncertain(doubt: Doubt) -> Sampler:
    """Make a sampler that keeps, of uniform pairs, those of the highest doubt."""

    def sampler(frames: Candidates, rng: np.random.Generator, n: int) -> np.ndarray:
        pairs = uniform(frames, rng, OVERSAMPLE * n)
        unsure = doubt(frames.id[pairs[:, 0]], frames.id[pairs[:, 1]])
        return pairs[np.argsort(-unsure, kind="stable")[:n]]

    return sampler


SAMPLERS: dict[str, Sampler] = {"uniform": uniform, "recent": recent, "contrast": contrast}


def draw(
    store: LabelStore,
    sampler: SamplerName,
    n: int,
    rng: np.random.Generator,
    stage: str | None = None,
    generation: int = 0,
    doubt: Doubt | None = None,
    before: int | None = None,
) -> Drawn:
    """Add n new pairs to the store; both frames of a pair are on one side of the split.

    Args:
        store: where the frames are and the pairs go.
        sampler: how to choose. ``uncertain`` chooses training pairs by ``doubt``; its validation
            pairs are uniform, or accuracy would be measured on the hardest pairs alone.
        n: how many new pairs; about 15 % of them validate, where there are enough episodes.
        rng: the draw is a function of it, of the doubt and of the store's contents.
        stage: only frames of this stage; None = all.
        generation: recorded with the pairs.
        doubt: for ``uncertain``; None = nothing is known yet, so its pairs are uniform.
        before: only frames of rows before this one; None = all.

    Raises:
        SenseiError: no pair at all can be drawn and none is stored.
    """
    table = store.frame_table(stage, before)
    train, val = (_candidates(table, side) for side in ("train", "val"))
    taken = set(map(tuple, store.pair_keys().tolist()))
    # Validation first: training pairs make up for what it cannot give.
    pairs = _new_pairs(val, _chooser(sampler, None), round(VAL_FRACTION * n), rng, taken)
    pairs += _new_pairs(train, _chooser(sampler, doubt), n - len(pairs), rng, taken)
    if not pairs and n and not store.count_pairs():
        raise SenseiError(
            f"no pair can be drawn from {len(table)} frames in {train.episodes} training "
            "episodes: collect more episodes or keep more label frames"
        )
    order = rng.permutation(len(pairs))
    ids = store.add_pairs(Pair(*pairs[i], generation=generation, sampler=sampler) for i in order)
    message = ""
    if len(ids) < n:
        message = f"only {len(ids)} of {n} pairs: {len(table)} frames give no more distinct ones"
    return Drawn(ids, n, message)


def _chooser(sampler: SamplerName, doubt: Doubt | None) -> Sampler:
    if sampler != "uncertain":
        return SAMPLERS[sampler]
    return uniform if doubt is None else uncertain(doubt)


def _candidates(table: FrameTable, side: str) -> Candidates:
    """Select one side and number its episodes by their earliest frame."""
    rows = np.flatnonzero(table.split == side)
    _, stage = np.unique(table.stage[rows], return_inverse=True)
    keys = np.stack([stage, table.env[rows], table.episode[rows]])
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(table.id[rows][first]))
    return Candidates(table.id[rows], rank[inverse.reshape(-1)], table.score[rows])


def _different_episodes(frames: Candidates, pairs: np.ndarray) -> np.ndarray:
    return pairs[frames.episode[pairs[:, 0]] != frames.episode[pairs[:, 1]]]


def _new_pairs(
    frames: Candidates,
    choose: Sampler,
    goal: int,
    rng: np.random.Generator,
    taken: set[tuple[int, ...]],
) -> list[tuple[int, int]]:
    """Draw until there are ``goal`` pairs or nothing new turns up; marks them as taken."""
    new: list[tuple[int, int]] = []
    fruitless = 0
    while frames.episodes > 1 and len(new) < goal and fruitless < MAX_FRUITLESS:
        before = len(new)
        drawn = choose(frames, rng, max(256, 2 * (goal - before)))
        for first, second in frames.id[drawn].tolist():
            key = (min(first, second), max(first, second))
            if first != second and key not in taken and len(new) < goal:
                taken.add(key)
                new.append((first, second))
        fruitless = fruitless + 1 if len(new) == before else 0
    return new
