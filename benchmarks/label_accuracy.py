"""How right R_ψ becomes: by number of labels, share of wrong ones, and choice of pairs.

    python benchmarks/label_accuracy.py RUN --out results/labels/keychest.json
    python benchmarks/label_figures.py results/labels/keychest.json

Takes a run's label frames and puts a fifth of the episodes aside. Of the others it draws pairs,
lets the noisy oracle answer them and trains R_ψ, as the stages do; then it counts which pairs of
the frames put aside R_ψ orders as the exact oracle does. The file is written after every training;
started again, it continues.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from scipy.stats import mannwhitneyu

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.core.reward_model import RewardModel
from sensei.data.label_store import LabelStore
from sensei.data.label_tables import FrameTable
from sensei.data.pairs import draw
from sensei.fields import with_dotted
from sensei.presets import RunConfig, saved_config
from sensei.run.files import write_json
from sensei.run.progress import Progress
from sensei.run.workspace import Workspace
from sensei.stages.distill import (
    LabelledFrames,
    finish,
    fit,
    frame_logits,
    labelled_rows,
    load_frames,
    observations,
)
from sensei.stages.rounds import doubt_of
from sensei.stages.setups import blank_reward_model

Cell = dict[str, Any]
KEY = ("sampler", "flip_rate", "seed", "pairs")


@dataclasses.dataclass(frozen=True)
class Args:
    """Which frames, how many labels of which noise, and who chooses the pairs."""

    run: tyro.conf.Positional[Path]
    out: Path
    pairs: tuple[int, ...] = (200, 1_000, 5_000, 20_000)
    """Sizes of the label set; ``uncertain`` learns at each of them what to ask up to the next."""
    flips: tuple[float, ...] = (0.0, 0.1, 0.25, 0.4)
    seeds: tuple[int, ...] = (0, 1, 2)
    samplers: tuple[Literal["uniform", "uncertain"], ...] = ("uniform",)
    weight_decay: float | None = None
    """Another ``distill.weight_decay`` than the run's; give it a file of its own."""
    held_out: float = 0.2
    """Share of the episodes put aside for counting."""


@dataclasses.dataclass(frozen=True)
class Study:
    """The frames of a run, in memory."""

    config: RunConfig
    source: LabelStore
    labelled: np.ndarray
    """Ids of the frames that may be paired."""
    obs: dict[str, np.ndarray]
    """What the agent saw on the frames put aside."""
    score: np.ndarray
    """The oracle's score of them."""


def main(args: Args) -> None:
    """Train once for every cell of the table that the file does not hold yet."""
    with LabelStore(args.run / "labels.sqlite", must_exist=True) as source:
        study = prepare(args, source)
        cells = json.loads(args.out.read_text())["cells"] if args.out.exists() else []
        for seed, flip, sampler in itertools.product(args.seeds, args.flips, args.samplers):
            done = {tuple(cell[name] for name in KEY) for cell in cells}
            todo = [n for n in args.pairs if (sampler, flip, seed, n) not in done]
            for cell in curve(args, study, sampler, flip, seed, todo):
                cells.append(cell)
                write_json(args.out, facts(args, study) | {"cells": cells})
                print(json.dumps(cell), flush=True)


def prepare(args: Args, source: LabelStore) -> Study:
    """Split the frames by episode; the same for every cell."""
    config = saved_config(Workspace(args.run))
    if args.weight_decay is not None:
        config = with_dotted(config, {"distill.weight_decay": args.weight_decay})
    table = source.frame_table("collect")
    aside = put_aside(table, args.held_out)
    obs = observations(source.frames(table.id[aside], pictures=False))
    return Study(config, source, table.id[~aside], obs, table.score[aside])


def put_aside(table: FrameTable, share: float) -> np.ndarray:
    """Mark the frames of randomly chosen episodes, ``share`` of all of them."""
    _, episode = np.unique(np.stack([table.env, table.episode]), axis=1, return_inverse=True)
    episodes = np.random.default_rng(0).permutation(episode.max() + 1)
    return np.isin(episode.reshape(-1), episodes[: round(share * len(episodes))])


def curve(
    args: Args, study: Study, sampler: Any, flip: float, seed: int, todo: list[int]
) -> Iterator[Cell]:
    """Label ever more pairs, and train and measure R_ψ at each size that is to be done."""
    sizes = [n for n in args.pairs if todo and n <= max(todo)]
    config = with_dotted(study.config, {"seed": seed})
    who = AnnotatorConfig(kind="noisy", flip_rate=flip, seed=seed)
    doubt, data = None, None
    with tempfile.TemporaryDirectory() as folder, LabelStore(Path(folder) / "l") as store:
        if sizes:
            store.add_frames(study.source.frames(study.labelled, pictures=False))
        for n in sizes:
            have = store.count_pairs()
            rng = np.random.default_rng([seed, have])
            draw(store, sampler, n - have, rng, doubt=doubt)
            annotate(store, build_annotator(who), who)
            if n not in todo and sampler != "uncertain":
                continue
            data = data or load_frames(store)
            data = dataclasses.replace(data, labels=labelled_rows(store, data.ids))
            began = time.perf_counter()
            model, epochs = train(data, config)
            seconds = round(time.perf_counter() - began, 1)
            if n in todo:
                key = dict(zip(KEY, (sampler, flip, seed, n), strict=True))
                yield key | measure(model, study) | {"epochs": epochs, "seconds": seconds}
            doubt = doubt_of(model, data.obs, data.ids) if sampler == "uncertain" else None


def train(data: LabelledFrames, config: RunConfig) -> tuple[RewardModel, int]:
    """Distill as the stage does; return R_ψ and how many epochs it took."""
    with Progress(f"{len(data.labels)} labels", config.distill.epochs, "epochs") as progress:
        model, epochs = fit(blank_reward_model(config, data.spec), data, config, progress)
    return finish(model, data)[0], len(epochs)


def measure(model: RewardModel, study: Study) -> Cell:
    """Order the frames put aside by R_ψ, by a single member, and by R_ψ damped with κ = 1."""
    z = (frame_logits(model, study.obs) - model.offset[:, None]) / model.scale[:, None]
    members = np.asarray(z)
    accuracy, balanced = order_accuracy(members.mean(0), study.score)
    damped = order_accuracy(members.mean(0) - members.std(0), study.score)
    single = np.mean([order_accuracy(member, study.score) for member in members], axis=0)
    return {
        "accuracy": accuracy,
        "balanced": balanced,
        "damped": damped[0],
        "damped_balanced": damped[1],
        "single": single[0],
        "single_balanced": single[1],
    }


def order_accuracy(reward: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Share of the pairs of frames with different scores that the reward orders as the scores do.

    Every such pair is counted, equal rewards as one half. Returned are the share of all pairs, in
    which those of frequent scores weigh most, and the mean over all pairs of scores.
    """
    groups = [reward[score == level] for level in np.unique(score)]
    shares, weights = [], []
    for low, high in itertools.combinations(groups, 2):
        weights.append(len(low) * len(high))
        shares.append(mannwhitneyu(high, low, method="asymptotic").statistic / weights[-1])
    return float(np.average(shares, weights=weights)), float(np.mean(shares))


def facts(args: Args, study: Study) -> Cell:
    """What the cells have in common."""
    score, frames = np.unique(study.score, return_counts=True)
    return {
        "env": study.config.env.name,
        "frames": len(study.labelled),
        "frames_put_aside": {f"score {s:g}": int(n) for s, n in zip(score, frames, strict=True)},
        "distill": dataclasses.asdict(study.config.distill),
    }


if __name__ == "__main__":
    main(tyro.cli(Args))
