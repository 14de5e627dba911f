"""λ-returns, policies and their losses, against closed forms, plain loops and scipy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from small_agent import SIZE

from sensei.core.actor_critic import (
    Actor,
    Policy,
    actor_loss,
    critic_loss,
    lambda_return,
    make_critic,
    shaped,
)
from sensei.core.dists import BINS, two_hot, two_hot_mean
from sensei.types import ActionSpec


def column(*values: float) -> jax.Array:
    return jnp.array(values, jnp.float32)[:, None]


def test_lambda_return_golden_value_on_a_chain_of_three() -> None:
    """r = 1, 2, 3; d = ½ everywhere; v = –, 10, 20, 40; λ = ½.

    R₂ = 3 + ½·40 = 23, R₁ = 2 + ½(½·20 + ½·23) = 12.75, R₀ = 1 + ½(½·10 + ½·12.75) = 6.6875.
    The value at the start (99) must not matter.
    """
    out = lambda_return(column(1, 2, 3), column(0.5, 0.5, 0.5), column(99, 10, 20, 40), 0.5)
    np.testing.assert_allclose(out[:, 0], [6.6875, 12.75, 23.0], rtol=1e-6)


def test_lambda_return_at_its_ends() -> None:
    """λ = 0 is the one-step target r + d v′; λ = 1 the discounted sum, closed by the last value."""
    r, d, v = column(1, 2, 3), column(0.9, 0.8, 0.7), column(99, 10, 20, 40)
    np.testing.assert_allclose(lambda_return(r, d, v, 0.0)[:, 0], [10.0, 18.0, 31.0], rtol=1e-6)
    whole = 1 + 0.9 * (2 + 0.8 * (3 + 0.7 * 40))
    np.testing.assert_allclose(lambda_return(r, d, v, 1.0)[0, 0], whole, rtol=1e-6)


def test_what_is_gained_in_potential_is_added() -> None:
    """r = 1, 2; Φ = 4, 6, 8; w = ½; the second step ends the episode, where Φ is 0.

    1 + ½(½·6 − 4) = 0.5 and 2 + ½(0 − 6) = −1.
    """
    out = shaped(column(1, 2), column(0.5, 0), column(4, 6, 8), 0.5)
    np.testing.assert_allclose(out[:, 0], [0.5, -1.0], rtol=1e-6)


small = st.floats(-10, 10, width=32)
unit = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.float32, (4, 2), elements=small),
    arrays(np.float32, (4, 2), elements=unit),
    arrays(np.float32, (5, 2), elements=small),
    arrays(np.float32, (5, 2), elements=small),
    unit,
)
def test_a_potential_changes_no_advantage(
    r: np.ndarray, d: np.ndarray, v: np.ndarray, potential: np.ndarray, lam: float
) -> None:
    """With values that are lower by w · Φ, every return is as well (Ng, Harada & Russell 1999)."""
    r, d, v, potential = map(jnp.asarray, (r, d, v, potential))
    plain = lambda_return(r, d, v, lam)
    other = lambda_return(shaped(r, d, potential, 0.25), d, v - 0.25 * potential, lam)
    np.testing.assert_allclose(other, plain - 0.25 * potential[:-1], rtol=1e-4, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.float32, (4, 2), elements=small),
    arrays(np.float32, (4, 2), elements=unit),
    arrays(np.float32, (5, 2), elements=small),
    arrays(np.float32, (4, 2), elements=unit),
)
def test_lambda_return_is_the_plain_recursion(
    r: np.ndarray, d: np.ndarray, v: np.ndarray, lambda_: np.ndarray
) -> None:
    """With its own λ at every transition."""
    expected = np.zeros((5, 2))
    expected[4] = v[4]
    for t in (3, 2, 1, 0):
        mixed = (1 - lambda_[t]) * v[t + 1] + lambda_[t] * expected[t + 1]
        expected[t] = r[t] + d[t] * mixed
    out = jax.jit(lambda_return)(r, d, v, lambda_)
    np.testing.assert_allclose(out, expected[:4], rtol=1e-4, atol=1e-4)


def test_lambda_zero_at_one_transition_forgets_everything_after_it() -> None:
    r, d, v = column(1, 2, 3), column(0.5, 0.5, 0.5), column(99, 10, 20, 40)
    cut = column(1, 0, 1)
    before = lambda_return(r, d, v, cut)[:2]
    after = lambda_return(r.at[2].set(1e6), d, v.at[3].set(-1e6), cut)[:2]
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(before[:, 0], [1 + 0.5 * 12, 2 + 0.5 * 20])


@eqx.filter_jit
def policy_of(spec: ActionSpec, n: int = 5) -> Policy:
    """A policy that is far from uniform, so that a wrong formula shows."""
    actor = Actor(8, spec, SIZE, 0.01, key=jax.random.key(0))
    weight = 300.0 * actor.net.out.weight  # undoes the small start of the output layer
    actor = eqx.tree_at(lambda a: a.net.out.weight, actor, weight)
    return actor(3.0 * jax.random.normal(jax.random.key(1), (n, 8)))


@eqx.filter_jit
def drawn(policy: Policy, seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """An action, its log-probability and the policy's entropy."""
    action = policy.sample(key=jax.random.key(seed))
    return action, policy.log_prob(action), policy.entropy()


SPECS = {
    "discrete": ActionSpec((5,)),
    "multi-discrete": ActionSpec((3, 4, 2)),
    "continuous": ActionSpec((), 3),
    "mixed": ActionSpec((3, 2), 2),
}


