"""The world model's losses, and that what it learns is paired with the right action."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_agent import CONFIG, ENV, HEADS, SIZE, random_batch

from sensei.core.config import AgentConfig
from sensei.core.dists import symlog, two_hot
from sensei.core.world_model import WorldModel, kl_losses, world_model_losses
from sensei.envs.config import EnvConfig
from sensei.envs.pool import EnvPool
from sensei.types import ActionSpec, ObsSpec


def log(p: list[float]) -> jax.Array:
    """One group of log-probabilities, (1, 1, 1, K)."""
    return jnp.log(jnp.array([[[p]]], jnp.float32))


def test_kl_losses_golden_values() -> None:
    """post (¾, ¼), prior (¼, ¾): KL = ¾ log 3 − ¼ log 3 = ½ log 3 ≈ 0.549, the same both ways
    because each is the other's mirror."""
    losses = kl_losses(log([0.75, 0.25]), log([0.25, 0.75]), 0.0)
    np.testing.assert_allclose(losses["dynamics"], 0.5 * np.log(3.0), rtol=1e-5)
    np.testing.assert_allclose(losses["representation"], 0.5 * np.log(3.0), rtol=1e-5)


def kl_gradients(free_nats: float) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Gradient of each loss with respect to posterior and prior logits."""
    post, prior = log([0.75, 0.25]), log([0.25, 0.75])

    def loss(post: jax.Array, prior: jax.Array, name: str) -> jax.Array:
        two = (jax.nn.log_softmax(x) for x in (post, prior))
        return kl_losses(*two, free_nats)[name].sum()

    return {
        name: jax.grad(loss, argnums=(0, 1))(post, prior, name)
        for name in ("dynamics", "representation")
    }


def test_kl_balance() -> None:
    """``dynamics`` teaches the prior alone, ``representation`` the posterior alone.

    d KL(p ‖ q)/d prior logits = q − p = (−½, ½).
    """
    grads = kl_gradients(0.0)
    to_post, to_prior = grads["dynamics"]
    assert (to_post == 0.0).all()
    np.testing.assert_allclose(to_prior.ravel(), [-0.5, 0.5], rtol=1e-5)
    to_post, to_prior = grads["representation"]
    assert (to_prior == 0.0).all()
    # d/d post logits of Σ p log(p/q) = p ⊙ (log(p/q) − KL): ¾ (log 3 − ½ log 3) = ⅜ log 3.
    np.testing.assert_allclose(
        to_post.ravel(), [0.375 * np.log(3.0), -0.375 * np.log(3.0)], rtol=1e-5
    )


def test_below_the_free_nats_nothing_is_learned() -> None:
    """The KL is 0.549: free below 1, counted beyond 0.5; free nats are not subtracted."""
    for pair in kl_gradients(1.0).values():
        assert all((g == 0.0).all() for g in pair)
    assert any((g != 0.0).any() for g in kl_gradients(0.5)["dynamics"])
    losses = kl_losses(log([0.75, 0.25]), log([0.25, 0.75]), 1.0)
    assert all((v == 1.0).all() for v in losses.values())


@pytest.fixture(scope="module")
def computed() -> tuple[WorldModel, dict, dict, jax.Array]:
    """A model, a batch, the losses of the one on the other and the features."""
    batch = random_batch()
    batch |= {"task": batch["reward"], "extra": batch["rewards"][..., 0]}

    @eqx.filter_jit
    def compute() -> tuple:
        model = WorldModel(ENV.obs, ENV.action, HEADS, CONFIG, key=jax.random.key(0))
        losses, latent = world_model_losses(model, batch, CONFIG, (), key=jax.random.key(1))
        return model, losses, latent.feature

    model, losses, feature = compute()
    return model, batch, losses, feature


def test_losses_are_those_of_the_features_at_the_same_row(computed: tuple) -> None:
    """Row t's observation, continue flag and reward are all predicted from the state at t."""
    model, batch, losses, feature = computed
    error = np.asarray(model.decoder.vector(feature)) - np.asarray(symlog(batch["vector"]))
    np.testing.assert_allclose(losses["vector"], np.square(error).sum(-1), rtol=1e-3)
    p = np.asarray(model.predict_continue(feature), np.float64)
    ended = np.asarray(batch["is_terminal"])
    np.testing.assert_allclose(losses["continue"], -np.log(np.where(ended, 1 - p, p)), rtol=1e-3)
    for name in HEADS:
        # A new head is uniform, so its loss is log 255 whatever the reward …
        np.testing.assert_allclose(losses[f"reward_{name}"], np.log(255.0), rtol=1e-5)
        assert (np.asarray(model.predict_reward(name, feature)) == 0.0).all()


