"""A second annotator on a share of the pairs: its answers measure the first, and train nothing."""

from __future__ import annotations

import dataclasses
import math

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator, member_config
from sensei.annotate.run import AnnotateSummary, annotate
from sensei.data.label_store import LabelStore
from sensei.types import UsageError


def ask_second(store: LabelStore, config: AnnotatorConfig, first: str) -> AnnotateSummary | None:
    """Ask ``annotator.second`` about the first ``annotator.second_share`` of the pairs.

    Args:
        store: with the pairs.
        config: resolved.
        first: name of the annotator whose labels are measured.

    Raises:
        UsageError: the second annotator is the first.
    """
    if not config.second:
        return None
    own, _ = member_config(config, config.second, "annotator.second")
    annotator = build_annotator(own)
    if annotator.name == first:
        raise UsageError(
            f"annotator.second is {config.second!r}, which is the first annotator itself: give "
            "another one, or --annotator.repeats 2 to see how far it agrees with itself"
        )
    wanted = math.ceil(config.second_share * store.count_pairs())
    seen = len(store.labels(annotator.name))
    return annotate(store, annotator, dataclasses.replace(own, max_pairs=max(0, wanted - seen)))
