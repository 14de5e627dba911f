"""How soon the world model knows what is interesting, by its settings:

    sensei run keychest --budget quick --until distill --dir runs/tuning
    python benchmarks/world_model.py runs/tuning --json results/tuning/world-model.json
    python benchmarks/world_model.py runs/tuning --json results/tuning/dreams.json \\
        --tried dynamics --updates 500 --every 250 --windows 512
    python benchmarks/world_model.py runs/tuning --json results/tuning/overshooting.json \\
        --tried overshooting --updates 600 --every 300 --windows 512
    python benchmarks/world_model.py runs/tuning --json results/tuning/tiles-64.json --tried tiles
    sensei run keychest --budget quick --until distill --dir runs/tiles \\
        --env.image-size 60 --env.options.image_size 60 --agent.squares 5
    python benchmarks/world_model.py runs/tiles --json results/tuning/tiles-60.json --tried tiles
    python benchmarks/world_model.py RUN --seen-by OTHER --tried saliency \
        --json results/tuning/saliency.json --updates 600 --every 200 --windows 256

The world model alone learns from D_init with the run's own fields, each time with some of them
changed, and is measured on episodes that it never learned from: on what it sees, and on where it
dreams that the actions taken lead. The file is written after each setting, and the same command
again goes on from it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from overshooting import overshooting_losses
from sensei.core.agent import Setup, optimiser
from sensei.core.dists import symlog
from sensei.core.optim import LaPropState, clip
from sensei.core.reward_model import RewardModel, judge_with
from sensei.core.rssm import Latent
from sensei.core.training import loss_scales, with_rewards
from sensei.core.world_model import Batch, WorldModel, flat_observations, world_model_losses
from sensei.data.episodes import EpisodeStore
from sensei.data.replay import Replay
from sensei.envs import make_adapter
from sensei.fields import with_dotted
from sensei.presets import RunConfig, saved_config
from sensei.run import checkpoint, machine
from sensei.run.files import write_json
from sensei.run.workspace import Workspace
from sensei.stages.setups import blank_reward_model, exploration_setup
from vision import Episodes


def settings(
    rate: float, vectors: float, semantic: float, dynamics: float = 1.0
) -> dict[str, float]:
    """The fields of a learning rate and the weights of vectors, semantic reward and dynamics."""
    return {
        "agent.learning_rate": rate,
        "agent.vector_scale": vectors,
        "agent.semantic_scale": semantic,
        "agent.dynamics_scale": dynamics,
    }


HELD = "steps that dreams are held to"
"""No field of the configuration: ``overshooting.py``."""
WEIGHTS = {
    "rate 3e-4, weights 1 and 0": settings(3e-4, 1, 0),
    "rate 1e-3, weights 1 and 0": settings(1e-3, 1, 0),
    "rate 1e-3, weights 10 and 0": settings(1e-3, 10, 0),
    "rate 1e-3, weights 1 and 10": settings(1e-3, 1, 10),
    "rate 1e-3, weights 10 and 10": settings(1e-3, 10, 10),
    "rate 1e-3, weights 50 and 50": settings(1e-3, 50, 50),
    "rate 3e-3, weights 10 and 10": settings(3e-3, 10, 10),
    "rate 3e-4, weights 10 and 10": settings(3e-4, 10, 10),
}
DYNAMICS = {
    "rate 1e-3, dynamics 1": settings(1e-3, 10, 10),
    "rate 1e-3, dynamics 10": settings(1e-3, 10, 10, 10),
    "rate 3e-3, dynamics 1": settings(3e-3, 10, 10),
    "rate 3e-3, dynamics 10": settings(3e-3, 10, 10, 10),
}
OVERSHOOTING = {"quick": {}, "quick, dreams of 15 steps held to what followed": {HELD: 15}}
TILES = {
    f"{side} pixels, {squares} × {squares} squares": {
        "env.image_size": side,
        "env.options.image_size": side,
        "agent.squares": squares,
    }
    for side, squares in ((64, 4), (60, 5))
}
"""Those of the run's own pictures are tried."""
SALIENCY = {f"c = {scale}": {"agent.saliency_scale": float(scale)} for scale in (0, 40)}
SETTINGS = {
    "weights": WEIGHTS,
    "dynamics": DYNAMICS,
    "overshooting": OVERSHOOTING,
    "tiles": TILES,
    "saliency": SALIENCY,
}
"""Fields that are tried, by name."""


