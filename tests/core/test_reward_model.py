"""Bradley–Terry and what becomes of it: order, calibration, standardisation."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensei.core.distillation import (
    Preferences,
    differences,
    frame_logits,
    optimiser,
    standardise,
    train_epoch,
)
from sensei.core.reward_model import RewardModel, RewardNet, bradley_terry, prepare
from sensei.types import ObsSpec

SPEC = ObsSpec(None, ("a", "b"))
RATES = (3e-3, 0.0)


def test_loss_golden_values() -> None:
    """Logit difference log 3 means P(second) = ¾: −log ¾, −log ¼; a tie costs the mean of both.
    At equal logits everything costs log 2."""
    d = jnp.full(3, jnp.log(3.0))
    out = bradley_terry(jnp.zeros(3), d, jnp.array([1.0, 0.0, 0.5]))
    np.testing.assert_allclose(
        out, [-np.log(0.75), -np.log(0.25), -0.5 * np.log(0.75 * 0.25)], rtol=1e-6
    )
    equal = bradley_terry(jnp.full(3, 7.0), jnp.full(3, 7.0), jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(equal, np.log(2.0), rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 1))
def test_loss_is_the_published_equation_and_symmetric(r0: float, r1: float, y: float) -> None:
    def log_sigmoid(x: float) -> float:
        return -np.logaddexp(0.0, -x)

    expected = -((1 - y) * log_sigmoid(r0 - r1) + y * log_sigmoid(r1 - r0))
    one, two, label = (jnp.array([x], jnp.float32) for x in (r0, r1, y))
    loss = bradley_terry(one, two, label)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bradley_terry(two, one, 1 - label), loss, rtol=1e-4, atol=1e-4)


def test_loss_is_least_where_the_probability_is_the_label() -> None:
    """d/d(r₁ − r₀) = σ(r₁ − r₀) − y, so a tie pulls the two logits together."""
    d, y = jnp.array([np.log(4.0), 2.0, -2.0]), jnp.array([0.8, 0.5, 0.5])
    slope = jax.grad(lambda d: bradley_terry(jnp.zeros(3), d, y).sum())(d)
    tie = 1.0 / (1.0 + np.exp(-2.0)) - 0.5
    np.testing.assert_allclose(slope, [0.0, tie, -tie], atol=1e-6)


def make_model(damping: float = 0.0, seed: int = 0) -> RewardModel:
    return eqx.filter_jit(
        lambda: RewardModel(SPEC, members=3, damping=damping, units=16, key=jax.random.key(seed))
    )()


def trained(model: RewardModel, obs: dict, pairs: Preferences, epochs: int) -> RewardModel:
    state = eqx.filter_jit(lambda m: optimiser(*RATES).init(eqx.filter(m, eqx.is_inexact_array)))(
        model
    )
    for key in jax.random.split(jax.random.key(1), epochs):
        model, state, _ = train_epoch(model, state, obs, pairs, 32, RATES, key=key)
    return model


@pytest.fixture(scope="module")
def frames() -> dict[str, jax.Array]:
    return {"vector": jax.random.normal(jax.random.key(0), (40, 2))}


@pytest.fixture(scope="module")
def order(frames: dict) -> np.ndarray:
    """The truth: frames are better the further a + 2 b."""
    return np.asarray(frames["vector"] @ jnp.array([1.0, 2.0]))


@pytest.fixture(scope="module")
def ordered(frames: dict, order: np.ndarray) -> tuple[RewardModel, Preferences]:
    rng = np.random.default_rng(0)
    first, second = rng.integers(40, size=(2, 640)).astype(np.int32)
    keep = np.abs(order[first] - order[second]) > 0.3
    first, second = first[keep], second[keep]
    y = (order[second] > order[first]).astype(np.float32)
    pairs = Preferences(*map(jnp.asarray, (first, second, y)))
    return trained(make_model(), frames, pairs, 60), pairs


def test_a_known_order_is_found(ordered: tuple, frames: dict) -> None:
    """Noise-free labels of a linear function: every pair must come out right."""
    model, pairs = ordered
    losses, difference = differences(model, frames, pairs)
    right = (np.asarray(difference) > 0) == (np.asarray(pairs.y) > 0.5)
    assert right.all()
    assert float(losses.mean()) < 0.1


def test_every_member_learns(ordered: tuple, frames: dict) -> None:
    model, pairs = ordered
    logits = np.asarray(frame_logits(model, frames))
    right = (logits[:, pairs.second] > logits[:, pairs.first]) == (np.asarray(pairs.y) > 0.5)
    assert (right.mean(1) > 0.97).all()
    assert not np.allclose(logits[0], logits[1])


def test_probabilities_are_the_label_frequencies(frames: dict) -> None:
    """Two kinds of pairs, labelled second with probability 0.8 and ties: σ(r₁ − r₀) → 0.8 and ½."""
    first = jnp.array([0, 2] * 160, jnp.int32)
    second = jnp.array([1, 3] * 160, jnp.int32)
    y = jnp.array([1, 0.5, 1, 0.5, 1, 0.5, 1, 0.5, 0, 0.5] * 32, jnp.float32)
    pairs = Preferences(first, second, y)
    model = trained(make_model(seed=2), frames, pairs, 60)
    p = jax.nn.sigmoid(differences(model, frames, pairs)[1][:2])
    np.testing.assert_allclose(p, [0.8, 0.5], atol=0.05)


def test_standardised_reward_has_mean_0_and_variance_1(ordered: tuple, frames: dict) -> None:
    """Of the members' mean; each member by itself has mean 0 too. The order stays."""
    model = standardise(ordered[0], frame_logits(ordered[0], frames))
    reward = np.asarray(eqx.filter_jit(lambda m, o: m(o))(model, frames))
    assert reward.mean() == pytest.approx(0.0, abs=1e-5)
    assert reward.std() == pytest.approx(1.0, abs=1e-4)
    z = np.asarray(frame_logits(model, frames)) - np.asarray(model.offset)[:, None]
    np.testing.assert_allclose(z.mean(1), 0.0, atol=1e-4)
    pairs = ordered[1]
    assert ((reward[pairs.second] > reward[pairs.first]) == (np.asarray(pairs.y) > 0.5)).all()


