"""How right R_ψ becomes, by number of labels and share of wrong ones.

    python benchmarks/label_accuracy.py runs/keychest-quick --out results/labels/keychest.json \
        --figure docs/label-accuracy.png

Takes a run's label frames, draws pairs, lets the noisy oracle answer them, trains R_ψ on the first
n pairs, and counts how often it orders pairs as the exact oracle does. The pairs that are counted
are of validation episodes and beyond the first n, so that no frame of theirs was trained on. The
file is written after every training; started again, it continues.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.core.distillation import Preferences
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.envs import make_adapter
from sensei.fields import updated
from sensei.presets import RunConfig
from sensei.run.progress import Progress
from sensei.run.workspace import Workspace
from sensei.stages.distill import LabelledFrames, accuracy_of, differences, fit, load_frames
from sensei.stages.setups import blank_reward_model

COUNTED = 10_000
"""Pairs drawn beyond the largest n; those of validation episodes (about 15 %) are counted."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Which frames, which sizes, which noise."""

    run: tyro.conf.Positional[Path]
    out: Path
    figure: Path | None = None
    pairs: tuple[int, ...] = (200, 1_000, 5_000, 20_000)
    flips: tuple[float, ...] = (0.0, 0.1, 0.25, 0.4)
    seed: int = 0


def main(args: Args) -> None:
    """Train once for every cell of the table that the file does not hold yet."""
    config = updated(RunConfig(), Workspace(args.run).config())
    cells = json.loads(args.out.read_text())["cells"] if args.out.exists() else []
    done = {(cell["flip_rate"], cell["pairs"]) for cell in cells}
    for flip in args.flips:
        todo = [n for n in args.pairs if (flip, n) not in done]
        data = labelled(args, flip) if todo else None
        for n in todo:
            assert data is not None
            cells.append({"flip_rate": flip, "pairs": n} | measure(data, n, config))
            write(args, config, cells)
            print(json.dumps(cells[-1]))
    if args.figure:
        draw_figure(cells, args.figure)


def labelled(args: Args, flip: float) -> LabelledFrames:
    """The run's frames with pairs that the noisy oracle answered."""
    source = LabelStore(args.run / "labels.sqlite", must_exist=True)
    with source, tempfile.TemporaryDirectory() as folder, LabelStore(Path(folder) / "l") as store:
        store.add_frames(source.frames(source.frame_table("collect").id, pictures=False))
        rng = np.random.default_rng(args.seed)
        draw(store, "uniform", max(args.pairs) + COUNTED, rng)
        who = AnnotatorConfig(kind="noisy", flip_rate=flip, seed=args.seed)
        annotate(store, build_annotator(who), who)
        return load_frames(store)


def measure(data: LabelledFrames, n: int, config: RunConfig) -> dict[str, Any]:
    """Train on the first n pairs; the accuracy on the later ones of validation episodes."""
    position = np.argsort(np.argsort(data.labels.pair))
    first = dataclasses.replace(data, labels=data.labels.select(position < n))
    adapter = make_adapter(config.env)
    began = time.perf_counter()
    with Progress(f"{n} pairs", config.distill.epochs, "epochs") as progress:
        model, curve = fit(blank_reward_model(config, adapter.spec), first, config, progress)
    adapter.close()
    labels = data.labels
    later = (position >= len(position) - COUNTED) & (labels.split == "val")
    counted = labels.select(later & (labels.true_order >= 0))
    obs = {name: jnp.asarray(value) for name, value in data.obs.items()}
    true = counted.true_order.astype(np.float32)
    pairs = Preferences(*map(jnp.asarray, (counted.first, counted.second, true)))
    _, difference = differences(model, obs, pairs)
    return {
        "accuracy": accuracy_of(difference, true),
        "counted_pairs": len(true),
        "epochs": len(curve),
        "seconds": round(time.perf_counter() - began, 1),
    }


def write(args: Args, config: RunConfig, cells: list[dict[str, Any]]) -> None:
    """Save the table so far."""
    frames = {"env": config.env.name, "frames": config.collect.label_frames, "seed": args.seed}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(frames | {"cells": cells}, indent=2) + "\n")


def draw_figure(cells: list[dict[str, Any]], path: Path) -> None:
    """One line a flip rate, accuracy over the number of pairs."""
    figure, axis = plt.subplots(figsize=(4.6, 3.0))
    for flip in sorted({cell["flip_rate"] for cell in cells}):
        line = sorted((c["pairs"], c["accuracy"]) for c in cells if c["flip_rate"] == flip)
        axis.plot(*zip(*line, strict=True), marker="o", label=f"{100 * flip:.0f} % wrong labels")
    axis.set_xscale("log")
    axis.set_xlabel("labelled pairs")
    axis.set_ylabel("pairs ordered as by the oracle")
    axis.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(tyro.cli(Args))
