"""Where the episodes of a stream begin and end."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class EpisodeRef:
    """Rows ``start`` to ``stop`` (exclusive) of stream ``env``: one episode."""

    env: int
    start: int
    stop: int
    complete: bool
    """Whether its last row is ``is_last``; False for one still running or cut by a restart."""


def find_episodes(is_first: np.ndarray, is_last: np.ndarray, offset: int = 0) -> list[EpisodeRef]:
    """List the episodes that begin in flags [N, T] whose column 0 is row ``offset``.

    Rows before a stream's first ``is_first`` belong to an episode whose beginning is gone: they are
    left out.
    """
    refs = []
    for env in range(len(is_first)):
        bounds = [*np.flatnonzero(is_first[env]), is_first.shape[1]]
        for start, after in itertools.pairwise(bounds):
            ends = np.flatnonzero(is_last[env, start:after])
            stop = start + ends[0] + 1 if len(ends) else after
            refs.append(EpisodeRef(env, int(start) + offset, int(stop) + offset, len(ends) > 0))
    return refs