def test_standardising_forgets_each_members_own_offset_and_scale() -> None:
    """Members 2x + 5 and −50 + 10x of the same x are one opinion: the reward is x standardised."""
    x = np.linspace(-1.0, 1.0, 21)
    logits = jnp.asarray(np.stack([2 * x + 5, 10 * x - 50, x]), jnp.float32)
    model = standardise(make_model(), logits)
    z = (np.asarray(logits) - np.asarray(model.offset)[:, None]) / np.asarray(model.scale)[:, None]
    np.testing.assert_allclose(z, np.broadcast_to(x / x.std(), z.shape), rtol=1e-3, atol=1e-4)


def test_damping_subtracts_the_members_deviation(frames: dict) -> None:
    plain, damped = make_model(), make_model(damping=0.5)
    logits = np.asarray(frame_logits(plain, frames))
    out = eqx.filter_jit(lambda m, o: m(o))(damped, frames)
    np.testing.assert_allclose(out, logits.mean(0) - 0.5 * logits.std(0), rtol=1e-3, atol=1e-5)


def test_prepare_cuts_an_image_into_its_patches() -> None:
    image = np.random.default_rng(0).integers(256, size=(2, 16, 16, 3)).astype(np.uint8)
    patches, vector = prepare({"image": jnp.asarray(image)}, 8)
    assert patches.shape == (2, 4, 192) and vector.shape == (2, 0)
    lower_left = image[0, 8:, :8].reshape(-1).astype(np.float64) / 255.0 - 0.5
    np.testing.assert_allclose(patches[0, 2], lower_left, atol=1e-6)


def test_saliency_is_how_far_the_reward_moves_without_a_patch() -> None:
    """Half the pictures have one white patch, (1, 2) of 4×4; all else is the same in all of them.

    Only there does the reward move: between the white's and its mean with black.
    """
    spec, white = ObsSpec((16, 16, 1), ("x",)), np.array([True, True, False, False])
    image = np.zeros((4, 16, 16, 1), np.uint8)
    image[white, 4:8, 8:12] = 255
    obs = {"image": jnp.asarray(image), "vector": jnp.full((4, 1), 2.0)}

    @eqx.filter_jit
    def compute() -> tuple[jax.Array, jax.Array, jax.Array]:
        model = RewardModel(spec, members=3, damping=0.5, units=8, key=jax.random.key(0))
        patches, vector = prepare(obs, 4)

        def between(net: RewardNet) -> jax.Array:
            mean = jnp.broadcast_to(jnp.mean(net.patches(patches), axis=0), (4, 16, 32))
            return net.head(jnp.concatenate([vector, mean.reshape(4, -1)], -1))[..., 0]

        logits = eqx.filter_vmap(between)(model.members)
        return model.saliency(obs), model(obs), logits.mean(0) - 0.5 * logits.std(0)

    saliency, reward, without = map(np.array, compute())
    assert saliency.shape == (4, 4, 4)
    np.testing.assert_allclose(saliency[:, 1, 2], np.abs(reward - without), atol=1e-5)
    assert (saliency[:, 1, 2] > 1e-3).all()
    saliency[:, 1, 2] = 0.0
    np.testing.assert_allclose(saliency, 0.0, atol=1e-6)
