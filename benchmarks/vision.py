"""Compare the world model's patches with plain convolutions.

    sensei collect keychest --budget quick --dir runs/vision
    python benchmarks/vision.py runs/vision --json results/bench/vision.json

The world model alone learns from recorded episodes, with the quick preset's batch and learning
rate, once with patches and once with DreamerV3's convolutions of as many parameters; what it is
measured on are episodes that it never learned from. The file is written after every seed, and the
same command again goes on from it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro

from convolutions import with_convolutions
from sensei.core.agent import optimiser
from sensei.core.config import AgentConfig
from sensei.core.optim import LaPropState, clip
from sensei.core.rssm import Latent
from sensei.core.world_model import Batch, WorldModel, world_model_losses
from sensei.data.episodes import EpisodeStore
from sensei.data.replay import LEARNER_FIELDS
from sensei.envs import make_env, wrap_env
from sensei.presets import preset
from sensei.run import machine
from sensei.types import EnvSpec

KINDS = ("patches", "convolutions")
CONTEXT, AHEAD = 5, 15
"""Steps seen, and steps then predicted without seeing."""
SEEN = ("image", "vector", "prev_action")
HELD_OUT = 0.1
"""Share of the recorded rows, the last ones, that nothing is learned from."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is compared on which episodes."""

    run: tyro.conf.Positional[Path]
    """A run whose collect stage is finished."""
    env: str = "keychest"
    seeds: int = 3
    updates: int = 600
    every: int = 100
    """Updates between two measurements."""
    windows: int = 128
    """Held-out windows that are measured."""
    json: Path = Path("results/bench/vision.json")
    figure: Path | None = None
    """Draw the curves here."""


def main(args: Args) -> None:
    """Train what the file does not hold yet."""
    config = preset(args.env, "quick").agent
    spec = wrap_env(make_env(args.env)).spec
    episodes = Episodes(EpisodeStore.open(args.run / "collect" / "episodes", read_only=True))
    held_out = episodes.held_out(args.windows)
    settings = {
        "env": args.env,
        "updates": args.updates,
        "every": args.every,
        "windows": args.windows,
        "batch": [config.batch, config.length],
        "learning_rate": config.learning_rate,
    }
    found = {"repeated_picture": repeated_picture(held_out)} | begun(args.json, settings)
    for seed in range(args.seeds):
        for kind in KINDS:
            if f"{kind}-{seed}" not in found["runs"]:
                learner = Learner(kind, seed, spec, config)
                found["runs"][f"{kind}-{seed}"] = learner.learn(args, episodes, held_out)
                save(found, args.json)
    if args.figure:
        draw(found, args.figure)


