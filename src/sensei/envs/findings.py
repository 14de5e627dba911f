"""What was found in an environment and what is done with it, in plain lines."""

from __future__ import annotations

import dataclasses

from sensei.envs.contract import Adapter
from sensei.types import EnvSpec


@dataclasses.dataclass(frozen=True)
class Found:
    """What a worker has built."""

    spec: EnvSpec
    lines: list[str]
    """What was found in the environment and is done with it, for the user."""


def find_out(adapter: Adapter) -> Found:
    """Describe an environment."""
    return Found(adapter.spec, describe(adapter))


def describe(adapter: Adapter) -> list[str]:
    """Say what the agent sees and does, and which optional extras there are."""
    image = adapter.spec.obs.image
    lines = adapter.reader.said()
    if adapter.rendered and image is not None:
        lines.insert(0, f"image: from render() → {_size(image)} by area")
    if image is None:
        lines.append("image: none; the option render=true takes it from render()")
    elif len(adapter.reader.images) > 1:
        lines.append(f"images are stacked on channels: {_size(image)}")
    count = len(adapter.spec.obs.vector)
    lines += [f"vector: {count} numbers"] if len(adapter.reader.vectors) > 1 else []
    return [*lines, *adapter.codec.said, *_extras(adapter)]


def _extras(adapter: Adapter) -> list[str]:
    spec = adapter.spec
    return [
        f"annotators see: {_label_source(adapter)}",
        f"events: {_short(spec.events) or 'none (no info[events]), so the report counts none'}",
        f"extra rewards: {_short(spec.rewards) or 'none (no info[rewards])'}",
        f"text: {'yes' if spec.has_text else 'none (no info[text])'}",
        f"oracle: {'yes' if spec.has_oracle else 'none (no oracle_score())'}",
    ]


def _label_source(adapter: Adapter) -> str:
    if adapter.label is not None:
        return "render_label()"
    if adapter.spec.has_label_picture:
        return "render()"
    if adapter.spec.obs.image is not None:
        return "the image (no render_label())"
    return "nothing (no render_label(), no picture)"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _short(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
