"""Saving the loop, and bringing one back to where it was saved, environments included."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from sensei.data.episodes import EpisodeStore
from sensei.run import checkpoint

if TYPE_CHECKING:
    from sensei.run.loop import Loop


def save(loop: Loop) -> None:
    """Write everything, the episodes first, so that the checkpoint never names lost rows."""
    loop.store.flush()
    if loop.labels is not None and loop.frames:
        loop.labels.add_frames(loop.frames)
        loop.frames.clear()
    checkpoint.save(loop.path, _tree(loop), _counters(loop))


def resume(loop: Loop) -> None:
    """Bring a loop just made back to its checkpoint, or, where there is none, to the beginning."""
    if not checkpoint.exists(loop.path):
        # A kill before the first checkpoint leaves rows and records that nothing names.
        _forget_rows(loop, 0)
        loop.metrics.truncate_after(loop.job.key, -1)
        return
    tree, meta = checkpoint.load(loop.path, _tree(loop))
    _restore(loop, tree, meta)
    _forget_rows(loop, meta["cursor"])
    loop.metrics.truncate_after(loop.job.key, loop.logged_at)
    if meta["cursor"]:
        _reenact(loop, np.array(meta["episode_index"]))


def _tree(loop: Loop) -> dict[str, Any]:
    tree: dict[str, Any] = {"rows": loop.rows, "held": loop.random.held}
    if loop.learner is not None and loop.agent is not None:
        tree |= {"state": loop.learner.state, "carry": loop.agent.carry}
    return tree


def _counters(loop: Loop) -> dict[str, Any]:
    relabel = loop.learner and loop.learner.relabel
    return ({"relabel": relabel.state()} if relabel else {}) | {
        "env_steps": loop.env_steps,
        "updates": loop.updates,
        "logged_at": loop.logged_at,
        "credit": loop.credit,
        "cursor": loop.store.steps,
        "rng": checkpoint.rng_state(loop.rng),
        "episode_index": loop.pool.episode_index.tolist(),
        "finished": loop.finished.tolist(),
        "tally": loop.tally.state(),
        "strips": loop.strips.state(),
        "interludes": loop.interludes.left.tolist(),
    }


def _restore(loop: Loop, tree: dict[str, Any], meta: dict[str, Any]) -> None:
    loop.rows, loop.random.held = tree["rows"], tree["held"]
    if loop.learner is not None and loop.agent is not None:
        loop.learner.state, loop.agent.carry = tree["state"], tree["carry"]
        loop.agent.agent = loop.learner.state.agent
        if loop.learner.relabel is not None:
            loop.learner.reward_model = loop.learner.relabel.restore(meta["relabel"])
    loop.rng.bit_generator.state = meta["rng"]
    loop.env_steps, loop.updates = meta["env_steps"], meta["updates"]
    loop.logged_at, loop.credit = meta["logged_at"], meta["credit"]
    loop.finished = np.array(meta["finished"])
    loop.saved_at = loop.env_steps
    loop.tally.restore(meta["tally"])
    loop.strips.restore(meta.get("strips", {}))
    loop.interludes.left = np.array(meta.get("interludes", loop.interludes.left))


def _forget_rows(loop: Loop, cursor: int) -> None:
    """Drop what was written after the checkpoint: it will be written again."""
    loop.store.truncate(cursor)
    if loop.labels is not None:
        loop.labels.truncate_frames(loop.job.key, cursor)


def _reenact(loop: Loop, episodes: np.ndarray) -> None:
    """Bring the environments to where they were; one that does not repeat itself starts anew."""
    actions, complete = _unfinished(loop.store)
    rows = loop.pool.restore(episodes, actions)
    seen = [name for name in ("image", "vector") if name in rows]
    if complete and all(np.array_equal(rows[name], loop.rows[name]) for name in seen):
        return
    warnings.warn(
        f"{loop.job.key}: the environments did not repeat their unfinished episodes, so new "
        "ones begin here and this run is no longer exactly the uninterrupted one",
        stacklevel=2,
    )
    loop.rows = loop.pool.restore(episodes + 1, [a[:0] for a in actions])
    loop.take(loop.rows, [])


def _unfinished(store: EpisodeStore) -> tuple[list[np.ndarray], bool]:
    """The actions of each stream's current episode, (t, A) each, and whether all are held."""
    first, actions = store.column("is_first"), store.column("prev_action")
    out, complete = [], True
    for env in range(store.num_envs):
        starts = np.flatnonzero(first[env])
        complete &= len(starts) > 0
        out.append(actions[env, starts[-1] + 1 :] if len(starts) else actions[env, :0])
    return out, bool(complete)
