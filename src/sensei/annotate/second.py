"""A second annotator on a share of the pairs: its answers measure the first, and train nothing."""

from __future__ import annotations

import dataclasses
import math

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.build import build_annotator, member_config
from sensei.annotate.run import AnnotateSummary, annotate
from sensei.data.label_store import LabelStore
from sensei.types import UsageError


@dataclasses.dataclass(frozen=True)
class Second:
    """Who looks at the pairs as well."""

    annotator: Annotator
    config: AnnotatorConfig

    def ask(self, store: LabelStore, pairs: int) -> AnnotateSummary:
        """Ask about the first ``annotator.second_share`` of ``pairs``, as far as still open."""
        wanted = math.ceil(self.config.second_share * pairs)
        left = max(0, wanted - len(store.labels(self.annotator.name)))
        return annotate(store, self.annotator, dataclasses.replace(self.config, max_pairs=left))


def build_second(config: AnnotatorConfig) -> Second | None:
    """Make the second annotator of a resolved configuration; None where there is none.

    Called before the first is asked, so that a mistake costs nothing.

    Raises:
        UsageError: it cannot be made, or is the first annotator itself.
    """
    if not config.second:
        return None
    own, _ = member_config(config, config.second, "annotator.second")
    if own == dataclasses.replace(config, members=(), second=""):
        raise UsageError(
            f"annotator.second is {config.second!r}, which is the first annotator itself: give "
            "another one, or --annotator.repeats 2 to see how far it agrees with itself"
        )
    return Second(build_annotator(own), own)
