"""The one training step: world model, ensemble and behaviour from one batch."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sensei.core.agent import Agent, Metrics, Setup, TrainState, optimiser
from sensei.core.behaviour import Statistics, behaviour_losses, replay_value_loss
from sensei.core.ensemble import transitions
from sensei.core.imagination import rollout
from sensei.core.nets import products_in, unstack
from sensei.core.novelty import standardised
from sensei.core.optim import clip, global_norm
from sensei.core.reward_model import RewardModel
from sensei.core.world_model import Batch, flat_observations, world_model_losses

sg = jax.lax.stop_gradient


@eqx.filter_jit(donate="all-except-first")
def train_step(
    fixed: tuple[Setup, RewardModel | None, Batch], state: TrainState
) -> tuple[TrainState, Metrics]:
    """One update of everything, from one batch of replayed rows.

    ``fixed`` is not consumed; ``state`` is (its buffers are donated). R_ψ looks at the batch here,
    so a better R_ψ relabels the whole replay for free.
    """
    setup, reward_model, batch = fixed
    key, k_loss = jax.random.split(state.key)
    batch = with_rewards(batch, reward_model, setup)
    compute = eqx.filter_value_and_grad(agent_loss, has_aux=True)
    with products_in(setup.config.precision):
        (_, (statistics, metrics)), grads = compute(state.agent, state, batch, setup, key=k_loss)
    params = eqx.filter(state.agent, eqx.is_inexact_array)
    grads = clip_parts(grads, params, setup.config.clip)
    updates, moments = optimiser(setup.config).update(grads, state.optimiser)
    pace = setup.config.actor_rate
    updates = updates.replace(actor=jax.tree.map(lambda x: pace * x, updates.actor))
    agent: Agent = eqx.apply_updates(state.agent, updates)
    rate = setup.config.slow_critic_rate
    slow = jax.tree.map(
        lambda s, c: s + rate * (c - s) if eqx.is_inexact_array(s) else s,
        state.slow_critics,
        agent.critics,
    )
    metrics["loss/gradient_norm"] = global_norm(grads)
    return TrainState(agent, slow, moments, *statistics, key), metrics


def with_rewards(batch: Batch, reward_model: RewardModel | None, setup: Setup) -> Batch:
    """Add one (B, T) entry for every reward head: the task's, the named extras', R_ψ's; and what
    R_ψ looks at, (B, T, y, x), where the picture's error is weighed by it."""
    b, t = batch["is_first"].shape
    batch = batch | {"task": batch["reward"]}
    for i, name in enumerate(setup.env.rewards):
        batch[name] = batch["rewards"][..., i]
    if reward_model is not None:
        flat = flat_observations(batch)
        batch["semantic"] = reward_model(flat).reshape(b, t)
        if setup.config.saliency_scale and "image" in flat:
            saliency = reward_model.saliency(flat)
            batch["saliency"] = saliency.reshape(b, t, *saliency.shape[1:])
    return batch


def clip_parts(grads: Agent, params: Agent, ratio: float) -> Agent:
    """Clip adaptively, and every network of a stack (ensemble members, critics) by itself."""
    clipped = clip(grads, params, ratio)
    critics = clip(grads.critics, params.critics, ratio, members=True)
    clipped = clipped.replace(critics=critics)
    if grads.ensemble is None:
        return clipped
    return clipped.replace(ensemble=clip(grads.ensemble, params.ensemble, ratio, members=True))


def agent_loss(
    agent: Agent, state: TrainState, batch: Batch, setup: Setup, *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], tuple[Statistics, Metrics]]:
    """The sum of all losses, in three paragraphs: world model, ensemble, behaviour.

    Each part is isolated by stopped gradients, so one backward pass serves them all.
    """
    config = setup.config
    k_model, k_imagine = jax.random.split(key)
    distilled = {}
    if agent.novelty is not None:
        error = agent.novelty.error(flat_observations(batch)).reshape(batch["is_first"].shape)
        distilled["novelty"] = error
        batch = batch | {"rnd": standardised(error)}
    losses, latent = world_model_losses(
        agent.world_model, batch, config, setup.shaping, key=k_model
    )
    losses |= distilled
    latent = sg(latent)
    feature = latent.feature

    if agent.ensemble is not None:
        pairs = transitions(feature, latent.stoch, batch["prev_action"], batch["is_first"])
        losses["ensemble"] = agent.ensemble.loss(*pairs)

    every = config.imagine_every
    start = jax.tree.map(lambda x: x[:, ::every].reshape(-1, *x.shape[2:]), latent)
    alive = 1.0 - batch["is_terminal"][:, ::every].reshape(-1).astype(jnp.float32)
    imagined = rollout(
        sg(agent.world_model), sg(agent.ensemble), sg(agent.actor), start, alive,
        horizon=config.horizon, heads=setup.imagined_heads, spread=config.disagreement,
        key=k_imagine,
    )  # fmt: skip
    behaviour, statistics, metrics = behaviour_losses(agent, state, imagined, setup)
    losses |= behaviour
    for i, channel in enumerate(setup.channels):
        if channel.name in setup.replayed:
            critic, slow = unstack(agent.critics)[i], unstack(state.slow_critics)[i]
            losses[f"replay_value_{channel.name}"] = replay_value_loss(
                critic, slow, feature, batch, channel, config
            )
    return total_loss(losses, setup), (statistics, metrics | summarise(losses, "loss"))


def loss_scales(setup: Setup) -> dict[str, float]:
    """The weight of every loss; its keys are exactly the losses of this setup."""
    config, obs = setup.config, setup.env.obs
    scales = {
        "dynamics": config.dynamics_scale,
        "representation": config.representation_scale,
        "continue": 1.0,
        "actor": 1.0,
    }
    scales |= {"image": 1.0} if obs.image else {}
    scales |= {"vector": config.vector_scale} if obs.vector else {}
    scales |= {f"reward_{name}": 1.0 for name in setup.heads}
    if "semantic" in setup.shaping:
        scales["reward_semantic"] = config.semantic_scale
    scales |= {f"critic_{c.name}": 1.0 for c in setup.channels}
    scales |= {"ensemble": 1.0} if setup.explores else {}
    scales |= {"novelty": 1.0} if setup.distills else {}
    return scales | {f"replay_value_{n}": config.replay_value_scale for n in setup.replayed}


def total_loss(losses: dict[str, Array], setup: Setup) -> Float[Array, ""]:
    """Scale and sum the means of all losses."""
    scales = loss_scales(setup)
    if losses.keys() != scales.keys():
        raise ValueError(f"losses {sorted(losses)} do not match scales {sorted(scales)}")
    return sum((scales[k] * jnp.mean(v) for k, v in losses.items()), jnp.zeros(()))


def summarise(losses: dict[str, Array], group: str) -> Metrics:
    """The mean of each loss, by name."""
    return {f"{group}/{k}": jnp.mean(v) for k, v in losses.items()}
