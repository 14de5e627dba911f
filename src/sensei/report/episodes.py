"""One episode of each exploration, as the explored agent sees it."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from sensei.core.agent import TrainState
from sensei.core.reward_model import RewardModel
from sensei.data.boundaries import EpisodeRef
from sensei.data.episodes import EpisodeStore
from sensei.presets import RunConfig
from sensei.report.insight import (
    Filtered,
    OpenLoop,
    Rows,
    filter_episode,
    open_loop,
    score,
    seen_by_agent,
)

TIED = 12
"""Episodes with equally many events that are compared by R_ψ."""
SHORTEST = 2
"""Rows of an episode that can be shown."""


@dataclasses.dataclass(frozen=True)
class ShownEpisode:
    """An episode and everything that is drawn of it."""

    ref: EpisodeRef
    rows: Rows
    reward: np.ndarray | None
    """R_ψ of each observation, (T,); None without R_ψ."""
    filtered: Filtered | None
    """None where nothing was trained."""
    threshold: float | None
    """What the gate compares with; None without a gate."""
    events: dict[str, np.ndarray]
    """Name → rows at which it happened; only those that did, the earliest first."""
    prediction: OpenLoop | None

    @property
    def disagreement(self) -> np.ndarray | None:
        """Disagreement about the action that led to each row, (T,); NaN in the first."""
        if self.filtered is None or self.filtered.disagreement is None:
            return None
        return np.concatenate([[np.nan], np.asarray(self.filtered.disagreement)])


def show_episode(
    config: RunConfig,
    store: EpisodeStore,
    names: tuple[str, ...],
    state: TrainState | None,
    reward_model: RewardModel | None,
) -> ShownEpisode | None:
    """Choose an episode and look at it with all that was trained; None if none is long enough."""
    ref = choose(store, reward_model)
    if ref is None:
        return None
    rows = _rows(store, ref)
    events = _events(rows, names)
    reward = score(reward_model, seen_by_agent(rows)) if reward_model else None
    if state is None:
        return ShownEpisode(ref, rows, reward, None, None, events, None)
    k_filter, k_predict = jax.random.split(jax.random.key(config.seed, impl="rbg"))
    inputs = seen_by_agent(rows) | {k: rows[k] for k in ("prev_action", "is_first")}
    filtered = filter_episode(state.agent, inputs, config.agent.disagreement, key=k_filter)
    at = min((int(at[0]) for at in events.values()), default=len(rows["is_first"]) // 2)
    prediction = open_loop(state.agent.world_model, filtered.latent, rows, at, key=k_predict)
    # The other gates compare returns, which are no quantity of a single step.
    gated = config.explore.method == "sensei" and config.agent.gate == "reward"
    threshold = float(state.threshold.value) if gated else None
    return ShownEpisode(ref, rows, reward, filtered, threshold, events, prediction)


def choose(store: EpisodeStore, reward_model: RewardModel | None) -> EpisodeRef | None:
    """Choose the episode with the most different events; among equals that in which R_ψ varies
    most, or without R_ψ the last."""
    refs = [ref for ref in store.episodes() if ref.stop - ref.start >= SHORTEST]
    refs = [ref for ref in refs if ref.complete] or refs
    if not refs:
        return None
    counts, oldest = store.column("events") > 0, store.oldest
    variety = [counts[r.env, r.start - oldest : r.stop - oldest].any(0).sum() for r in refs]
    best = [ref for ref, count in zip(refs, variety, strict=True) if count == max(variety)]
    best = sorted(best, key=lambda ref: ref.start)[-TIED:]
    if reward_model is None or len(best) == 1:
        return best[-1]
    return max(best, key=lambda ref: float(np.ptp(_reward(store, ref, reward_model))))


def _reward(store: EpisodeStore, ref: EpisodeRef, reward_model: RewardModel) -> np.ndarray:
    return score(reward_model, seen_by_agent(_rows(store, ref)))


def _rows(store: EpisodeStore, ref: EpisodeRef) -> Rows:
    return store.window(ref.env, ref.start, ref.stop - ref.start)


def _events(rows: Rows, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    found = {name: np.flatnonzero(rows["events"][:, i]) for i, name in enumerate(names)}
    happened = {name: at for name, at in found.items() if len(at)}
    return dict(sorted(happened.items(), key=lambda item: int(item[1][0])))
