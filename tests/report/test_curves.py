"""Charts are inline SVG in the page's own colour, and show what they are given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from sensei.report.curves import POINTS, Line, _short, bars, panel, spreads, timeline


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def line(*y: float) -> Line:
    return Line(np.arange(len(y), dtype=float), np.array(y))


def test_nothing_to_draw_is_an_empty_string() -> None:
    assert panel("x", []) == panel("x", [line(np.nan, np.inf)]) == bars("x", {}) == ""
    assert spreads("x", {}, "") == timeline(3, [], {}, {}, 0.1) == ""


def test_a_panel_is_one_self_contained_element() -> None:
    svg = panel("a <title>", [line(1, 2, np.nan, 4)], levels={"k": 2.0}, x_label="steps")
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    assert {"a <title>", "k", "steps"} <= set(texts(svg))
    assert "currentColor" in svg and "#0a0b0c" not in svg and "<metadata" not in svg
    assert " width=" not in svg.partition(">")[0] and "viewBox" in svg.partition(">")[0]
    assert not re.findall(r'(?:href|src)="(?!#)', svg)


def test_the_same_data_give_the_same_bytes() -> None:
    assert panel("x", [line(1, 2, 3)]) == panel("x", [line(1, 2, 3)])


def test_long_lines_are_averaged() -> None:
    few = panel("x", [line(*range(100))])
    many = panel("x", [line(*np.random.default_rng(0).random(100 * POINTS))])
    assert len(many) < len(few) + 40 * POINTS


def test_a_wide_range_is_drawn_on_a_logarithmic_axis() -> None:
    assert any("10" in text for text in texts(panel("x", [line(1e-3, 1.0, 1e3)])))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.25, "−0.25"),
        (1500.0, "1.5k"),
        (2e6, "2M"),
        (2e-5, "2e−5"),
        (1.25e-4, "1.25e−4"),
    ],
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert _short(value) == text


def test_an_episode_names_its_curves_and_events() -> None:
    events = {"key_picked_up": np.array([1, 2])}
    svg = timeline(4, [("semantic reward", [line(1, 2, 3, 4)])], events, {"threshold": 2.0}, 0.1)
    assert {"semantic reward", "key picked up", "threshold"} <= set(texts(svg))
