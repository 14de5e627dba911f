"""The charts of a study: each method in its own colour, with the interval as a shade."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sensei.report.curves import COLOURS, FEW, Line, panel, readable
from sensei.report.statistics import Interval, each_iqm, interval, pooled_iqm
from sensei.study.dial import Dial
from sensei.study.results import RunResult
from sensei.study.summary import POINTS, THRESHOLDS, Comparison

COLUMNS = 4
"""Panels side by side in the picture of a study."""


class StudyFigures:
    """Draws one environment's comparison."""

    def __init__(self, comparison: Comparison, groups: Sequence[str]) -> None:
        """``groups`` are those of the whole study, so that a colour means one thing on the page."""
        self.comparison = comparison
        self.colours = dict(zip(groups, itertools.cycle(COLOURS), strict=False))

    def events(self) -> list[str]:
        """Draw how often each event had happened, over the steps of exploration."""
        happened = [name for name in self.comparison.events if self._happened(name)]
        return [panel(readable(name), self._event(name), counts=True) for name in happened]

    def profile(self) -> list[str]:
        """Draw the share of counts above a threshold, the threshold as share of the largest."""
        each = self.comparison
        lines = [
            self._line(group, THRESHOLDS, each.profile(group))
            for group in each.explored
            if each.events
        ]
        drawn = panel("share of runs and events above", lines, within=(0.0, 1.0),
                      x_label="share of the largest count of any run")  # fmt: skip
        return [drawn] if drawn else []

    def returns(self) -> list[str]:
        """Draw the return during solve, over solve's own steps and over all steps spent."""
        drawn = []
        for task in self.comparison.learned:
            alone, spent = self._returns(task, False), self._returns(task, True)
            drawn.append(panel(f"{task}: return, steps of solve alone", alone))
            drawn.append(panel(f"{task}: return, all steps spent", spent))
        return [svg for svg in drawn if svg]

    def against(self, dial: Dial) -> list[str]:
        """Draw how often R_ψ was right and how often each event happened, over the dial."""
        return [
            panel(title, [line], x_label=dial.name, log_x=dial.logarithmic)
            for title, line in self._against(dial).items()
        ]

    def save(self, path: Path) -> None:
        """Write the curves of events, then of returns during solve, as one PNG, for a README."""
        each = self.comparison
        drawn = {readable(n): self._event(n) for n in each.events if self._happened(n)}
        drawn |= {f"{t}: return in solve": self._returns(t, False) for t in each.learned}
        picture(path, drawn, "environment steps")

    def save_against(self, dial: Dial, path: Path) -> None:
        """Write what ``against`` draws as one PNG."""
        drawn = {title: [line] for title, line in self._against(dial).items()}
        picture(path, drawn, dial.name, log_x=dial.logarithmic)

    def _happened(self, event: str) -> bool:
        return any(run.events[event].values[-1] > 0 for run in self.comparison.runs if run.events)

    def _event(self, name: str) -> list[Line]:
        each = self.comparison
        return [self._line(group, each.grid, each.band(group, name)) for group in each.explored]

    def _against(self, dial: Dial) -> dict[str, Line]:
        each = self.comparison
        found = {
            f"R_ψ agrees with the {name}": self._over(dial, lambda g, n=name: each.accuracy(g, n))
            for name in each.accuracies
        }
        for i, name in enumerate(each.events):
            if self._happened(name):
                found[readable(name)] = self._over(dial, lambda g, i=i: each.counts(g)[:, [i]])
        return found

    def _over(self, dial: Dial, runs: Callable[[str], np.ndarray]) -> Line:
        """A point for each value of the dial, from the runs, (runs, 1), of its group."""
        known = {value: rows for group, value in dial.values.items() if len(rows := runs(group))}
        found = [interval(pooled_iqm, rows) for rows in known.values()]
        low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
        y = np.array([each.value for each in found])
        return Line(np.array(list(known)), y, band=(low, high))

    def _returns(self, task: str, with_spent: bool) -> list[Line]:
        lines = []
        for group in self.comparison.groups:
            runs = [run for run in self.comparison.of(group) if task in run.returns]
            if not runs:
                continue
            curves = [run.returns[task].means for run in runs]  # what a score is judged by
            begin = max(curve.steps[0] for curve in curves)
            grid = np.linspace(begin, max(begin, min(c.steps[-1] for c in curves)), POINTS)
            before = np.mean([_before(run) for run in runs]) if with_spent else 0.0
            found = interval(each_iqm, np.array([curve.at(grid) for curve in curves]))
            lines.append(self._line(group, grid + before, found))
        return lines

    def _line(self, group: str, x: np.ndarray, found: Interval) -> Line:
        return Line(x, found.value, self.colours[group], group, (found.low, found.high))


def picture(
    path: Path, drawn: Mapping[str, Sequence[Line]], x_label: str, *, log_x: bool = False
) -> None:
    """Write a panel for each title as one PNG, and what the colours mean beside them."""
    columns = min(COLUMNS, max(1, len(drawn)))
    rows = max(1, math.ceil(len(drawn) / columns))
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows))
    grid = np.ravel(figure.subplots(rows, columns))
    for axes, title in itertools.zip_longest(grid, drawn):
        if title is None:
            axes.set_visible(False)
            continue
        for line in drawn[title]:
            shown = {"marker": "o", "markersize": 3} if len(line.x) < FEW else {}
            axes.plot(line.x, line.y, color=line.colour, label=line.label, **shown)
            axes.fill_between(line.x, *(line.band or ()), color=line.colour, alpha=0.2)
        if log_x:
            axes.set_xscale("log")
        else:
            axes.locator_params(axis="x", nbins=5)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x_label, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
    handles = {label: handle for handle, label in itertools.chain(*pairs)}
    if handles:
        figure.legend(
            handles.values(), handles, frameon=False, fontsize=8, loc="outside right upper"
        )
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=150)


def _before(run: RunResult) -> int:
    """Environment steps spent before solve."""
    return sum(steps for key, steps in run.env_steps.items() if not key.startswith("solve"))
