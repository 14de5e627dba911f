"""What labels will cost, found out by buying the first few."""

from __future__ import annotations

import numpy as np

from sensei.annotate.annotator import resolve
from sensei.annotate.budget import PROBES, expected
from sensei.annotate.build import build_annotator
from sensei.annotate.run import estimate
from sensei.data.label_store import LabelStore
from sensei.data.pairs import draw
from sensei.presets import RunConfig
from sensei.run.workspace import Workspace


def price(config: RunConfig, workspace: Workspace) -> str:
    """Say what the annotate stage will take; a few pairs are drawn and asked if none were.

    They are the stage's first pairs and labels: it keeps them.

    Raises:
        SenseiError: there are no frames to label yet, or the annotator cannot work.
    """
    with LabelStore(workspace.labels, must_exist=True) as store:
        if not store.count_pairs():
            rng = np.random.default_rng([config.seed, 2, 1, 0])
            draw(store, config.annotate.sampler, PROBES, rng, "collect", generation=1)
        has_oracle = bool(np.isfinite(store.frame_table().score).any())
        who = resolve(config.annotator, has_oracle, config.env.name)
        annotator = build_annotator(who)
        estimate(store, annotator, who)
        each = who.repeats * (2 if who.orders == "both" else 1)
        done = int(np.sum(store.answers(annotator.name).status != "failed"))
        questions = max(0, config.annotate.pairs * each - done)
        said = expected(store, annotator.name, questions, who.concurrency)
    free = "" if said.tokens else ", no tokens"
    return f"annotate by {annotator.name}{free}: {said}"
