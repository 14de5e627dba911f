"""From a configuration to an annotator."""

from __future__ import annotations

import dataclasses
import re

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.human import Human
from sensei.annotate.mixed import Member, Mixed
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.types import UsageError

_MEMBER = re.compile(
    r"(?P<kind>oracle|noisy|vlm|text|human)"
    r"(@(?P<variant>(?!https?://)[^=@]+))?(@(?P<url>https?://[^=@]+))?(=(?P<weight>\d+(\.\d+)?))?"
)


def build_annotator(config: AnnotatorConfig) -> Annotator:
    """Make the annotator of a resolved configuration.

    Raises:
        UsageError: the configuration is not resolved, a person is wanted where no terminal is,
            an extra is missing, or a mixture is not described well.
    """
    if config.kind == "oracle":
        return Oracle(config.tie_margin)
    if config.kind == "noisy":
        return NoisyOracle.of(config)
    if config.kind == "vlm":
        from sensei.annotate.vlm import VisionModel  # its client takes a second to import

        return VisionModel(config)
    if config.kind == "text":
        from sensei.annotate.text import TextAnnotator

        return TextAnnotator(config)
    if config.kind == "human":
        return Human()
    if config.kind == "mixed":
        return _mixed(config)
    raise UsageError("annotator.kind is auto: resolve it first (sensei.annotate.annotator.resolve)")


def member_config(
    config: AnnotatorConfig, described: str, field: str
) -> tuple[AnnotatorConfig, float]:
    """Read ``KIND[@MODEL or @SEED][@URL][=WEIGHT]``: a configuration like ``config`` of another
    kind, and its weight.

    Raises:
        UsageError: it cannot be read; ``field`` is where it stands.
    """
    found = _MEMBER.fullmatch(described)
    if found is None:
        raise UsageError(
            f"{field} is {described!r}: write KIND, vlm@MODEL, vlm@MODEL@URL or noisy@SEED, each "
            "with =WEIGHT after it or without"
        )
    kind, variant, url = found["kind"], found["variant"], found["url"]
    new: dict[str, object] = {"kind": kind, "members": (), "second": ""}
    if kind == "vlm":
        new |= {"model": variant or config.model, "base_url": url or config.base_url}
    elif kind == "noisy" and not url and (variant or "0").isdecimal():
        new |= {"seed": int(variant)} if variant else {}
    elif variant or url:
        raise UsageError(
            f"{field} is {described!r}: only vlm takes @MODEL and @URL, and noisy a number @SEED"
        )
    weight = float(found["weight"] or 1.0)
    if weight <= 0:
        raise UsageError(f"{field} is {described!r}: give a weight above 0")
    return dataclasses.replace(config, **new), weight


def _mixed(config: AnnotatorConfig) -> Mixed:
    if len(config.members) < 2:
        raise UsageError(
            f"annotator.members is {list(config.members)}: a mixture needs two or more, say "
            "--annotator.members vlm=2 noisy=1"
        )
    members = []
    for described in config.members:
        own, weight = member_config(config, described, "annotator.members")
        members.append(Member(build_annotator(own), weight))
    names = [member.annotator.name for member in members]
    if len(set(names)) < len(names):
        raise UsageError(
            f"annotator.members is {list(config.members)}: two are the same; give another @MODEL "
            "or @SEED, or one =WEIGHT"
        )
    return Mixed(members)
