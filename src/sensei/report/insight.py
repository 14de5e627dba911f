"""What the trained networks make of stored observations: pure functions of arrays."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.agent import Agent
from sensei.core.reward_model import RewardModel
from sensei.core.rssm import Latent
from sensei.core.world_model import WorldModel

CHUNK = 512
"""Observations that R_ψ looks at at once; one size, so it is compiled once."""
SEEN, AHEAD = 5, 15
"""Frames shown before the prediction begins, and steps predicted (the agent's own horizon)."""

Rows = dict[str, np.ndarray]
"""The rows of one episode, each field (T, ...)."""


class Filtered(NamedTuple):
    """What the world model makes of each row of an episode."""

    latent: Latent
    """Posterior states, (T, ...)."""
    predicted: dict[str, Float[Array, " T"]]
    """Its reward heads on arriving there."""
    disagreement: Float[Array, " T1"] | None
    """Spread of the ensemble about the action taken in each row but the last."""


class OpenLoop(NamedTuple):
    """A prediction without looking, beside what happened."""

    begin: int
    """The row of the first frame shown."""
    truth: Float[np.ndarray, "t h w c"]
    """In [0, 1]; the first ``SEEN`` frames were seen by the model."""
    predicted: Float[np.ndarray, "t h w c"]
    error: Float[np.ndarray, " t"]
    """Mean squared error of each frame's pixels in [0, 1]."""
    frozen_error: Float[np.ndarray, " t"]
    """The same of repeating the last frame that was seen: what a prediction has to beat."""


@eqx.filter_jit
def filter_episode(
    agent: Agent,
    rows: dict[str, Any],
    spread: Literal["variance", "std"] = "variance",
    *,
    key: PRNGKeyArray,
) -> Filtered:
    """Follow one episode with the world model; ``rows`` holds ``is_first`` and ``prev_action``
    and what the agent sees, (T, ...) each."""
    model = agent.world_model
    embed = model.encoder(rows)[None]
    start = model.rssm.initial((1,))
    inputs = (embed, rows["prev_action"][None], rows["is_first"][None])
    latent, _ = model.rssm.observe(start, *inputs, key=key)
    latent = jax.tree.map(lambda x: x[0], latent)
    feature = latent.feature
    disagreement = None
    if agent.ensemble is not None:
        taken = rows["prev_action"][1:]
        disagreement = agent.ensemble.disagreement(feature[:-1], taken, spread)
    predicted = {name: model.predict_reward(name, feature) for name in model.rewards}
    return Filtered(latent, predicted, disagreement)


def open_loop(
    model: WorldModel, latent: Latent, rows: Rows, at: int, *, key: PRNGKeyArray
) -> OpenLoop | None:
    """Predict up to ``AHEAD`` steps with the episode's own actions, row ``at`` among them.

    Args:
        model: the world model.
        latent: its posterior states of all rows; it has seen the episode up to where the
            prediction begins.
        rows: the episode.
        at: the row that the prediction should reach.
        key: for the latents that are drawn.

    Returns:
        None for an episode without images, or too short.
    """
    length = len(rows["is_first"])
    ahead = min(AHEAD, length - SEEN)
    if model.decoder.image is None or ahead < 1:
        return None
    begin = min(max(at - SEEN - AHEAD // 2, 0), length - SEEN - ahead)
    first = begin + SEEN  # the first row that is not seen
    seen = jax.tree.map(lambda x: x[begin:first], latent)
    actions = jnp.asarray(rows["prev_action"][first : first + ahead])
    predicted = np.asarray(_imagined_images(model, seen, actions, key=key))
    truth = rows["image"][begin : first + ahead].astype(np.float32) / 255.0
    error = np.square(predicted - truth).mean((1, 2, 3))
    frozen = np.square(truth[SEEN - 1] - truth).mean((1, 2, 3))
    return OpenLoop(begin, truth, predicted, error, frozen)


@eqx.filter_jit
def _imagined_images(
    model: WorldModel, seen: Latent, actions: Float[Array, "H a"], *, key: PRNGKeyArray
) -> Float[Array, "t h w c"]:
    """Decode the seen states, then those imagined from the last of them, t = SEEN + H."""

    def step(latent: Latent, inputs: tuple[Array, PRNGKeyArray]) -> tuple[Latent, Array]:
        action, k = inputs
        latent = model.rssm.imagine(latent, action[None], key=k)
        return latent, latent.feature[0]

    last = jax.tree.map(lambda x: x[-1:], seen)
    _, ahead = jax.lax.scan(step, last, (actions, jax.random.split(key, actions.shape[0])))
    decoder = model.decoder.image
    assert decoder is not None
    return decoder.grid.to_image(decoder(jnp.concatenate([seen.feature, ahead])))


def score(model: RewardModel, obs: dict[str, np.ndarray]) -> Float[np.ndarray, " n"]:
    """R_ψ of observations (n, ...), a chunk at a time."""
    count = len(next(iter(obs.values())))
    parts = []
    for at in range(0, count, CHUNK):
        chunk = {name: value[at : at + CHUNK] for name, value in obs.items()}
        parts.append(np.asarray(_score(model, _padded(chunk)))[: count - at])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@eqx.filter_jit
def _score(model: RewardModel, obs: dict[str, Any]) -> Float[Array, " n"]:
    return model(obs)


def _padded(obs: dict[str, np.ndarray]) -> dict[str, Array]:
    """Repeat the last observation up to a whole chunk."""
    return {
        name: jnp.asarray(np.pad(x, [(0, CHUNK - len(x))] + [(0, 0)] * (x.ndim - 1), mode="edge"))
        for name, x in obs.items()
    }


def seen_by_agent(rows: Rows) -> dict[str, np.ndarray]:
    """Pick what the agent sees."""
    return {name: rows[name] for name in ("image", "vector") if name in rows}