def save(found: dict[str, Any], path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


def begun(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What the file holds already, or its head.

    Raises:
        ValueError: it was measured with other settings.
    """
    if not path.exists():
        return {"settings": settings, "cpu": machine.hardware()["cpu"], "runs": {}}
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != json.loads(json.dumps(settings)):
        raise ValueError(f"{path} was measured with {found['settings']}: move it away")
    return found


class Episodes:
    """Recorded rows: all but the last are learned from, windows inside one of the last episodes are
    measured."""

    def __init__(self, store: EpisodeStore) -> None:
        self.store = store
        self.cut = int(store.steps * (1 - HELD_OUT))

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        """Draw windows to learn from, each field (B, T, ...)."""
        envs = rng.integers(self.store.num_envs, size=batch)
        starts = rng.integers(self.store.oldest, self.cut - length + 1, size=batch)
        return self._stack(zip(envs.tolist(), starts.tolist(), strict=True), length)

    def held_out(self, count: int) -> Batch:
        """The windows to measure: always the same ones."""
        rng, length = np.random.default_rng(0), CONTEXT + AHEAD
        refs = [r for r in self.store.episodes() if r.start >= self.cut]
        refs = [r for r in refs if r.stop - r.start >= length]
        chosen = [refs[i] for i in rng.integers(len(refs), size=count)]
        starts = [int(rng.integers(r.start, r.stop - length + 1)) for r in chosen]
        return self._stack(zip([r.env for r in chosen], starts, strict=True), length)

    def _stack(self, places: Any, length: int) -> Batch:
        windows = [self.store.window(env, start, length) for env, start in places]
        names = [name for name in LEARNER_FIELDS if name in windows[0]]
        batch = {name: np.stack([w[name] for w in windows]) for name in names}
        batch["is_first"][:, 0] = True  # a window starts without the state that led to it
        return batch | {"task": batch["reward"]}


class Learner:
    """One world model, its optimiser and its clock."""

    def __init__(self, kind: str, seed: int, spec: EnvSpec, config: AgentConfig) -> None:
        self.name, self.seed, self.config = f"{kind}-{seed}", seed, config
        self.key, k_model, k_vision = jax.random.split(jax.random.key(seed, impl="rbg"), 3)
        model = WorldModel(spec.obs, spec.action, ("task",), config, key=k_model)
        if kind == "convolutions":
            assert spec.obs.image
            model = with_convolutions(model, spec.obs.image, key=k_vision)
        self.model = model
        self.moments = optimiser(config).init(eqx.filter(model, eqx.is_inexact_array))

    def learn(self, args: Args, episodes: Episodes, held_out: Batch) -> dict[str, Any]:
        """Train, and measure now and then."""
        rng = np.random.default_rng(self.seed)
        curve, wall, processor = [], [], []
        for update in range(1, args.updates + 1):
            batch = episodes.sample(rng, self.config.batch, self.config.length)
            self.key, key = jax.random.split(self.key)
            before = time.perf_counter(), time.process_time()
            self.model, self.moments = train(self.model, self.moments, batch, self.config, key)
            jax.block_until_ready(self.moments)
            wall.append(time.perf_counter() - before[0])
            processor.append(time.process_time() - before[1])
            if update % args.every == 0:
                curve.append({"update": update, **measure(self.model, held_out, self.config)})
                print(self.name, curve[-1]["image"], curve[-1]["open_loop"], wall[-1], flush=True)
        return {
            "parameters": count(self.model),
            "vision_parameters": count((self.model.encoder.image, self.model.decoder.image)),
            "seconds_median": statistics.median(wall),
            "processor_seconds_median": statistics.median(processor),
            "cores": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
            "curve": curve,
        }


@eqx.filter_jit
def train(
    model: WorldModel, moments: LaPropState, batch: Batch, config: AgentConfig, key: jax.Array
) -> tuple[WorldModel, LaPropState]:
    """One update of the world model, as exploration makes it: no reward shapes it."""

    def loss(model: WorldModel) -> jax.Array:
        losses, _ = world_model_losses(model, batch, config, (), key=key)
        scales = {"representation": config.representation_scale, "dynamics": config.dynamics_scale}
        return sum(scales.get(name, 1.0) * jnp.mean(x) for name, x in losses.items())

    grads = eqx.filter_grad(loss)(model)
    params = eqx.filter(model, eqx.is_inexact_array)
    updates, moments = optimiser(config).update(clip(grads, params, config.clip), moments)
    return eqx.apply_updates(model, updates), moments


def measure(model: WorldModel, held_out: Batch, config: AgentConfig) -> dict[str, Any]:
    """Errors of a picture (summed squares in [0, 1]) and KL in nats, means over the windows."""
    exact = dataclasses.replace(config, free_nats=0.0)
    errors = jax.tree.map(np.asarray, evaluate(model, held_out, exact))
    ahead = errors["ahead"].mean(0)
    return {
        "image": float(errors["image"].mean()),
        "kl": float(errors["dynamics"].mean()),
        "open_loop": float(ahead.mean()),
        "open_loop_steps": [round(float(x), 3) for x in ahead],
    }


@eqx.filter_jit
def evaluate(model: WorldModel, held_out: Batch, config: AgentConfig) -> dict[str, jax.Array]:
    """Losses while looking, (B, T); the pictures' errors after ``CONTEXT`` steps, (B, AHEAD)."""
    k_look, k_ahead = jax.random.split(jax.random.key(0, impl="rbg"))
    losses, latent = world_model_losses(model, held_out, config, (), key=k_look)

    def step(state: Latent, xs: tuple) -> tuple[Latent, jax.Array]:
        action, image, key = xs
        state = model.rssm.imagine(state, action, key=key)
        return state, model.decoder.losses(state.feature, image)["image"]

    later = {k: jnp.swapaxes(held_out[k][:, CONTEXT:], 0, 1) for k in SEEN if k in held_out}
    actions = later.pop("prev_action")
    start = jax.tree.map(lambda x: x[:, CONTEXT - 1], latent)
    keys = jax.random.split(k_ahead, AHEAD)
    _, ahead = jax.lax.scan(step, start, (actions, later, keys))
    return losses | {"ahead": ahead.T}


def repeated_picture(held_out: Batch) -> float:
    """The open-loop error of one who repeats the last picture seen."""
    pictures = held_out["image"].astype(np.float32) / 255.0
    error = np.square(pictures[:, CONTEXT:] - pictures[:, CONTEXT - 1 : CONTEXT])
    return float(error.sum((2, 3, 4)).mean())


def draw(found: dict[str, Any], path: Path) -> None:
    """Error against updates and against steps ahead, a line a seed."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for kind, colour in zip(KINDS, ("tab:blue", "tab:orange"), strict=True):
        runs = [run for name, run in found["runs"].items() if name.startswith(f"{kind}-")]
        for i, run in enumerate(runs):
            style: dict[str, Any] = {"color": colour, "label": kind if i == 0 else None}
            updates = [point["update"] for point in run["curve"]]
            for ax, key in zip(axes, ("image", "open_loop"), strict=False):
                ax.plot(updates, [point[key] for point in run["curve"]], "o-", **style)
            axes[2].plot(range(1, AHEAD + 1), run["curve"][-1]["open_loop_steps"], "o-", **style)
    for ax, title in zip(
        axes, ("reconstruction", "open loop", "open loop, at the end"), strict=True
    ):
        ax.set(title=title, xlabel="updates", ylabel="summed squared error")
        ax.spines[["top", "right"]].set_visible(False)
    axes[2].set_xlabel("steps ahead")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def count(part: Any) -> int:
    """Parameters of a part."""
    return sum(x.size for x in jax.tree.leaves(eqx.filter(part, eqx.is_inexact_array)))


if __name__ == "__main__":
    main(tyro.cli(Args))
