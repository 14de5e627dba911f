"""The SENSEI rule: weights, gates and their invariances, methods as channels."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_agent import CONFIG, ENV, setup_of

from sensei.core.actor_critic import lambda_return
from sensei.core.agent import Setup
from sensei.core.behaviour import (
    apply_gate,
    centred,
    channel_level,
    channel_offset,
    channel_returns,
    channel_scale,
    over_states,
)
from sensei.core.config import AgentConfig
from sensei.core.imagination import Rollout
from sensei.core.methods import METHODS, method_channels, method_gate, task
from sensei.core.scaling import RunningMean
from sensei.core.sensei import gate, gate_statistic, sensei_advantage
from sensei.types import UsageError

GAMMA = 1.0 - 1.0 / CONFIG.discount_horizon


def test_advantage_golden_values() -> None:
    """KeyChest's weights: explore (¼, 1), go (1, 0.05), Z = 1.25; A^sem = 2, A^dis = −4.

    explore: (¼·2 − 4)/1.25 = −2.8; go: (2 − 0.05·4)/1.25 = 1.44.
    """
    advantage = jnp.stack([jnp.full((1, 2), 2.0), jnp.full((1, 2), -4.0)])
    out = sensei_advantage(
        advantage,
        jnp.array([[True, False]]),
        explore=jnp.array([0.25, 1.0]),
        go=jnp.array([1.0, 0.05]),
    )
    np.testing.assert_allclose(out, [[-2.8, 1.44]], rtol=1e-6)


def test_advantage_is_normalised_by_the_explore_weights() -> None:
    """Where all channels agree on an advantage of 1, exploring yields 1 whatever the weights, and
    a common factor of all weights changes nothing."""
    advantage, interesting = jnp.ones((2, 1, 1)), jnp.ones((1, 1), bool)
    explore, go = jnp.array([0.3, 1.0]), jnp.array([1.0, 0.1])
    np.testing.assert_allclose(sensei_advantage(advantage, interesting, explore, go), 1.0)
    went = sensei_advantage(advantage, ~interesting, explore, go)
    np.testing.assert_allclose(went, 1.1 / 1.3, rtol=1e-6)
    scaled = sensei_advantage(advantage, ~interesting, 7.0 * explore, 7.0 * go)
    np.testing.assert_allclose(scaled, went, rtol=1e-6)


@pytest.mark.parametrize(
    ("centre", "expected"),
    [(False, [[2.0, 4.0], [-5.0, -1.0]]), (True, [[-1.0, 1.0], [-2.0, 2.0]])],
)
def test_each_channels_advantage_is_centred_by_itself(
    centre: bool, expected: list[list[float]]
) -> None:
    """A critic that is 10 too low everywhere shows in no advantage; differences stay, and so does
    the other channel. (10, 12) and (3, 7) less 8 together, or less 11 and 5 step by step."""
    setup = setup_of("fixed", config=dataclasses.replace(CONFIG, centre_rewards=centre))
    setup = dataclasses.replace(setup, channels=setup.channels[:2])
    advantage = jnp.array([[[10.0, 12.0], [3.0, 7.0]], [[-1.0, 5.0], [-1.0, 5.0]]])
    expected_of_both = [expected, [[-3.0, 3.0], [-3.0, 3.0]]]
    np.testing.assert_allclose(centred(setup, advantage), expected_of_both, atol=1e-6)
    lagging = advantage.at[0].add(10.0)
    np.testing.assert_allclose(centred(setup, lagging), centred(setup, advantage), atol=1e-6)


def test_gate_compares_the_right_quantity() -> None:
    reward, returns = jnp.array([[0.0, 1.0, 2.0]]), jnp.array([[5.0, 0.0, 5.0]])
    limit = jnp.array(1.0)
    assert gate("reward", reward, returns, limit).tolist() == [[False, True, True]]
    assert gate("return", reward, returns, limit).tolist() == [[True, False, True]]
    assert gate("range", reward, returns, limit).tolist() == [[True, False, True]]
    assert gate("fixed", reward, returns, jnp.array(1e9)).tolist() == [[True, True, True]]


def test_gate_statistic_golden_values() -> None:
    """0, 1 … 20: the 0.9-quantile is 18 and the 0.05-quantile 1; the returns are ten times that."""
    reward = jnp.arange(21.0).reshape(3, 7)
    assert float(gate_statistic("reward", reward, 10 * reward, 0.9)) == pytest.approx(18.0)
    assert float(gate_statistic("return", reward, 10 * reward, 0.9)) == pytest.approx(180.0)
    assert float(gate_statistic("range", reward, 10 * reward, 0.9)) == pytest.approx(170.0)


def rollout_of(semantic: jax.Array) -> Rollout:
    """A rollout of which only the semantic reward, (H + 1, N), matters."""
    steps, n = semantic.shape
    return Rollout(
        feature=jnp.zeros((steps, n, 1)),
        action=jnp.zeros((steps - 1, n, 1)),
        goes_on=jnp.ones((steps, n)),
        predicted={"semantic": semantic, "task": jnp.zeros((steps, n))},
        disagreement=jnp.zeros((steps - 1, n)),
    )


def decisions(rule: str, shift: float, batches: int = 3) -> np.ndarray:
    """What the gate says of the last of several batches when R_ψ is shifted by a constant.

    Reward r becomes r + c. Episodes never end, so the true values shift by c/(1 − γ), and so does
    every λ-return, whatever λ: c + γ c/(1 − γ) = c/(1 − γ).
    """
    setup = dataclasses.replace(setup_of("sensei"), gate=rule)
    rng, threshold = np.random.default_rng(0), RunningMean()
    said = np.zeros(0)
    for _ in range(batches):
        semantic = jnp.asarray(rng.normal(size=(6, 40)), jnp.float32) + shift
        value = jnp.asarray(rng.normal(size=(6, 40)), jnp.float32) + shift / (1.0 - GAMMA)
        discount = jnp.full((5, 40), GAMMA)
        returns = lambda_return(semantic[1:], discount, value, CONFIG.lambda_)
        channels = jnp.stack([returns, jnp.zeros((5, 40)), jnp.zeros((5, 40))])
        interesting, threshold = apply_gate(setup, threshold, rollout_of(semantic), channels)
        said = np.asarray(interesting)
    return said


@pytest.mark.parametrize("rule", ["reward", "return"])
def test_gate_does_not_care_about_the_offset_of_the_reward(rule: str) -> None:
    here = decisions(rule, 0.0)
    assert 0.02 < here.mean() < 0.5  # both branches are taken, so equality says something
    for shift in (0.5, -2.0):
        np.testing.assert_array_equal(decisions(rule, shift), here)


def test_the_published_range_gate_does_care() -> None:
    """max(1, P_k − P_5) stays where it was while every return rises: nothing is left to go to."""
    assert decisions("range", 0.0).mean() < 0.9
    assert decisions("range", 2.0).mean() == 1.0
    assert decisions("range", -2.0).mean() == 0.0


def test_range_threshold_is_at_least_one_and_not_debiased() -> None:
    """Returns 0 … 20 have range 18 − 1 = 17; the biased average of the first batch is 0.17, below
    1, so that every return from 1 on is interesting: 20 of 21."""
    setup = dataclasses.replace(setup_of("sensei"), gate="range")
    returns = jnp.zeros((3, 1, 21)).at[0, 0].set(jnp.arange(21.0))
    interesting, new = apply_gate(setup, RunningMean(), rollout_of(jnp.zeros((2, 21))), returns)
    assert float(new.biased) == pytest.approx(0.17, rel=1e-4)
    assert interesting[0].tolist() == [False] + [True] * 20


def test_reward_gate_looks_at_the_state_before_the_transition() -> None:
    """r̂_sem(s_t), not r̂_sem(s_{t+1}): only the first of two transitions starts interestingly."""
    setup = setup_of("sensei")
    semantic = jnp.array([[5.0], [0.0], [9.0]])
    interesting, new = apply_gate(setup, RunningMean(), rollout_of(semantic), jnp.zeros((3, 2, 1)))
    assert interesting[:, 0].tolist() == [True, False]
    # The quantile is over s_0 and s_1 alone: 0.9 of the way from 0 to 5.
    assert float(new.value) == pytest.approx(4.5, rel=1e-5)


@pytest.mark.parametrize("k", [0.6, 0.9])
def test_go_fraction_is_k_on_stationary_rewards(k: float) -> None:
    """500 batches of 400: the threshold's standard error is that of ~200 batches' mean quantile,
    and the fraction over the last 200 batches (80 000 states) is known to about 0.002."""
    config = dataclasses.replace(CONFIG, quantile=k)
    setup = setup_of("sensei", config=config)
    rewards = jax.random.normal(jax.random.key(0), (500, 5, 100)) ** 3 + 7.0
    returns = jnp.zeros((3, 4, 100))

    def step(threshold: RunningMean, semantic: jax.Array) -> tuple[RunningMean, jax.Array]:
        interesting, threshold = apply_gate(setup, threshold, rollout_of(semantic), returns)
        return threshold, 1.0 - jnp.mean(interesting.astype(jnp.float32))

    _, went = jax.jit(lambda r: jax.lax.scan(step, RunningMean(), r))(rewards)
    assert np.asarray(went)[300:].mean() == pytest.approx(k, abs=0.01)


def test_fixed_gate_explores_everywhere_and_keeps_no_statistic() -> None:
    interesting, new = apply_gate(
        setup_of("fixed"), RunningMean(), rollout_of(jnp.zeros((3, 2))), jnp.zeros((3, 2, 2))
    )
    assert interesting.all() and interesting.shape == (2, 2)
    assert float(new.weight) == 0.0


@settings(deadline=None, max_examples=10)
@given(st.floats(0.05, 20.0))
def test_disagreement_alone_is_scaled_by_its_running_mean(mean: float) -> None:
    magnitudes = RunningMean((3,)).update(jnp.full(3, mean, jnp.float32))
    scale = channel_scale(setup_of("sensei"), magnitudes)
    np.testing.assert_allclose(scale, [1.0, mean, 1.0], rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_only_rewards_of_the_agents_own_are_centred(method: str) -> None:
    config = dataclasses.replace(CONFIG, centre_rewards=True, task_weight=1.0)
    setup = setup_of(method, config=config)
    means = jnp.arange(1.0, 1.0 + len(setup.channels))
    magnitudes = RunningMean((len(means),)).update(means)
    own = [c.name != "task" for c in setup.channels]
    np.testing.assert_allclose(channel_offset(setup, magnitudes), means * jnp.array(own), rtol=1e-6)
    assert not channel_offset(setup_of(method), magnitudes).any()


CENTRED = dataclasses.replace(CONFIG, centre_rewards=True)


@pytest.mark.parametrize("method", METHODS)
def test_only_values_of_the_agents_own_rewards_have_a_level(method: str) -> None:
    """(3 · 4 + 1 · 8)/4 = 5, the mean of the values by the weight of their states."""
    setup = setup_of(method, config=CENTRED)
    values = jnp.tile(jnp.array([[4.0], [8.0]]), (len(setup.channels), 1, 1))
    level = channel_level(setup, values, jnp.array([[3.0], [1.0]]))
    own = [c.name != "task" for c in setup.channels]
    np.testing.assert_allclose(level, 5.0 * np.array(own, float))
    assert not channel_level(setup_of(method), values, jnp.ones((2, 1))).any()


def test_what_follows_an_end_counts_nothing() -> None:
    """(1·1 + ½·4)/1½ = 2, whatever is imagined of the state that cannot be reached."""
    weight = jnp.array([[1.0, 0.0], [0.5, 0.0]])
    assert float(over_states(jnp.array([[1.0, 50.0], [4.0, -9.0]]), weight)) == 2.0
    assert float(over_states(jnp.ones((2, 2)), jnp.zeros((2, 2)))) == 0.0


def test_an_end_is_worth_an_average_state_where_rewards_are_centred() -> None:
    """All states are worth 30 and no reward follows: to end there or not is the same. Otherwise the
    end loses what the values promise."""
    discount = jnp.full((3, 2), GAMMA).at[1:, 0].set(0.0)
    zeros, values = jnp.zeros((1, 3, 2)), jnp.full((1, 4, 2), 30.0)
    for centre in (True, False):
        setup = setup_of("vlm", config=dataclasses.replace(CENTRED, centre_rewards=centre))
        setup = dataclasses.replace(setup, channels=setup.channels[:1])
        returns = channel_returns(setup, zeros, discount, values, jnp.ones((3, 2)))[0, 0]
        np.testing.assert_allclose(returns[0], 0.0 if centre else GAMMA * 0.05 * 30.0, atol=1e-4)
        assert (float(returns[1]) == pytest.approx(0.0, abs=1e-4)) == centre


def test_values_relative_to_their_level_settle_though_no_reward_is_discounted_away() -> None:
    """Two states that follow each other by chance, a reward of 1 on leaving the second: the states
    differ by exactly that, and the level is what H steps bring before the first value counts,
    ½ Σ_{k < 4} (γλ)^k. All 32 sequences of five states stand for chance."""
    setup = setup_of("vlm", config=CENTRED)
    setup = dataclasses.replace(setup, channels=setup.channels[:1])
    states = jnp.array(list(itertools.product([0, 1], repeat=5))).T
    value = jnp.zeros(2)
    for _ in range(5):
        returns = channel_returns(
            setup,
            states[None, :-1].astype(jnp.float32),
            jnp.full((4, 32), GAMMA),
            value[states][None],
            jnp.ones((4, 32)),
        )[0, 0]
        value = jnp.array([returns[states[0] == s].mean() for s in (0, 1)])
    level = 0.5 * sum((GAMMA * CONFIG.lambda_) ** k for k in range(4))
    np.testing.assert_allclose(value, [level - 0.5, level + 0.5], rtol=1e-4)


PLAIN = AgentConfig()
METHOD_CHANNELS = {
    "sensei": [("semantic", 0.25, 1.0), ("disagreement", 1.0, 0.05)],
    "fixed": [("semantic", 0.25, 1.0), ("disagreement", 1.0, 0.05)],
    "p2e": [("disagreement", 1.0, 1.0)],
    "vlm": [("semantic", 1.0, 1.0)],
    "dreamer": [("task", 1.0, 1.0)],
    "rnd": [("rnd", 1.0, 1.0)],
    "random": [],
}


@pytest.mark.parametrize("method", METHODS)
def test_channels_of_each_method(method: str) -> None:
    """Name, explore weight, go weight; only what shrinks as it is learned is normalised."""
    channels = method_channels(method, PLAIN)
    assert [(c.name, c.explore, c.go) for c in channels] == METHOD_CHANNELS[method]
    assert all(c.normalise == (c.name in ("disagreement", "rnd")) for c in channels)
    assert method_gate(method, PLAIN) == ("reward" if method == "sensei" else "fixed")


@pytest.mark.parametrize("method", METHODS)
def test_task_weight_adds_the_same_channel_on_both_sides(method: str) -> None:
    names = {c.name: (c.explore, c.go) for c in method_channels(method, CONFIG)}
    if method == "dreamer":
        assert names == {"task": (1.0, 1.0)}
    else:
        assert names.get("task") == (None if method == "random" else (0.5, 0.5))


def test_a_transitions_reward_is_that_of_the_state_it_arrives_in() -> None:
    semantic = jnp.array([[1.0], [2.0], [3.0]])
    channel = method_channels("vlm", PLAIN)[0]
    assert channel.reward(rollout_of(semantic))[:, 0].tolist() == [2.0, 3.0]
    rollout = dataclasses.replace(rollout_of(semantic), disagreement=jnp.array([[4.0], [5.0]]))
    assert method_channels("p2e", PLAIN)[0].reward(rollout)[:, 0].tolist() == [4.0, 5.0]


def test_a_channel_without_a_head_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"'success' is unknown.*task"):
        Setup(env=ENV, config=CONFIG, channels=(task(name="success"),), heads=("task",))
