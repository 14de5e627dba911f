"""A person at a terminal, who is shown each pair as one picture."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from sensei.data.images import decode_png, side_by_side
from sensei.data.records import Answer, Choice, Frame
from sensei.types import UsageError

KEYS: dict[str, Choice] = {"1": "first", "2": "second", "t": "tie", "u": "unknown"}
"""What a person types, and what it means."""
GAP = 12
"""White pixels between the two pictures."""


def show_picture(path: Path) -> None:
    """Open a picture with the desktop's viewer, where there is one."""
    with Image.open(path) as picture:
        picture.show()


class Human:
    """Asks at the terminal. ``q`` stops; what was answered is kept and not asked again."""

    name = "human"
    prompt_hash = ""

    def __init__(
        self,
        ask: Callable[[str], str] = input,
        show: Callable[[Path], None] = show_picture,
    ) -> None:
        """Take where answers come from and where pictures go.

        Raises:
            UsageError: nobody is at the terminal.
        """
        if ask is input and not sys.stdin.isatty():
            raise UsageError(
                "--annotator human asks at a terminal, and standard input is none: start it in "
                "one, or choose --annotator vlm"
            )
        self._ask, self._show = ask, show
        self._picture = Path(tempfile.mkdtemp(prefix="sensei-pair-")) / "pair.png"

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Show the pair side by side and wait for a key.

        Raises:
            KeyboardInterrupt: the person typed ``q``.
        """
        pair = side_by_side(decode_png(first.picture), decode_png(second.picture), GAP)
        Image.fromarray(pair).save(self._picture)
        self._show(self._picture)
        texts = [f"{key}: {frame.text}" for key, frame in zip("12", (first, second), strict=True)]
        shown = "\n".join(text for text in texts if len(text) > 3)
        began = time.perf_counter()
        key = self._key(f"{shown}\n{self._picture}\nmore interesting? 1, 2, t(ie), u(nknown), q: ")
        if key == "q":
            raise KeyboardInterrupt
        return Answer.of(KEYS[key], raw=key, latency_s=time.perf_counter() - began)

    async def aclose(self) -> None:
        """Remove the picture."""
        self._picture.unlink(missing_ok=True)
        self._picture.parent.rmdir()

    def _key(self, question: str) -> str:
        while (key := self._ask(question).strip().lower()[:1]) not in {*KEYS, "q"}:
            question = "1, 2, t, u or q: "
        return key