def test_the_error_of_the_picture_weighs_what_r_psi_looks_at() -> None:
    """Saliency 2 on the left half and 0 on the right, c = 3: the left counts seven times."""
    spec, shape = ObsSpec((8, 8, 1)), (2, 6, 8, 8, 1)
    image = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    size = dataclasses.replace(SIZE, patch=2)
    config = dataclasses.replace(CONFIG, size=size, saliency_scale=3.0)
    saliency = jnp.broadcast_to(jnp.array([2.0, 0.0]), (2, 6, 1, 2))
    rows = random_batch() | {"image": jnp.asarray(image), "saliency": saliency}

    @eqx.filter_jit
    def compute() -> tuple:
        model = WorldModel(spec, ENV.action, (), config, key=jax.random.key(0))
        losses, latent = world_model_losses(model, rows, config, (), key=jax.random.key(1))
        decoder = model.decoder.image
        return losses["image"], decoder.grid.to_image(decoder(latent.feature.reshape(12, -1)))

    loss, drawn = map(np.asarray, compute())
    error = np.square(drawn.reshape(shape) - image / 255.0)
    expected = 7.0 * error[:, :, :, :4].sum((2, 3, 4)) + error[:, :, :, 4:].sum((2, 3, 4))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_a_truncation_is_not_an_end_to_the_continue_head(computed: tuple) -> None:
    """Row (0, 2) is cut by a time limit, row (1, 2) terminates: only the latter's target is 0."""
    model, batch, losses, feature = computed
    logit = np.asarray(model.continues(feature)[..., 0], np.float64)
    assert batch["is_last"][0, 2] and batch["is_last"][1, 2]
    np.testing.assert_allclose(losses["continue"][0, 2], np.log1p(np.exp(-logit[0, 2])), rtol=1e-3)
    np.testing.assert_allclose(losses["continue"][1, 2], np.log1p(np.exp(logit[1, 2])), rtol=1e-3)


def test_reward_heads_learn_the_reward_of_their_own_name_and_row(computed: tuple) -> None:
    """… and the gradient of its output bias, p − two_hot(reward), tells which reward it was."""
    model, batch, _, _ = computed

    @eqx.filter_jit
    def bias_gradient(model: WorldModel, name: str, i: int, t: int) -> jax.Array:
        def loss(model: WorldModel) -> jax.Array:
            return world_model_losses(model, batch, CONFIG, (), key=jax.random.key(1))[0][
                f"reward_{name}"
            ][i, t]

        return eqx.filter_grad(loss)(model).rewards[name].out.bias

    for name in ("extra", "semantic"):
        grad = bias_gradient(model, name, 1, 4)
        np.testing.assert_allclose(1 / 255 - grad, two_hot(batch[name][1, 4]), atol=1e-4)


CHOICES = 3
ALIGNMENT = AgentConfig(size=SIZE, free_nats=0.1)


def last_action_rows(rounds: int = 60) -> dict[str, np.ndarray]:
    """What an environment that shows its last action returns to random actions, (8, 60, …)."""
    config = EnvConfig("sensei.testing.envs:LastAction", num_envs=8, processes=0)
    pool = EnvPool(config, seed=0)
    rng, rows = np.random.default_rng(0), []
    for _ in range(rounds):
        actions = np.eye(CHOICES, dtype=np.float32)[rng.integers(CHOICES, size=8)]
        rows.append({k: np.array(v) for k, v in pool.step(actions)[0].items()})
    pool.close()
    names = ("vector", "prev_action", "is_first", "is_last", "is_terminal")
    return {k: np.stack([r[k] for r in rows], 1) for k in names}


