"""What is seen of NetHack's map: tiles around the hero, or pages of the map."""

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("minihack.base")

from sensei.core.vision import PatchGrid
from sensei.envs import make_env
from sensei.envs.minihack_screen import Screen
from sensei.envs.minihack_tiles import tile_table
from sensei.envs.minihack_view import View
from sensei.types import UsageError

OUTSIDE, HERO = 2359, 339


def screen_at(x: int, y: int = 10) -> Screen:
    """Return a map on which every cell is its own glyph, with the hero at (x, y)."""
    screen = Screen()
    glyphs = np.arange(21 * 79, dtype=np.int16).reshape(21, 79)
    screen._obs = {"glyphs": glyphs, "blstats": np.array([x, y])}
    return screen


@pytest.mark.parametrize("tiles", [3, 9, 21])
def test_the_hero_is_in_the_middle_of_a_crop(tiles):
    view = View(tiles, 64, OUTSIDE, {})
    screen = screen_at(40)
    window = view.window(screen)
    assert window.shape == (tiles, tiles)
    assert window[tiles // 2, tiles // 2] == screen.glyphs[10, 40]
    assert view.shown(window, screen, HERO)[tiles // 2, tiles // 2] == HERO
    assert view.image(window).shape == (64, 64, 3)
    assert view.label(window).shape == (16 * tiles, 16 * tiles, 3)


@pytest.mark.parametrize(
    ("x", "first"), [(29, 29), (49, 29), (50, 50), (28, 8), (1, -13), (78, 71)]
)
def test_the_map_stays_until_its_page_is_turned(x, first):
    screen = screen_at(x, 3)
    view = View("map", 64, OUTSIDE, {})
    window = view.window(screen)
    wide = np.pad(screen.glyphs, ((0, 0), (21, 21)), constant_values=OUTSIDE)
    np.testing.assert_array_equal(window, wide[:, 21 + first : 42 + first])
    shown = view.shown(window, screen, HERO)
    assert shown[3, x - first] == HERO
    assert (shown != window).sum() == 1


def test_a_map_is_drawn_in_tiles_of_whole_pixels():
    view = View("map", 44, OUTSIDE, {})
    window = view.window(screen_at(40))
    image = view.image(window)
    assert not image[42:].any() and not image[:, 42:].any()
    # 2 pixels a tile: each is the mean of the 8×8 pixels under it.
    tile = tile_table()[window[4, 7]].astype(float)
    means = tile.reshape(2, 8, 2, 8, 3).mean((1, 3))
    np.testing.assert_allclose(image[8:10, 14:16], means, atol=1)


def test_some_glyphs_are_shown_as_others():
    screen = screen_at(40)
    glyph = int(screen.glyphs[9, 40])
    view = View(3, 64, OUTSIDE, {glyph: 0})
    window = view.window(screen)
    assert view.shown(window, screen, HERO)[0, 1] == 0
    assert window[0, 1] == glyph


@pytest.mark.parametrize(
    ("kind", "size", "words"),
    [
        (4, 64, "view is 4"),
        (1, 64, "view is 1"),
        (23, 64, "view is 23"),
        ("big", 64, "view is big"),
        ("map", 20, "is 20: give 21"),
    ],
)
def test_views_that_there_are_not(kind, size, words):
    with pytest.raises(UsageError, match=words):
        View(kind, size, OUTSIDE, {})


def test_a_level_is_played_on_the_whole_map():
    env = make_env("keyroom-s5", view="map", image_size=84)
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (84, 84, 3)
    assert env.render_label().shape == (336, 336, 3)
    # From here the key is in sight wherever it lies, which the score says.
    assert env.oracle_score() >= 1.0
    before = env.render_label()
    for action in range(4):
        env.step(action)
    changed = (env.render_label() != before).reshape(21, 16, 21, 16, 3).any((1, 3, 4)).sum()
    assert changed <= 6
    env.close()


@pytest.mark.parametrize(("tiles", "size", "squares"), [(5, 60, 5), (9, 108, 9)])
def test_tiles_can_be_squares_of_the_world_models_picture(tiles, size, squares):
    """As docs/minihack.md says. One other tile in the middle of the top row: that square is
    another, and no other is."""
    view = View(tiles, size, OUTSIDE, {})
    grid = PatchGrid((size, size, 3), 4, squares)
    shown = np.full((tiles, tiles), OUTSIDE, np.int16)
    other = shown.copy()
    other[0, tiles // 2] = HERO
    patches = [
        np.asarray(grid.to_patches(jnp.asarray(view.image(x)[None]))) for x in (shown, other)
    ]
    changed = (patches[0] != patches[1])[0].any((2, 3))
    assert np.argwhere(changed).tolist() == [[0, tiles // 2]]
