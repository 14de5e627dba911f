"""Small charts as inline SVG that take the colour of the page's text."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

COLOURS = ("#4c8dd6", "#e0832e", "#3fa66b", "#c75b8f", "#8a7ad6", "#b39b2c", "#52aab5", "#c4574b")
"""Readable on white and on black."""
FEW = 10
"""Points that are shown as such, if a line has fewer."""
POINTS = 300
"""Points of a line; a longer one is averaged in this many pieces."""

_THOUSANDS = EngFormatter(sep="")
_INK = "#0a0b0c"
"""Stands for the text's colour until the SVG is written."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sensei",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "grid.color": _INK,
    "lines.linewidth": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart."""

    x: np.ndarray
    y: np.ndarray
    colour: str = COLOURS[0]
    label: str = ""
    band: tuple[np.ndarray, np.ndarray] | None = None
    """Lower and upper limit of y, drawn as a shade; such a line is not smoothed."""

    def finite(self) -> Line:
        """Leave out the points that are no numbers."""
        keep = np.isfinite(self.y)
        band = self.band and (self.band[0][keep], self.band[1][keep])
        return dataclasses.replace(self, x=self.x[keep], y=self.y[keep], band=band)

    @property
    def heights(self) -> np.ndarray:
        """Every y that has to be in the picture."""
        return np.concatenate([self.y, *(self.band or ())])


def panel(
    title: str,
    lines: Sequence[Line],
    *,
    levels: Mapping[str, float] | None = None,
    x_label: str = "",
    x_range: tuple[float, float] | None = None,
    log_x: bool = False,
    within: tuple[float, float] | None = None,
    smooth: bool = False,
    counts: bool = False,
) -> str:
    """Draw lines over steps; return "" when there is nothing to draw.

    Args:
        title: what is drawn.
        lines: each from its own x; points that are not finite are left out.
        levels: name → value of horizontal lines.
        x_label: under the axis.
        x_range: limits of x; otherwise they follow the data.
        log_x: x differs by factors.
        within: limits of y; otherwise they follow the data, on a logarithmic axis where positive
            values span a factor of 50.
        smooth: draw the running mean, and the points themselves faintly.
        counts: y holds whole numbers from 0.
    """
    lines = [line for line in (line.finite() for line in lines) if len(line.x)]
    if not lines:
        return ""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.7, 2.0))
        axes = figure.add_axes((0.145, 0.18 if x_label else 0.13, 0.83, 0.68 if x_label else 0.73))
        for line in lines:
            _draw(axes, line, smooth)
        for name, value in (levels or {}).items():
            _level(axes, name, value)
        if any(line.label for line in lines):
            axes.legend(frameon=False, fontsize=8, loc="best")
        axes.set_title(title)
        axes.set_xlabel(x_label, fontsize=8, labelpad=2)
        if x_range is not None:
            axes.set_xlim(*x_range)
        _scale(axes, np.concatenate([line.heights for line in lines]), within, counts)
        if log_x:
            axes.set_xscale("log")
        return to_svg(figure)


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Draw one stacked bar of shares a group; return "" without any."""
    if not groups:
        return ""
    parts = list(dict.fromkeys(name for shares in groups.values() for name in shares))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.7, 2.0))
        axes = figure.add_axes((0.2, 0.13, 0.775, 0.57))
        left = np.zeros(len(groups))
        for name, colour in zip(parts, COLOURS * len(parts), strict=False):
            width = np.array([shares.get(name, 0.0) for shares in groups.values()])
            axes.barh(list(groups), width, left=left, color=colour, label=name, height=0.6)
            left = left + width
        axes.set_xlim(0, max(1.0, float(left.max())))
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_title(title, pad=20)
        axes.legend(
            frameon=False, ncols=4, fontsize=7.5, loc="lower left", bbox_to_anchor=(-0.22, 0.97),
            handlelength=1, columnspacing=1, handletextpad=0.4,
        )  # fmt: skip
        return to_svg(figure)


def spreads(title: str, groups: Mapping[float, np.ndarray], x_label: str) -> str:
    """Draw the median and the 5–95 % range of the values of each group, over the group's number."""
    if not groups:
        return ""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.7, 2.0))
        axes = figure.add_axes((0.145, 0.18, 0.83, 0.68))
        at = sorted(groups)
        low, middle, high = np.array([np.quantile(groups[x], (0.05, 0.5, 0.95)) for x in at]).T
        axes.vlines(at, low, high, color=COLOURS[0], alpha=0.5, linewidth=4)
        axes.plot(at, middle, "o", color=COLOURS[1], markersize=4)
        axes.set_title(title)
        axes.set_xlabel(x_label, fontsize=8, labelpad=2)
        axes.margins(x=0.08)
        return to_svg(figure)


