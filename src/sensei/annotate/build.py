"""From a configuration to an annotator."""

from __future__ import annotations

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.human import Human
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.types import UsageError


def build_annotator(config: AnnotatorConfig) -> Annotator:
    """Make the annotator of a resolved configuration.

    Raises:
        UsageError: the configuration is not resolved, a person is wanted where no terminal is,
            or the vlm extra is missing.
    """
    if config.kind == "oracle":
        return Oracle(config.tie_margin)
    if config.kind == "noisy":
        return NoisyOracle.of(config)
    if config.kind == "vlm":
        from sensei.annotate.vlm import VisionModel  # its client takes a second to import

        return VisionModel(config)
    if config.kind == "human":
        return Human()
    raise UsageError("annotator.kind is auto: resolve it first (sensei.annotate.annotator.resolve)")