def test_the_environment_shows_the_action_stored_in_the_same_row() -> None:
    rows = last_action_rows(25)
    np.testing.assert_array_equal(rows["vector"], rows["prev_action"])
    assert rows["is_first"][:, 0].all() and rows["is_last"].any()


@eqx.filter_jit
def fit(rows: dict[str, jax.Array], steps: int, *, key: jax.Array) -> WorldModel:
    """Train a small world model on windows of 6 rows."""
    k_init, k_fit = jax.random.split(key)
    vector = tuple(f"v{i}" for i in range(CHOICES))
    model = WorldModel(ObsSpec(None, vector), ActionSpec((CHOICES,)), (), ALIGNMENT, key=k_init)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    adam = optax.adam(1e-2)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        params, state = carry
        k_window, k_loss = jax.random.split(key)
        at = jax.random.randint(k_window, (), 0, rows["is_first"].shape[1] - 6)
        batch = {k: jax.lax.dynamic_slice_in_dim(v, at, 6, axis=1) for k, v in rows.items()}
        batch["is_first"] = batch["is_first"].at[:, 0].set(True)

        def loss(params: WorldModel) -> jax.Array:
            model = eqx.combine(params, static)
            losses, _ = world_model_losses(model, batch, ALIGNMENT, (), key=k_loss)
            parts = losses["vector"] + losses["dynamics"] + 0.1 * losses["representation"]
            return jnp.mean(parts)

        updates, state = adam.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(k_fit, steps)
    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), keys)
    return eqx.combine(params, static)


@eqx.filter_jit
def imagined_observation(model: WorldModel, rows: dict[str, jax.Array]) -> jax.Array:
    """Filter six rows, then imagine one step of every action, (B, CHOICES, V), symlog."""
    b = rows["is_first"].shape[0]
    embed = model.encoder({"vector": rows["vector"].reshape(b * 6, -1)}).reshape(b, 6, -1)
    latent, _ = model.rssm.observe(
        model.rssm.initial((b,)), embed, rows["prev_action"], rows["is_first"],
        key=jax.random.key(0),
    )  # fmt: skip
    last = jax.tree.map(lambda x: x[:, -1], latent)
    keys = jax.random.split(jax.random.key(1), CHOICES)
    after = [
        model.rssm.imagine(last, jnp.broadcast_to(jnp.eye(CHOICES)[a], (b, CHOICES)), key=keys[a])
        for a in range(CHOICES)
    ]
    return jnp.stack([model.decoder.vector(s.feature) for s in after], axis=1)


def prediction_error(prev_action: np.ndarray, rows: dict[str, np.ndarray]) -> float:
    """Train on rows with these actions; mean squared error of what is imagined for each action."""
    rows = rows | {"prev_action": prev_action.astype(np.float32)}
    model = fit(jax.tree.map(jnp.asarray, rows), 400, key=jax.random.key(0))
    middle = {k: jnp.asarray(v[:, 2:8]) for k, v in rows.items()}
    seen = np.asarray(imagined_observation(model, middle))
    return float(np.square(seen - np.log(2.0) * np.eye(CHOICES)).sum(-1).mean())


def test_the_prior_predicts_what_an_action_does_only_if_they_are_paired_rightly() -> None:
    """The next observation is the action. One who ignores it can do no better than the mean, at
    error log² 2 · (1 − 1/3) = 0.32; pairing each row with the action one row later is as bad."""
    rows = last_action_rows()
    aligned = prediction_error(rows["prev_action"], rows)
    shifted = prediction_error(np.roll(rows["prev_action"], -1, axis=1), rows)
    assert aligned < 0.03
    assert shifted > 0.2
