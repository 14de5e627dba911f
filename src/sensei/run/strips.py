"""Label frames: the picture of a moment, or a strip of that moment and one some steps later."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sensei.data.images import decode_png, encode_png, side_by_side
from sensei.data.records import Frame
from sensei.envs.contract import LabelView
from sensei.run.policies import Rows

GAP = 8
"""White pixels between the two moments."""
Make = Callable[[int, str, bytes], Frame]
"""Number of environment, text and PNG to a frame of the latest row."""


@dataclasses.dataclass(frozen=True)
class _Begun:
    """A strip whose second moment is still to come."""

    frame: Frame
    left: int
    """Steps until then."""


class Strips:
    """Turns the label views of N environments into frames.

    A frame is of its first moment, with that one's observation and score. Its second moment is
    ``steps`` later, or the episode's last. With 0 steps every view is a frame.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._begun: dict[int, _Begun] = {}

    def chance(self, share: float) -> float:
        """The chance with which a free environment has to begin, for frames of ``share`` of all
        steps: 1 / share = 1 / chance + steps."""
        return share / max(share, 1.0 - share * self.steps)

    def wanted(self, chosen: np.ndarray) -> np.ndarray:
        """Which environments' next views are needed, when frames of the ``chosen`` are to begin."""
        wanted = chosen.copy()
        wanted[list(self._begun)] = True
        return wanted

    def frames(self, rows: Rows, views: Sequence[LabelView | None], make: Make) -> Iterator[Frame]:
        """Take a round's rows and their views; yield the frames that they complete."""
        for env, view in enumerate(views):
            if view is None:
                continue
            begun, first = self._begun.pop(env, None), rows["is_first"][env]
            if begun is not None and first:  # the episode was lost with its worker
                continue
            if begun is None:
                begun = _Begun(make(env, view.text, encode_png(view.image)), self.steps)
            else:
                begun = dataclasses.replace(begun, left=begun.left - 1)
            if begun.left and not rows["is_last"][env]:
                self._begun[env] = begun
            elif self.steps:
                strip = side_by_side(decode_png(begun.frame.picture), view.image, GAP)
                yield dataclasses.replace(begun.frame, picture=encode_png(strip))
            else:
                yield begun.frame

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold; JSON-able."""
        return {
            str(env): {
                name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
                for name, value in (vars(begun.frame) | {"left": begun.left}).items()
            }
            for env, begun in self._begun.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        self._begun = {}
        for env, held in state.items():
            fields = dict(held)
            left = fields.pop("left")
            for name in ("picture", "obs"):
                fields[name] = fields[name] and base64.b64decode(fields[name])
            fields["vector"] = tuple(fields["vector"])
            self._begun[int(env)] = _Begun(Frame(**fields), left)
