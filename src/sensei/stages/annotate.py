"""Stage 2, annotate: pairs of label frames → labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sensei.annotate.annotator import resolve
from sensei.annotate.build import build_annotator
from sensei.annotate.quality import quality
from sensei.annotate.run import annotate
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.presets import RunConfig
from sensei.run.progress import Progress
from sensei.run.workspace import Workspace
from sensei.stages.setups import stage_input
from sensei.types import SenseiError


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Draw this generation's pairs, ask about them, and measure the answers."""
    with LabelStore(workspace.labels) as store:
        source = stage_input(workspace, "explore") or stage_input(workspace, "collect")
        _draw(config, workspace, store, source)
        table = store.frame_table(source)
        has_oracle = bool(np.isfinite(table.score).any())
        who = resolve(config.annotator, has_oracle, config.env.name)
        annotator = build_annotator(who)
        workspace.say(f"annotate: {annotator.name} labels {store.count_pairs():,} pairs")
        with Progress("annotate", store.count_pairs(), "pairs") as progress:
            summary = annotate(
                store,
                annotator,
                who,
                lambda done, _, shown: progress.update(done, **shown),
                lambda estimate: workspace.say(f"annotate: {estimate}"),
            )
        if summary.pending and summary.stopped:
            workspace.say(f"annotate: {summary.pending} questions are open: {summary.stopped}")
        measured = dataclasses.asdict(quality(store))
        if not len(store.labels().select(store.labels().status == "labelled")):
            raise SenseiError(
                f"annotator {annotator.name} labelled no pair: {measured['verdict']}; "
                "choose another with --annotator"
            )
        return {
            "annotator": annotator.name,
            "run": dataclasses.asdict(summary),
            "quality": measured,
        }


def _draw(config: RunConfig, workspace: Workspace, store: LabelStore, source: str) -> None:
    """Draw what is missing of this generation's pairs."""
    generation = workspace.generation
    have = sum(p.generation == generation for p in store.pairs())
    missing = config.annotate.pairs - have
    if missing > 0:
        rng = np.random.default_rng([config.seed, 2, generation, have])
        drawn = draw(store, config.annotate.sampler, missing, rng, source, generation)
        if drawn.message:
            workspace.say(f"annotate: {drawn.message}")