@pytest.mark.parametrize("name", SPECS)
def test_log_prob_and_entropy_are_scipys(name: str) -> None:
    spec = SPECS[name]
    policy = policy_of(spec)
    action, *measured = drawn(policy, 2)
    assert action.shape == (5, spec.size)
    logp, entropy, at = np.zeros(5), np.zeros(5), 0
    for block, width in zip(policy.logps, spec.discrete, strict=True):
        p = np.exp(np.asarray(block, np.float64))
        chosen = np.asarray(action[:, at : at + width])
        assert ((chosen == 0) | (chosen == 1)).all() and (chosen.sum(-1) == 1).all()
        logp += np.log((p * chosen).sum(-1))
        entropy += stats.entropy(p, axis=-1)
        at += width
    normal = stats.norm(np.asarray(policy.mean), np.asarray(policy.std))
    logp += normal.logpdf(np.asarray(action[:, at:])).sum(-1)
    entropy += normal.entropy().sum(-1)
    np.testing.assert_allclose(measured[0], logp, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(measured[1], entropy, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_mode_is_the_likeliest_action(name: str) -> None:
    policy = policy_of(SPECS[name])
    best = policy.log_prob(policy.mode())
    others = jax.vmap(lambda k: policy.log_prob(policy.sample(key=k)))(
        jax.random.split(jax.random.key(0), 50)
    )
    assert (np.asarray(best) >= np.asarray(others) - 1e-5).all()


def test_bounds_of_the_policy() -> None:
    """Means in [−1, 1], deviations in [0.1, 1], no discrete choice below 0.01 / K."""
    policy = policy_of(SPECS["mixed"], n=200)
    assert (jnp.abs(policy.mean) <= 1.0).all()
    assert (policy.std >= 0.1).all() and (policy.std <= 1.0).all()
    for block in policy.logps:
        assert float(jnp.exp(block).min()) >= 0.01 / block.shape[-1] * 0.999


def test_action_sizes() -> None:
    assert {name: spec.size for name, spec in SPECS.items()} == {
        "discrete": 5, "multi-discrete": 9, "continuous": 3, "mixed": 7,
    }  # fmt: skip
    assert ActionSpec().size == 0


def test_continuous_samples_have_the_policys_moments() -> None:
    """20 000 draws: standard errors 0.3/141 and 0.3/200; bounds are five of them."""
    policy = Policy((), jnp.full((20_000, 1), 0.4), jnp.full((20_000, 1), 0.3))
    draws = np.asarray(policy.sample(key=jax.random.key(0)))
    assert draws.mean() == pytest.approx(0.4, abs=0.011)
    assert draws.std() == pytest.approx(0.3, abs=0.008)


def test_new_actor_is_nearly_uniform_and_new_critic_exactly_zero() -> None:
    @jax.jit
    def fresh() -> tuple[jax.Array, jax.Array]:
        feature = jax.random.normal(jax.random.key(1), (7, 8))
        policy = Actor(8, ActionSpec((4,)), SIZE, 0.01, key=jax.random.key(0))(feature)
        critic = make_critic(8, SIZE, key=jax.random.key(2))
        return policy.entropy(), two_hot_mean(critic(feature))

    entropy, value = fresh()
    np.testing.assert_allclose(entropy, np.log(4.0), atol=0.01)
    assert (np.asarray(value) == 0.0).all()


def test_critic_loss_is_both_cross_entropies_and_passes_no_gradient_to_the_targets() -> None:
    logits = jax.random.normal(jax.random.key(0), (2, 3, BINS))
    returns, slow = jnp.full((2, 3), 2.0), jnp.full((2, 3), -7.0)
    logp = np.asarray(jax.nn.log_softmax(logits))
    expected = -(logp * np.asarray(two_hot(returns))).sum(-1)
    expected -= (logp * np.asarray(two_hot(slow))).sum(-1)
    np.testing.assert_allclose(critic_loss(logits, returns, slow), expected, rtol=1e-5)
    grads = jax.grad(lambda r, s: critic_loss(logits, r, s).sum(), argnums=(0, 1))(returns, slow)
    assert all((g == 0.0).all() for g in grads)


def test_actor_loss_golden_value() -> None:
    """p = (¾, ¼), action 0, advantage 2, entropy bonus ½:
    −(2 log ¾ + ½ H), H = −(¾ log ¾ + ¼ log ¼)."""
    p = np.array([0.75, 0.25])
    empty = jnp.zeros((1, 1, 0))
    policy = Policy((jnp.log(jnp.array([[p]], jnp.float32)),), empty, empty)
    out = actor_loss(policy, jnp.array([[[1.0, 0.0]]]), jnp.full((1, 1), 2.0), 0.5)
    entropy = -(p * np.log(p)).sum()
    np.testing.assert_allclose(out, [[-(2 * np.log(0.75) + 0.5 * entropy)]], rtol=1e-5)


def test_actor_loss_raises_the_probability_of_what_was_good() -> None:
    """d(−A log softmax)/d logits = A (p − action): only the policy gets a gradient."""
    action, advantage = jnp.array([[[0.0, 1.0, 0.0]]]), jnp.full((1, 1), 3.0)
    empty = jnp.zeros((1, 1, 0))

    def loss(logits: jax.Array, advantage: jax.Array) -> jax.Array:
        policy = Policy((jax.nn.log_softmax(logits),), empty, empty)
        return actor_loss(policy, action, advantage, 0.0).sum()

    to_logits, to_advantage = jax.grad(loss, argnums=(0, 1))(jnp.zeros((1, 1, 3)), advantage)
    np.testing.assert_allclose(to_logits[0, 0], [1.0, -2.0, 1.0], rtol=1e-5)
    assert (to_advantage == 0.0).all()
