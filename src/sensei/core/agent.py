"""The agent, what is fixed and what changes while it trains, and how it acts."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.actor_critic import Actor, make_critic
from sensei.core.config import AgentConfig, Gate
from sensei.core.ensemble import Ensemble
from sensei.core.nets import MLP, stack_modules
from sensei.core.novelty import Novelty
from sensei.core.optim import LaProp, LaPropState
from sensei.core.rssm import Latent
from sensei.core.scaling import RunningMean
from sensei.core.sensei import Channel
from sensei.core.world_model import Batch, WorldModel
from sensei.types import EnvSpec, UsageError

sg = jax.lax.stop_gradient
Metrics = dict[str, Float[Array, ""]]

INTRINSIC = ("semantic", "disagreement", "rnd")
"""Channels whose reward is the agent's own."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is fixed while an agent trains: compiled into the step."""

    env: EnvSpec
    config: AgentConfig
    channels: tuple[Channel, ...]
    gate: Gate = "fixed"
    heads: tuple[str, ...] = ("task",)
    """Reward heads of the world model; each needs rows of that name in a batch."""
    shaping: tuple[str, ...] = ()
    """Heads whose gradient shapes the representation: the task's in solve and dreamer, none in
    exploration."""

    def __post_init__(self) -> None:
        """Refuse a channel that nothing predicts."""
        missing = (set(self.replayed) | self.potentials) - set(self.heads)
        if missing:
            raise UsageError(
                f"reward {min(missing)!r} is unknown: this environment has {', '.join(self.heads)}"
            )

    @property
    def replayed(self) -> tuple[str, ...]:
        """Channels whose rewards the environment itself returned, so that replay holds them."""
        return tuple(c.name for c in self.channels if c.name not in INTRINSIC)

    @property
    def potentials(self) -> set[str]:
        """The heads that are a potential to some channel: R_ψ's, or none."""
        return {"semantic" for c in self.channels if c.potential}

    @property
    def imagined_heads(self) -> tuple[str, ...]:
        """The heads that some channel, or the gate, reads in imagination."""
        names = {c.name for c in self.channels} | self.potentials
        return tuple(h for h in self.heads if h in names)

    @property
    def distills(self) -> bool:
        """Whether some channel needs random network distillation."""
        return any(c.name == "rnd" for c in self.channels)

    @property
    def explores(self) -> bool:
        """Whether some channel needs the disagreement ensemble."""
        return any(c.name == "disagreement" for c in self.channels)


class Agent(eqx.Module):
    """Everything that a gradient trains, by name."""

    world_model: WorldModel
    ensemble: Ensemble | None
    novelty: Novelty | None
    actor: Actor
    critics: MLP
    """One value head a channel, stacked in the order of ``Setup.channels``."""

    def replace(self, **parts: Any) -> Agent:
        """Return the agent with parts replaced by attribute."""
        return dataclasses.replace(self, **parts)


class TrainState(eqx.Module):
    """Agent, optimiser and running statistics: what a checkpoint holds."""

    agent: Agent
    slow_critics: MLP
    optimiser: LaPropState
    returns: RunningMean
    """P5 and P95 of each channel's returns, (C, 2)."""
    magnitudes: RunningMean
    """Mean of each channel's raw reward, (C,)."""
    threshold: RunningMean
    """The gate's statistic."""
    key: PRNGKeyArray


def make_agent(setup: Setup, *, key: PRNGKeyArray) -> Agent:
    """Draw a fresh agent."""
    kw, ke, ka, kc = jax.random.split(key, 4)
    kn = jax.random.fold_in(ke, 1)
    env, config, size = setup.env, setup.config, setup.config.size
    model = WorldModel(env.obs, env.action, setup.heads, config, key=kw)
    feature = size.deter + size.stoch * size.classes
    return Agent(
        world_model=model,
        ensemble=Ensemble(env.action.size, size, key=ke) if setup.explores else None,
        novelty=Novelty(env.obs, config, key=kn) if setup.distills else None,
        actor=Actor(feature, env.action, size, config.unimix, key=ka),
        critics=stack_modules(
            lambda key: make_critic(feature, size, key=key), len(setup.channels), key=kc
        ),
    )


def make_state(setup: Setup, agent: Agent, *, key: PRNGKeyArray) -> TrainState:
    """Start training ``agent`` with fresh optimiser and statistics. The key is consumed."""
    count = len(setup.channels)
    return TrainState(
        agent=agent,
        slow_critics=jax.tree.map(jnp.array, agent.critics),
        optimiser=optimiser(setup.config).init(eqx.filter(agent, eqx.is_inexact_array)),
        returns=RunningMean((count, 2)),
        magnitudes=RunningMean((count,)),
        threshold=RunningMean(),
        key=key,
    )


def optimiser(config: AgentConfig) -> LaProp:
    """The one optimiser of everything."""
    return LaProp(config.learning_rate, warmup=config.warmup)


class Carry(NamedTuple):
    """What acting remembers between steps."""

    latent: Latent
    key: PRNGKeyArray


def start_acting(agent: Agent, count: int, *, key: PRNGKeyArray) -> Carry:
    """A fresh memory for ``count`` environments. The key is consumed."""
    return Carry(agent.world_model.rssm.initial((count,)), key)


@eqx.filter_jit
def act(
    agent: Agent, carry: Carry, rows: Batch, greedy: bool = False
) -> tuple[Carry, Float[Array, "N a"]]:
    """Look at one row per environment and choose its next action vector."""
    key, k_look, k_action = jax.random.split(carry.key, 3)
    model, first = agent.world_model, rows["is_first"]
    embed_in = model.rssm.posterior_embed(model.encoder(rows))
    action_in = model.rssm.action_in(jnp.where(first[:, None], 0.0, rows["prev_action"]))
    latent, _ = model.rssm.look(carry.latent, action_in, embed_in, first, key=k_look)
    policy = agent.actor(latent.feature)
    action = policy.mode() if greedy else policy.sample(key=k_action)
    return Carry(latent, key), action
