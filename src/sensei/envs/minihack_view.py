"""What the agent and the annotator see of a NetHack map: tiles around the hero, or the map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int16, UInt8

from sensei.envs import minihack_tiles as tiles
from sensei.envs.minihack_screen import Screen
from sensei.types import UsageError

_MAP_ROWS, _MIDDLE_COLUMN = 21, 39
"""NetHack's map has 21 rows and 79 columns; levels smaller than it lie around its middle."""


class View:
    """Cut and draw: egocentric, or from a fixed place.

    A number shows that many tiles squared around the hero. ``map`` shows all 21 rows of the map and
    21 of its columns, a page on which the hero moves; walking off its side turns the page. Levels
    up to 21 columns wide lie on one page.
    """

    def __init__(
        self, kind: int | str, image_size: int, outside: int, shown_as: Mapping[int, int]
    ) -> None:
        """Choose what is seen.

        ``outside`` is the glyph beyond the map's edge; ``shown_as`` names glyphs that are drawn as
        another one.

        Raises
        ------
        UsageError
            For a view that there is not.
        """
        self.egocentric = kind != "map"
        side = _MAP_ROWS if kind == "map" else kind
        if not isinstance(side, int) or side % 2 == 0 or not 3 <= side <= _MAP_ROWS:
            raise UsageError(f"env.options.view is {kind}: give map or an odd number from 3 to 21")
        self.tiles = side
        if image_size < self.tiles:
            raise UsageError(
                f"env.options.image_size is {image_size}: give {self.tiles} or more, a pixel a tile"
            )
        self.image_size = image_size
        self._outside = outside
        self._shown_as = dict(shown_as)

    def window(self, screen: Screen) -> Int16[np.ndarray, "tiles tiles"]:
        """Cut the glyphs that are seen, as NetHack has them."""
        return tiles.crop_around(screen.glyphs, *self._centre(screen), self.tiles, self._outside)

    def shown(
        self, window: Int16[np.ndarray, "tiles tiles"], screen: Screen, hero: int
    ) -> Int16[np.ndarray, "tiles tiles"]:
        """Return the window as it is drawn: some glyphs as others, the hero as ``hero``."""
        shown = window.copy()
        for glyph, other in self._shown_as.items():
            shown[window == glyph] = other
        (x, y), (middle_x, middle_y) = screen.position, self._centre(screen)
        shown[y - middle_y + self.tiles // 2, x - middle_x + self.tiles // 2] = hero
        return shown

    def image(self, shown: Int16[np.ndarray, "tiles tiles"]) -> UInt8[np.ndarray, "size size 3"]:
        """Draw the agent's picture."""
        if self.egocentric:
            return tiles.shrink(self.label(shown), self.image_size)
        image = np.zeros((self.image_size, self.image_size, 3), np.uint8)
        small = tiles.draw(shown, tiles.tile_table(self.image_size // self.tiles))
        image[: len(small), : len(small)] = small
        return image

    def label(self, shown: Int16[np.ndarray, "tiles tiles"]) -> UInt8[np.ndarray, "side side 3"]:
        """Draw the annotator's picture: the same tiles at 16 pixels each."""
        return tiles.draw(shown, tiles.tile_table())

    def _centre(self, screen: Screen) -> tuple[int, int]:
        """Column and row of the window's middle tile."""
        x, y = screen.position
        if self.egocentric:
            return x, y
        page = (x - _MIDDLE_COLUMN + _MAP_ROWS // 2) // _MAP_ROWS
        return _MIDDLE_COLUMN + _MAP_ROWS * page, _MAP_ROWS // 2