@dataclasses.dataclass(frozen=True)
class Args:
    """On which episodes, and for how long."""

    run: tyro.conf.Positional[Path]
    """A run whose distill stage is finished."""
    seen_by: Path | None = None
    """A run of another seed, whose D_init is measured. Then all of the run's own is learned from,
    and a share of it through rises of R_ψ, as the run's ``explore.rise_share`` says."""
    tried: Literal["weights", "dynamics", "overshooting", "tiles", "saliency"] = "weights"
    updates: int = 400
    every: int = 100
    """Updates between two measurements."""
    windows: int = 128
    """Held-out windows that are measured."""
    seed: int = 0
    json: Path = Path("results/tuning/world-model.json")


def main(args: Args) -> None:
    """Try what the file does not hold yet."""
    own = saved_config(Workspace(args.run))
    spec = make_adapter(own.env, 0).spec
    blank = blank_reward_model(own, spec.obs)
    reward_model = checkpoint.load(args.run / "reward" / "reward.safetensors", blank)[0]
    learned, held_out = episodes(args, own.explore.rise_share, reward_model)
    cpu = machine.hardware()["cpu"]
    head = {"cpu": cpu, "env": own.env.name, "seed": args.seed, "settings": {}}
    found = json.loads(args.json.read_text()) if args.json.exists() else head
    for name, fields in SETTINGS[args.tried].items():
        if (
            name in found["settings"]
            or fields.get("env.image_size", own.env.image_size) != own.env.image_size
        ):
            continue
        changed = {field: value for field, value in fields.items() if field != HELD}
        config = with_dotted(own, changed)
        setup = exploration_setup(config, spec, "sensei")
        found["settings"][name] = {"fields": fields} | learn(
            config, setup, reward_model, learned, held_out, args, int(fields.get(HELD, 0))
        )
        write_json(args.json, found)


def episodes(
    args: Args, rise_share: float, reward_model: RewardModel
) -> tuple[Episodes | Replay, Batch]:
    """What is learned from, and what is measured."""
    store = EpisodeStore.open(args.run / "collect" / "episodes", read_only=True)
    if args.seen_by is None:
        return Episodes(store), Episodes(store).held_out(args.windows)
    replay = Replay([store], rise_share)
    replay.look(judge_with(reward_model))
    other = EpisodeStore.open(args.seen_by / "collect" / "episodes", read_only=True)
    return replay, Episodes(other).held_out(args.windows)


def learn(
    config: RunConfig,
    setup: Setup,
    reward_model: RewardModel,
    learned: Episodes | Replay,
    held_out: Batch,
    args: Args,
    held: int = 0,
) -> dict[str, Any]:
    """Train one world model; return how well it knew held-out steps on the way.

    ``held`` is how many steps of a dream are held to what really followed.
    """
    key, k_model = jax.random.split(jax.random.key(args.seed, impl="rbg"))
    env = setup.env
    model = WorldModel(env.obs, env.action, setup.heads, config.agent, key=k_model)
    moments = optimiser(config.agent).init(eqx.filter(model, eqx.is_inexact_array))
    rng = np.random.default_rng(args.seed)
    curve, begun = [], time.process_time()
    for update in range(1, args.updates + 1):
        batch = learned.sample(rng, config.agent.batch, config.agent.length)
        key, k_step = jax.random.split(key)
        model, moments = train((setup, reward_model, batch), model, moments, k_step, held)
        if update % args.every == 0:
            measured = jax.tree.map(float, measure((setup, reward_model, held_out), model))
            curve.append({"update": update, **measured})
            print(config.agent.learning_rate, curve[-1], flush=True)
    seconds = (time.process_time() - begun) / args.updates
    load = os.getloadavg()[0]
    return {"processor_seconds_an_update": seconds, "load": load, "curve": curve}


@eqx.filter_jit(donate="all-except-first")
def train(
    fixed: tuple[Setup, RewardModel, Batch],
    model: WorldModel,
    moments: LaPropState,
    key: jax.Array,
    held: int,
) -> tuple[WorldModel, LaPropState]:
    """One update of the world model, weighed as in ``core.training``."""
    setup, reward_model, batch = fixed
    batch, scales = with_rewards(batch, reward_model, setup), loss_scales(setup)
    scales |= {f"dream_{name}": scales[f"reward_{name}"] for name in setup.shaping}
    scales |= {"dream_vector": scales["vector"]} if "vector" in scales else {}

    def loss(model: WorldModel) -> jax.Array:
        losses, latent = world_model_losses(model, batch, setup.config, setup.shaping, key=key)
        if held:
            losses |= overshooting_losses(model, latent, batch, held, setup.shaping, key=key)
        return sum((scales[name] * jnp.mean(x) for name, x in losses.items()), jnp.zeros(()))

    grads = eqx.filter_grad(loss)(model)
    params = eqx.filter(model, eqx.is_inexact_array)
    updates, moments = optimiser(setup.config).update(
        clip(grads, params, setup.config.clip), moments
    )
    return eqx.apply_updates(model, updates), moments


