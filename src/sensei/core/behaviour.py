"""Actor and critics on imagined rollouts, by the SENSEI rule; and on replay, for tasks."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sensei.core.actor_critic import actor_loss, critic_loss, lambda_return, shaped
from sensei.core.agent import Agent, Metrics, Setup, TrainState
from sensei.core.config import AgentConfig
from sensei.core.dists import two_hot_mean
from sensei.core.imagination import Rollout
from sensei.core.nets import MLP, evaluate_together, unstack
from sensei.core.scaling import RunningMean, quantiles, return_range
from sensei.core.sensei import Channel, gate, gate_statistic, sensei_advantage
from sensei.core.world_model import Batch

sg = jax.lax.stop_gradient


class Statistics(NamedTuple):
    """New values of the running statistics, computed along with the losses."""

    returns: RunningMean
    magnitudes: RunningMean
    threshold: RunningMean


def behaviour_losses(
    agent: Agent, state: TrainState, imagined: Rollout, setup: Setup
) -> tuple[dict[str, Array], Statistics, Metrics]:
    """Actor and critics on an imagined rollout, by the SENSEI rule."""
    config = setup.config
    discount = imagined.goes_on * (1.0 - 1.0 / config.discount_horizon)
    weight = jnp.cumprod(discount[:-1], axis=0) / (1.0 - 1.0 / config.discount_horizon)

    raw = jnp.stack([imagined_reward(c, imagined, discount[1:]) for c in setup.channels])
    magnitudes = state.magnitudes.update(over_states(raw, weight))
    offset, divisor = channel_offset(setup, magnitudes), channel_scale(setup, magnitudes)
    reward = (raw - offset[:, None, None]) / divisor[:, None, None]

    nets = [*unstack(agent.critics), agent.actor.net]
    *logits, policy_out = evaluate_together(nets, imagined.feature)
    values = sg(jnp.stack([two_hot_mean(x) for x in logits]))
    slow = channel_values(state.slow_critics, imagined.feature)[:, :-1]
    returns = channel_returns(setup, reward, discount[1:], values, weight)
    losses = {
        f"critic_{c.name}": weight * critic_loss(x[:-1], returns[i], slow[i])
        for i, (c, x) in enumerate(zip(setup.channels, logits, strict=True))
    }

    ends = jax.vmap(lambda r: quantiles(r, jnp.array([0.05, 0.95])))(returns)
    ranges = state.returns.update(ends)
    scale = return_range(ranges.value)[:, None, None]
    advantage = centred(setup, returns - values[:, :-1]) / scale
    interesting, threshold = apply_gate(setup, state.threshold, imagined, returns)
    mixed = sensei_advantage(
        advantage,
        interesting,
        explore=jnp.array([c.explore for c in setup.channels]),
        go=jnp.array([c.go for c in setup.channels]),
    )
    policy = agent.actor.policy(policy_out[:-1])
    losses["actor"] = weight * actor_loss(policy, imagined.action, mixed, config.entropy)
    metrics = {
        "sensei/go_fraction": 1.0 - jnp.mean(interesting.astype(jnp.float32)),
        "sensei/threshold": threshold.value,
        "sensei/entropy": jnp.mean(policy.entropy()),
    }
    for i, c in enumerate(setup.channels):
        metrics |= {
            f"channel/{c.name}_reward": over_states(raw[i], weight),
            f"channel/{c.name}_return": over_states(returns[i], weight),
            f"channel/{c.name}_range": scale[i, 0, 0],
            f"channel/{c.name}_advantage": jnp.mean(jnp.abs(advantage[i])),
        }
    return losses, Statistics(ranges, magnitudes, threshold), metrics


def imagined_reward(
    channel: Channel, imagined: Rollout, discount: Float[Array, "H N"]
) -> Float[Array, "H N"]:
    """A channel's reward of each imagined transition, and what it gains in potential."""
    reward = channel.reward(imagined)
    if not channel.potential:
        return reward
    return shaped(reward, discount, imagined.predicted["semantic"], channel.potential)


def centred(setup: Setup, advantage: Float[Array, "C H N"]) -> Float[Array, "C H N"]:
    """Remove each channel's mean: what all states share is the critic's error, not the actions'.

    With an exact critic it is 0 already. A critic that still lags behind a dense reward would give
    every sampled action a positive advantage, and the policy would lose its entropy on noise. Where
    values are taken relative to their level, the mean depends on how many rewards are still to come
    before the first of them, and is removed at each imagined step by itself.
    """
    by_step = jnp.array([c.centre for c in setup.channels])[:, None, None]
    each = jnp.mean(advantage, axis=2, keepdims=True)
    return advantage - jnp.where(by_step, each, jnp.mean(each, axis=1, keepdims=True))


