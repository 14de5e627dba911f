"""Resets inside a sequence, and the uniform share of every latent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agent import SIZE

from sensei.core.rssm import RSSM, Latent


@pytest.fixture(scope="module")
def rssm() -> RSSM:
    return jax.jit(lambda: RSSM(3, 8, SIZE, 0.01, key=jax.random.key(0)))()


@jax.jit
def observe(rssm: RSSM, embed: jax.Array, action: jax.Array, first: jax.Array) -> tuple:
    """Filter from a state that is nowhere near the initial one."""
    b = embed.shape[0]
    state = Latent(jnp.full((b, 32), 0.7), jnp.ones((b, 4, 4)))
    return rssm.observe(state, embed, action, first, key=jax.random.key(1))


def sequence(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and actions, (2, 6, …)."""
    rng = np.random.default_rng(seed)
    embed = rng.normal(size=(2, 6, 8)).astype(np.float32)
    return embed, np.eye(3, dtype=np.float32)[rng.integers(3, size=(2, 6))]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_nothing_from_before_a_reset_reaches_what_comes_after(rssm: RSSM, at: int) -> None:
    """Two histories that share only what follows the reset at ``at`` give the same states from
    there on, exactly; the action into the reset, too, is forgotten."""
    embed, action = sequence(0)
    other_embed, other_action = sequence(1)
    other_embed[:, at:] = embed[:, at:]
    other_action[:, at + 1 :] = action[:, at + 1 :]
    first = np.zeros((2, 6), bool)
    first[:, at] = True
    one, two = (
        jax.tree.map(np.asarray, observe(rssm, *history, first))
        for history in ((embed, action), (other_embed, other_action))
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a[:, at:], b[:, at:])
        assert not np.array_equal(a[:, :at], b[:, :at])
    # And without the reset the past does matter, so the test can fail.
    never = np.zeros((2, 6), bool)
    same = [observe(rssm, *h, never)[0].deter for h in ((embed, action), (other_embed, action))]
    assert not np.array_equal(same[0][:, at:], same[1][:, at:])


def test_a_reset_in_one_sequence_leaves_its_neighbour_alone(rssm: RSSM) -> None:
    embed, action = sequence(0)
    first = np.zeros((2, 6), bool)
    reset = first.copy()
    reset[0, 3] = True
    before, after = (np.asarray(observe(rssm, embed, action, f)[0].deter) for f in (first, reset))
    np.testing.assert_array_equal(before[1], after[1])
    assert not np.array_equal(before[0, 3:], after[0, 3:])


def test_a_reset_state_is_the_initial_state_without_an_action(rssm: RSSM) -> None:
    """``look`` at a first row from anywhere equals ``look`` from ``initial``."""

    @jax.jit
    def both(embed_in: jax.Array) -> list:
        action_in = rssm.action_in(jnp.zeros((2, 3)))
        anywhere = Latent(jnp.full((2, 32), 0.7), jnp.ones((2, 4, 4)))
        key = jax.random.key(2)
        return [
            rssm.look(state, action_in, embed_in, jnp.full(2, first), key=key)
            for state, first in ((anywhere, True), (rssm.initial((2,)), False))
        ]

    one, two = both(jax.random.normal(jax.random.key(3), (2, SIZE.hidden)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_latents_are_one_hot_and_every_class_keeps_its_uniform_share(rssm: RSSM) -> None:
    embed, action = sequence(0)
    latent, logp = observe(rssm, 100.0 * embed, action, np.zeros((2, 6), bool))
    p = np.exp(np.asarray(logp))
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
    assert p.min() >= 0.01 / SIZE.classes * 0.999
    # Forward, straight-through is the sample itself: one-hot up to rounding of p − p.
    np.testing.assert_allclose(np.sort(np.asarray(latent.stoch), -1)[..., -1], 1.0, atol=1e-6)
    assert latent.feature.shape == (2, 6, SIZE.deter + SIZE.stoch * SIZE.classes)
    np.testing.assert_array_equal(latent.feature[..., : SIZE.deter], latent.deter)