@eqx.filter_jit
def measure(fixed: tuple[Setup, RewardModel, Batch], model: WorldModel) -> dict[str, jax.Array]:
    """Mean errors of the picture (summed squares) and the vector, and how well R_ψ is predicted:
    from what is seen, and after half a window of dreaming along the actions taken.

    ``salient_error``: of the picture where R_ψ looks, weighed by its saliency, for one pixel.
    """
    setup, reward_model, batch = fixed
    batch, key = with_rewards(batch, reward_model, setup), jax.random.key(0, impl="rbg")
    even = dataclasses.replace(setup.config, saliency_scale=0.0)
    losses, latent = world_model_losses(model, batch, even, (), key=key)
    predicted = model.predict_reward("semantic", latent.feature)
    errors = {name: jnp.mean(losses[name]) for name in ("image", "vector") if name in losses}
    return errors | {
        "semantic_correlation": correlation(predicted, batch["semantic"]),
        "semantic_error": jnp.mean(jnp.abs(predicted - batch["semantic"])),
        "salient_error": salient_error(model, latent, batch, reward_model),
        **dreams(model, latent, batch, key),
    }


def salient_error(
    model: WorldModel, latent: Latent, batch: Batch, reward_model: RewardModel
) -> jax.Array:
    """The squared error of a pixel, its three colours together, weighed by what R_ψ looks at."""
    seen, decoder = flat_observations(batch), model.decoder.image
    assert decoder is not None
    weight = decoder.grid.spread(reward_model.saliency(seen))
    drawn = decoder(latent.feature.reshape(len(weight), -1))
    error = jnp.square(drawn - decoder.grid.to_patches(seen["image"]) / 255.0)
    return decoder.grid.image[-1] * jnp.sum(weight * error) / jnp.sum(weight)


def dreams(model: WorldModel, latent: Latent, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
    """Dream along the second half of the windows in which no episode begins there.

    ``dream_correlation`` is that of the predicted reward at the end with R_ψ of what was really
    seen then; ``unchanged_correlation`` that of R_ψ at the beginning, which a dream that keeps
    everything as it is would reach. ``dream_vector``: the mean squared error of the vector. Of its
    first entry, a bit: the share of dreams that end with it though it was off at both ends
    (``dream_gains``), of those that end without it though it was on at both (``dream_loses``), and
    how often it really went on (``really_gained``).
    """
    half = batch["is_first"].shape[1] // 2
    actions = jnp.swapaxes(batch["prev_action"][:, half:], 0, 1)
    begin = jax.tree.map(lambda x: x[:, half - 1], latent)

    def step(state: Latent, xs: tuple[jax.Array, jax.Array]) -> tuple[Latent, None]:
        return model.rssm.imagine(state, xs[0], key=xs[1]), None

    end, _ = jax.lax.scan(step, begin, (actions, jax.random.split(key, len(actions))))
    whole = ~jnp.any(batch["is_first"][:, half:], axis=1)
    truth, before = batch["semantic"][:, -1], batch["semantic"][:, half - 1]
    found = {
        "dream_correlation": correlation(
            model.predict_reward("semantic", end.feature), truth, whole
        ),
        "unchanged_correlation": correlation(before, truth, whole),
    }
    if model.decoder.vector is not None:
        error = jnp.square(model.decoder.vector(end.feature) - symlog(batch["vector"][:, -1]))
        found["dream_vector"] = jnp.mean(jnp.sum(error, -1), where=whole)
        bit = model.decoder.vector(end.feature)[:, 0] > symlog(jnp.array(0.5))
        was, now = (batch["vector"][:, at, 0] > 0.5 for at in (half - 1, -1))
        found["dream_gains"] = jnp.mean(bit, where=whole & ~was & ~now)
        found["dream_loses"] = jnp.mean(~bit, where=whole & was & now)
        found["really_gained"] = jnp.mean(now, where=whole & ~was)
    return found


def correlation(x: jax.Array, y: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Pearson's, over the entries ``where`` the mask is true."""
    x = x - jnp.mean(x, where=where)
    y = y - jnp.mean(y, where=where)
    product = jnp.mean(x * y, where=where)
    return product / jnp.sqrt(jnp.mean(x * x, where=where) * jnp.mean(y * y, where=where))


if __name__ == "__main__":
    main(tyro.cli(Args))
