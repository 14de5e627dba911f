"""Label frames by R_ψ: the best, the worst, and how R_ψ follows the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from sensei.core.reward_model import RewardModel
from sensei.data.images import decode_png
from sensei.data.label_store import LabelStore
from sensei.data.label_tables import FrameTable
from sensei.data.records import Frame
from sensei.report.insight import CHUNK, score


@dataclasses.dataclass(frozen=True)
class RankedFrame:
    """A label frame and what R_ψ gives it."""

    frame: Frame
    reward: float


@dataclasses.dataclass(frozen=True)
class Ranking:
    """R_ψ of all label frames there were when it was distilled."""

    best: list[RankedFrame]
    worst: list[RankedFrame]
    frames: int
    oracle_correlation: float | None
    """Spearman's, between R_ψ and the oracle's score; None without an oracle."""
    by_score: dict[float, np.ndarray]
    """The oracle's score → R_ψ of its frames; empty when it has none, or too many values."""


def rank_frames(
    store: LabelStore, model: RewardModel, generation: int, show: int
) -> Ranking | None:
    """Score the label frames of this and earlier generations.

    Args:
        store: the labels.
        model: R_ψ.
        generation: frames of later generations were not there yet; those that the exploration of
            this one has made were not either, but are the more telling for that.
        show: best and worst frames wanted, together; at most one an episode as far as possible.

    Returns:
        None when there are no frames.
    """
    table = store.frame_table()
    keep = np.flatnonzero(table.generation <= generation)
    if not len(keep):
        return None
    reward = np.concatenate(
        [_score(store, model, table.id[keep[at : at + CHUNK]]) for at in range(0, len(keep), CHUNK)]
    )
    order = np.argsort(reward, kind="stable")
    truth = table.score[keep]
    return Ranking(
        best=_pick(store, table, keep, reward, order[::-1], show // 2),
        worst=_pick(store, table, keep, reward, order, show // 2),
        frames=len(keep),
        oracle_correlation=_correlation(reward, truth),
        by_score=_by_score(reward, truth),
    )


def _score(store: LabelStore, model: RewardModel, ids: np.ndarray) -> np.ndarray:
    frames = store.frames(ids, pictures=False)
    obs: dict[str, np.ndarray] = {}
    if frames[0].obs is not None:
        obs["image"] = np.stack([decode_png(f.obs) for f in frames if f.obs is not None])
    if frames[0].vector:
        obs["vector"] = np.array([f.vector for f in frames], np.float32)
    return score(model, obs)


def _pick(
    store: LabelStore,
    table: FrameTable,
    keep: np.ndarray,
    reward: np.ndarray,
    order: np.ndarray,
    count: int,
) -> list[RankedFrame]:
    """Take the first frames in ``order``, one an episode; more of them only if there are too few
    episodes."""
    seen: set[tuple[str, int, int]] = set()
    fresh, more = [], []
    for i in order:
        row = keep[i]
        episode = (str(table.stage[row]), int(table.env[row]), int(table.episode[row]))
        (more if episode in seen else fresh).append(i)
        seen.add(episode)
        if len(fresh) == count:
            break
    chosen = (fresh + more)[:count]
    frames = store.frames(table.id[keep[chosen]]) if chosen else []
    return [RankedFrame(f, float(reward[i])) for f, i in zip(frames, chosen, strict=True)]


def _correlation(reward: np.ndarray, truth: np.ndarray) -> float | None:
    known = np.isfinite(truth)
    if known.sum() < 3 or np.ptp(truth[known]) == 0 or np.ptp(reward[known]) == 0:
        return None
    return float(np.asarray(stats.spearmanr(reward[known], truth[known]))[0])


def _by_score(reward: np.ndarray, truth: np.ndarray) -> dict[float, np.ndarray]:
    values = np.unique(truth[np.isfinite(truth)])
    if len(values) > 20:
        return {}
    return {float(value): reward[truth == value] for value in values}