def timeline(
    rows: int, curves: Sequence[tuple[str, Sequence[Line]]], events: Mapping[str, np.ndarray],
    levels: Mapping[str, float], left: float,
) -> str:  # fmt: skip
    """Draw an episode: curves one above the other, and below a row of dots for each event.

    Args:
        rows: T, length of the episode.
        curves: title and lines of each.
        events: name → rows at which it happened.
        levels: horizontal lines in the first chart.
        left: share of the width before the axes, so that a film strip can be put below them.
    """
    heights = [1.5] * len(curves) + ([0.16 * len(events) + 0.2] if events else [])
    if not heights:
        return ""
    total = sum(heights) + 0.42 * len(heights) + 0.15
    with matplotlib.rc_context(_STYLE):
        figure, top = Figure(figsize=(11, total)), total
        for i, height in enumerate(heights):
            top -= height + 0.3
            axes = figure.add_axes((left, top / total, 1.0 - left, height / total))
            top -= 0.12
            if i < len(curves):
                _curve(axes, *curves[i], levels if i == 0 else {})
            else:
                _dots(axes, events)
            axes.set_xlim(-0.5, rows - 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
            if i < len(heights) - 1:
                axes.tick_params(labelbottom=False)
        return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """Return the figure as an ``<svg>`` element that scales with its container."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(_INK, "currentColor").strip()


def _draw(axes: Axes, line: Line, smooth: bool) -> None:
    style = {"marker": "o", "markersize": 3, "clip_on": False} if len(line.x) < FEW else {}
    if line.band is not None:
        axes.fill_between(line.x, *line.band, color=line.colour, alpha=0.18, linewidth=0)
    if not smooth or line.band is not None or len(line.x) < 8:
        axes.plot(*_thinned(line), color=line.colour, label=line.label, **style)
        return
    axes.plot(*_thinned(line), color=line.colour, alpha=0.3, linewidth=0.9)
    width = max(3, len(line.x) // 15)
    weight = np.convolve(np.ones(len(line.y)), np.ones(width), "same")
    mean = np.convolve(line.y, np.ones(width), "same") / weight
    axes.plot(*_thinned(dataclasses.replace(line, y=mean)), color=line.colour, label=line.label)


def _thinned(line: Line) -> tuple[np.ndarray, np.ndarray]:
    if len(line.x) <= POINTS:
        return line.x, line.y
    pieces = np.array_split(np.arange(len(line.x)), POINTS)
    return np.array([line.x[p].mean() for p in pieces]), np.array(
        [line.y[p].mean() for p in pieces]
    )


def _level(axes: Axes, name: str, value: float) -> None:
    axes.axhline(value, color=_INK, alpha=0.45, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
        name, (0.995, value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=7.5, alpha=0.75, xytext=(0, 1), textcoords="offset points",
    )  # fmt: skip


def _scale(axes: Axes, y: np.ndarray, within: tuple[float, float] | None, counts: bool) -> None:
    if within is not None:
        margin = 0.04 * (within[1] - within[0])
        axes.set_ylim(within[0] - margin, within[1] + margin)
    elif counts:
        axes.set_ylim(0, 1.08 * float(y.max()))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    elif y.min() > 0 and y.max() > 50 * y.min():
        axes.set_yscale("log")
        axes.minorticks_off()
    if axes.get_yscale() == "log" or _differs(y):
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _differs(y: np.ndarray) -> bool:
    """Whether three digits tell the ticks apart; otherwise matplotlib writes an offset."""
    return float(np.ptp(y)) > 0.01 * float(np.abs(y).max())


def _short(value: float, _: int | None = None) -> str:
    """Write a tick in few characters: 12k, 0.25, 3e−5."""
    if abs(value) >= 1000:
        return _THOUSANDS(value)
    text = f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
    return re.sub(r"\.?0*e-0*", "e-", text).replace("-", "−")


def _curve(axes: Axes, title: str, lines: Sequence[Line], levels: Mapping[str, float]) -> None:
    for line in lines:
        axes.plot(line.x, line.y, color=line.colour, label=line.label, linewidth=1.3)
    for name, value in levels.items():
        _level(axes, name, value)
    axes.set_title(title, fontsize=10)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8.5, loc="upper right", ncols=len(lines),
                    bbox_to_anchor=(1.0, 1.22))  # fmt: skip


def _dots(axes: Axes, events: Mapping[str, np.ndarray]) -> None:
    for i, rows in enumerate(events.values()):
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(rows, np.full(len(rows), i), "o", color=colour, markersize=3.5)
    axes.set_yticks(range(len(events)), [readable(name) for name in events])
    axes.set_ylim(len(events) - 0.5, -0.5)
    axes.set_title("events", fontsize=10)


def readable(name: str) -> str:
    """Turn a name in code into words."""
    return name.replace("_", " ")