def channel_values(critics: MLP, feature: Float[Array, "*n f"]) -> Float[Array, "C ..."]:
    """Every channel's critic's mean."""
    return jnp.stack([two_hot_mean(x) for x in evaluate_together(unstack(critics), feature)])


def channel_offset(setup: Setup, magnitudes: RunningMean) -> Float[Array, " C"]:
    """What is subtracted from each channel's reward: its running mean if it asks for that."""
    wanted = jnp.array([c.centre for c in setup.channels])
    return jnp.where(wanted, magnitudes.value, 0.0)


def channel_returns(
    setup: Setup,
    reward: Float[Array, "C H N"],
    discount: Float[Array, "H N"],
    values: Float[Array, "C H1 N"],
    weight: Float[Array, "H N"],
) -> Float[Array, "C H N"]:
    """λ-returns of every channel, from values relative to the channel's level.

    An episode's end, worth 0, is then worth as much as an average state (after relative value
    iteration, Abounadi et al. 2001). Without it a policy that ends up where rewards are above what
    is imagined on average shuns every end.
    """
    onward = values - channel_level(setup, values[:, :-1], weight)[:, None, None]
    returns = jax.vmap(lambda_return, (0, None, 0, None))
    return returns(reward, discount, onward, setup.config.lambda_)


def channel_level(
    setup: Setup, values: Float[Array, "C H N"], weight: Float[Array, "H N"]
) -> Float[Array, " C"]:
    """What is subtracted from each channel's values: their mean if its reward is centred."""
    wanted = jnp.array([c.centre for c in setup.channels])
    return jnp.where(wanted, over_states(values, weight), 0.0)


def over_states(x: Float[Array, "*c H N"], weight: Float[Array, "H N"]) -> Float[Array, "*c"]:
    """Mean over imagined states, each as often as it is reached: none that follow an end."""
    return jnp.sum(weight * x, axis=(-2, -1)) / jnp.maximum(jnp.sum(weight), 1e-8)


def channel_scale(setup: Setup, magnitudes: RunningMean) -> Float[Array, " C"]:
    """What each channel's reward is divided by: its running mean if it asks for that, else 1."""
    wanted = jnp.array([c.normalise for c in setup.channels])
    return jnp.where(wanted, jnp.maximum(magnitudes.value, 1e-8), 1.0)


def apply_gate(
    setup: Setup, threshold: RunningMean, imagined: Rollout, returns: Float[Array, "C H N"]
) -> tuple[Bool[Array, "H N"], RunningMean]:
    """Which imagined states are interesting, and the gate's new running statistic."""
    shape = imagined.action.shape[:2]
    if setup.gate == "fixed":
        return jnp.ones(shape, bool), threshold
    index = [c.name for c in setup.channels].index("semantic")
    here = imagined.predicted["semantic"][:-1]
    statistic = gate_statistic(setup.gate, here, returns[index], setup.config.quantile)
    new = threshold.update(statistic, setup.config.gate_decay)
    limit = jnp.maximum(1.0, new.biased) if setup.gate == "range" else new.value
    return gate(setup.gate, here, returns[index], limit), new


def replay_value_loss(
    critic: MLP,
    slow: MLP,
    feature: Float[Array, "B T f"],
    batch: Batch,
    channel: Channel,
    config: AgentConfig,
) -> Float[Array, "B T1"]:
    """Train a task's critic on replayed rewards too (DreamerV3, 2025).

    Where the episode is cut after a transition, the value there is bootstrapped; where it
    terminates, it is 0. A step into a reset is no transition and counts nothing, and a crashed
    environment starts anew without an ``is_last`` before.
    """
    logits = critic(feature)
    value = sg(two_hot_mean(logits)).T
    first, last, terminal = (batch[k].T for k in ("is_first", "is_last", "is_terminal"))
    cut = last.at[:-1].set(last[:-1] | first[1:])
    discount = (1.0 - 1.0 / config.discount_horizon) * (1.0 - terminal[1:])
    onward = config.lambda_ * (1.0 - cut[1:])
    reward = batch[channel.name].T[1:]
    if channel.potential:
        reward = shaped(reward, discount, batch["semantic"].T, channel.potential)
    target = lambda_return(reward, discount, value, onward).T
    slow_value = two_hot_mean(slow(feature[:, :-1]))
    return critic_loss(logits[:, :-1], target, slow_value) * ~cut[:-1].T
