"""Random network distillation: the unseen stays novel, and nothing else learns from it."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_agent import CONFIG, ENV, random_batch, setup_of

from sensei.core.agent import make_agent, make_state
from sensei.core.novelty import Novelty, standardised
from sensei.core.training import agent_loss, with_rewards


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return Novelty(ENV.obs, CONFIG, key=jax.random.key(0))


def test_what_was_seen_often_is_less_novel(novelty: Novelty) -> None:
    seen = {"vector": jnp.array(np.random.default_rng(0).uniform(0.0, 1.0, (64, 2)), jnp.float32)}
    unseen = {"vector": seen["vector"] - 3.0}
    optimiser = optax.adam(3e-3)

    @eqx.filter_jit
    def train(model: Novelty) -> Novelty:
        params, static = eqx.partition(model, eqx.is_inexact_array)

        def loss(params: Novelty) -> jax.Array:
            return eqx.combine(params, static).error(seen).mean()

        def step(carry: tuple, _: None) -> tuple:
            params, state = carry
            updates, state = optimiser.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), None, 300)
        return eqx.combine(params, static)

    before = novelty.error(seen).mean()
    trained = train(novelty)
    assert trained.error(seen).mean() < 0.1 * before
    assert trained.error(unseen).mean() > 5 * trained.error(seen).mean()


def test_the_target_is_fixed_and_the_loss_reaches_the_predictor_alone() -> None:
    setup = setup_of("rnd")
    state = make_state(setup, make_agent(setup, key=jax.random.key(0)), key=jax.random.key(1))
    params, static = eqx.partition(state.agent, eqx.is_inexact_array)
    batch = with_rewards(random_batch(), None, setup)

    @jax.jit
    def gradient(params):
        def loss(params):
            agent = eqx.combine(params, static)
            _, (_, metrics) = agent_loss(agent, state, batch, setup, key=jax.random.key(2))
            return metrics["loss/novelty"]

        return jax.grad(loss)(params)

    for path, grad in jax.tree_util.tree_flatten_with_path(gradient(params))[0]:
        inside = jax.tree_util.keystr(path).startswith(".novelty.predictor")
        assert inside or (np.asarray(grad) == 0.0).all(), path
        assert not inside or np.isfinite(grad).all()


def test_the_reward_is_one_on_average_and_keeps_the_order() -> None:
    error = jnp.array([[1e-6, 2e-6, 3e-6]])
    np.testing.assert_allclose(standardised(error), [[0.5, 1.0, 1.5]], rtol=1e-5)
    np.testing.assert_array_equal(standardised(jnp.zeros((1, 2))), [[0.0, 0.0]])
