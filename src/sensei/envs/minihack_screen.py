"""What can be read off NetHack's screen: the map, the hero, what is carried, the last message."""

from __future__ import annotations

import functools

import numpy as np

OBSERVED = (
    "glyphs",
    "blstats",
    "message",
    "inv_glyphs",
    "inv_strs",
    "inv_letters",
    "internal",
    "program_state",
)
"""The observations of NLE that a screen is read from."""
_ITEM_BYTES = 80
"""Bytes that NetHack gives to the name of one item of the inventory."""
_HEALTH, _MOST_HEALTH, _DEPTH = 10, 11, 12
"""Places in NLE's ``blstats``."""


@functools.lru_cache(maxsize=64)
def _inventory(letters: bytes, names: bytes) -> str:
    """Write the inventory in one line; cached, as it seldom changes from step to step."""
    rows = zip(letters, range(0, len(names), _ITEM_BYTES), strict=True)
    items = ((letter, names[at : at + _ITEM_BYTES]) for letter, at in rows if letter)
    return "; ".join(f"{chr(k)} - {row.split(bytes(1), 1)[0].decode()}" for k, row in items)


class Screen:
    """One moment of a game; ``_obs`` holds the arrays named in ``OBSERVED``."""

    def __init__(self) -> None:
        """Show nothing until a game shows something."""
        self._obs: dict[str, np.ndarray] = {}

    @property
    def glyphs(self) -> np.ndarray:
        """What is known of the map (21, 79); a view, overwritten by the next key."""
        return self._obs["glyphs"]

    @property
    def position(self) -> tuple[int, int]:
        """The hero's column and row on the map."""
        x, y = self._obs["blstats"][:2].tolist()
        return x, y

    @property
    def on_stairs_down(self) -> bool:
        """Whether the hero stands on stairs down (NLE's ``internal[4]``)."""
        return bool(self._obs["internal"][4])

    @property
    def carried(self) -> np.ndarray:
        """The glyphs of the inventory (55,); a view."""
        return self._obs["inv_glyphs"]

    @property
    def message(self) -> str:
        """The last message of the game."""
        return self._obs["message"].tobytes().split(b"\0", 1)[0].decode(errors="replace")

    @property
    def inventory(self) -> str:
        """The inventory as NetHack words it, in one line."""
        return _inventory(self._obs["inv_letters"].tobytes(), self._obs["inv_strs"].tobytes())

    def letter_of(self, glyph: int) -> int:
        """Return the inventory letter of the first carried thing with this glyph."""
        place = int(np.flatnonzero(self.carried == glyph)[0])
        return int(self._obs["inv_letters"][place])

    @property
    def depth(self) -> int:
        """How many levels below the surface the hero is, 1 at the top."""
        return int(self._obs["blstats"][_DEPTH])

    @property
    def health(self) -> float:
        """Hit points as a share of the most there can be, 0 to 1."""
        now, most = self._obs["blstats"][[_HEALTH, _MOST_HEALTH]].tolist()
        return min(1.0, max(0.0, now / max(1, most)))

    @property
    def items(self) -> int:
        """How many letters of the inventory are taken; a stack is one."""
        return int(np.count_nonzero(self._obs["inv_letters"]))

    @property
    def asking(self) -> bool:
        """Whether the game waits for the answer to a question, such as a direction."""
        return bool(self._obs["internal"][1])
