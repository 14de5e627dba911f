"""From a configuration to an annotator."""

from __future__ import annotations

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.types import UsageError


def build_annotator(config: AnnotatorConfig) -> Annotator:
    """Make the annotator of a resolved configuration.

    Raises:
        UsageError: the configuration is not resolved, asks for a person, or the vlm extra is
            missing.
    """
    if config.kind == "oracle":
        return Oracle(config.tie_margin)
    if config.kind == "noisy":
        return NoisyOracle.of(config)
    if config.kind == "vlm":
        from sensei.annotate.vlm import VisionModel  # its client takes a second to import

        return VisionModel(config)
    if config.kind == "human":
        raise UsageError("annotator human answers in a web page: run `sensei label RUN`")
    raise UsageError("annotator.kind is auto: resolve it first (sensei.annotate.annotator.resolve)")
