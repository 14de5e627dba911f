"""Stage 2, annotate: pairs of label frames → labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sensei.annotate.annotator import resolve
from sensei.annotate.quality import quality
from sensei.annotate.second import build_second
from sensei.data.label_store import LabelStore
from sensei.presets import RunConfig
from sensei.run.workspace import Workspace
from sensei.stages.rounds import Rounds, together
from sensei.stages.setups import stage_input
from sensei.types import SenseiError


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Draw this generation's pairs, ask about them, and measure the answers."""
    with LabelStore(workspace.labels) as store:
        source = stage_input(workspace, "explore") or stage_input(workspace, "collect")
        has_oracle = bool(np.isfinite(store.frame_table(source).score).any())
        who = resolve(config.annotator, has_oracle, config.env.name)
        second = build_second(who)  # made before the first is asked: what is missing is said now
        rounds = Rounds(config, workspace, store, source)
        summary = together(rounds.ask(who))
        if summary.pending and summary.stopped:
            workspace.say(f"annotate: {summary.pending} questions are open: {summary.stopped}")
        if second:
            second.ask(store, rounds.pairs)
        measured = dataclasses.asdict(quality(store, summary.annotator))
        if not (store.labels(summary.annotator).status == "labelled").any():
            raise SenseiError(
                f"annotator {summary.annotator} labelled no pair: {measured['verdict']}; "
                "choose another with --annotator"
            )
        return {
            "annotator": summary.annotator,
            "run": dataclasses.asdict(summary),
            "quality": measured,
            "rounds": [dataclasses.asdict(entry) for entry in rounds.past],
            "stopped_early": rounds.stopped,
        }
