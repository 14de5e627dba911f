"""Does an explored world model know how the key is picked up?

    python benchmarks/pick_ups.py RUN --json results/keychest/pick-ups-seed1.json \\
        --figure docs/pick-ups.png
    python benchmarks/pick_ups.py RUN --seen-by OTHER --json …

Of every episode of D_init in which the vector's first entry, a bit, goes on: the world model that
exploration left looks at what was seen until three steps before, and dreams along the actions
taken. How many dreams have the bit on at the step at which it really went on, and how well are the
pictures drawn before (an object in sight) and after?
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

from sensei.core.dists import symlog
from sensei.core.world_model import Batch, WorldModel, flat_observations
from sensei.data.episodes import EpisodeStore
from sensei.data.replay import LEARNER_FIELDS
from sensei.envs import make_adapter
from sensei.presets import saved_config
from sensei.run.files import write_json
from sensei.run.metrics import read_metrics
from sensei.run.workspace import Workspace
from sensei.stages.setups import explored_world_model

LOOKED, AHEAD, AFTER = 22, 3, 5
"""Rows that are looked at, steps dreamed up to the change, and rows kept from the change on."""
DREAMS = 20
"""From each window."""
GAP = 6
"""Pixels between two windows of the figure."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Whose world model."""

    run: tyro.conf.Positional[Path]
    """A run with collected episodes and a begun explore stage."""
    seen_by: Path | None = None
    """A run of another seed, whose D_init is looked at instead: needed where exploration keeps its
    own D_init, because then the world model has learned from it."""
    shown: int = 4
    """Windows in the figure: what was seen, what is drawn while looking, and a dream."""
    json: Path | None = None
    figure: Path | None = None


def main(args: Args) -> None:
    """Print, save and draw."""
    workspace = Workspace(args.run)
    config = saved_config(workspace)
    spec = make_adapter(config.env, 0).spec
    model = explored_world_model(config, spec, workspace, "explore")
    seen_by = args.seen_by or args.run
    if config.explore.keep_collected and seen_by == args.run:
        raise SystemExit(f"{args.run} has learned from its D_init: give --seen-by another run")
    windows = changes(EpisodeStore.open(seen_by / "collect" / "episodes", read_only=True))
    drawn, dreamt, on = look(model, windows)
    error = np.square(drawn - np.asarray(windows["image"]) / 255.0).sum((2, 3, 4))
    at = LOOKED + AHEAD - 1
    last = [r for r in read_metrics(workspace.metrics.path) if r["stage"] == "explore"][-1]
    found: dict[str, Any] = {
        "method": config.explore.method,
        "seed": config.seed,
        "explored_steps": last["step"],
        "updates": last["update"],
        "changes": len(error),
        "dreamt": float(on.mean()),
        "dreamt_in_half_of_the_dreams": float((on >= 0.5).mean()),
        "image_before": float(error[:, LOOKED - 1 : at].mean()),
        "image_after": float(error[:, at:].mean()),
    }
    print(json.dumps(found, indent=2))
    if args.json:
        write_json(args.json, found)
    if args.figure:
        draw(np.asarray(windows["image"]), drawn, dreamt, args)


def changes(store: EpisodeStore) -> Batch:
    """A window for each time that the bit goes on, (N, LOOKED + AHEAD − 1 + AFTER, …)."""
    bit, first = store.column("vector")[..., 0] > 0.5, store.column("is_first")
    length, windows = LOOKED + AHEAD - 1 + AFTER, []
    for env, t in np.argwhere(bit[:, 1:] & ~bit[:, :-1]):
        start = t + 1 - (LOOKED + AHEAD - 1)
        if 0 <= start <= bit.shape[1] - length and not first[env, start : start + length].any():
            windows.append(store.window(int(env), store.oldest + int(start), length))
    names = [name for name in LEARNER_FIELDS if name in windows[0]]
    batch = {name: np.stack([w[name] for w in windows]) for name in names}
    batch["is_first"][:, 0] = True
    return batch


@eqx.filter_jit
def look(model: WorldModel, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pictures drawn while looking, (N, T, h, w, c), and in a dream, (N, AHEAD, h, w, c), and the
    share of dreams with the bit on at their end, (N,)."""
    n, t = batch["is_first"].shape
    rssm, key = model.rssm, jax.random.key(0, impl="rbg")
    embed = model.encoder(flat_observations(batch)).reshape(n, t, -1)
    actions, first = batch["prev_action"], batch["is_first"]
    latent, _ = rssm.observe(rssm.initial((n,)), embed, actions, first, key=key)
    picture = model.decoder.image
    assert picture is not None and model.decoder.vector is not None

    def dream(key: jax.Array) -> jax.Array:
        state, features = jax.tree.map(lambda x: x[:, LOOKED - 1], latent), []
        for step, k in enumerate(jax.random.split(key, AHEAD)):
            state = rssm.imagine(state, actions[:, LOOKED + step], key=k)
            features.append(state.feature)
        return jnp.stack(features, 1)

    dreams = jnp.stack([dream(k) for k in jax.random.split(key, DREAMS)])
    bits = model.decoder.vector(dreams[:, :, -1])[..., 0] > symlog(jnp.array(0.5))

    def pictures(feature: jax.Array) -> jax.Array:
        flat = picture.grid.to_image(picture(feature.reshape(-1, feature.shape[-1])))
        return flat.reshape(*feature.shape[:2], *flat.shape[1:])

    return pictures(latent.feature), pictures(dreams[0]), jnp.mean(bits, 0)


def draw(seen: np.ndarray, drawn: jax.Array, dreamt: jax.Array, args: Args) -> None:
    """Three rows a window: seen, drawn while looking, dreamt; from before the dream to its end."""
    assert args.figure is not None
    span, blocks = slice(LOOKED - 2, LOOKED + AHEAD), []
    chosen = np.linspace(0, len(seen) - 1, args.shown).astype(int)
    for i in chosen:
        dark = np.zeros((2, *seen.shape[2:]))
        three = (seen[i, span] / 255.0, drawn[i, span], np.concatenate([dark, dreamt[i]]))
        block = np.concatenate([np.concatenate(list(np.asarray(x)), axis=1) for x in three])
        blocks.append(np.pad(block, ((0, GAP), (0, GAP), (0, 0)), constant_values=1.0))
    half = (len(blocks) + 1) // 2
    columns = [np.concatenate(blocks[at : at + half]) for at in (0, len(blocks) - half)]
    picture = (np.clip(np.concatenate(columns, axis=1), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(picture).save(args.figure)


if __name__ == "__main__":
    main(tyro.cli(Args))
