"""Which charts the page has: the run's metrics over all environment steps spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from sensei.report.curves import COLOURS, Line, bars, panel, readable
from sensei.report.facts import Facts, Records, StageFacts
from sensei.run.metrics import series


@dataclasses.dataclass(frozen=True)
class Key:
    """One entry of the legend."""

    stage: str
    colour: str


class Figures:
    """Draws one metric after another, every stage in its own colour."""

    def __init__(self, facts: Facts, records: Records) -> None:
        self.facts, self.records = facts, records
        self.stages = [stage for stage in facts.stages if records.get(stage.key)]
        self.colours = {stage.key: COLOURS[i % len(COLOURS)] for i, stage in enumerate(self.stages)}

    def legend(self) -> list[Key]:
        """Return the colours of the stages that have logged anything."""
        return [Key(stage.key, self.colours[stage.key]) for stage in self.stages]

    def events(self) -> list[str]:
        """Draw how often each event has happened, summed over the stages."""
        return _drawn(self._event(event.name) for event in self.facts.events)

    def gate(self) -> list[str]:
        """Draw how much of the imagination is on the way to something interesting."""
        levels = {"k": self.facts.quantile} if self.facts.gate in ("reward", "return") else {}
        panels = []
        if self.facts.gate != "fixed":
            go = self._lines("sensei/go_fraction", "explore")
            panels.append(self._panel("go fraction", go, within=(0.0, 1.0), levels=levels))
            threshold = self._lines("sensei/threshold", "explore")
            panels.append(self._panel("threshold of the gate", threshold))
        entropy = self._lines("sensei/entropy", "explore")
        panels.append(self._panel("entropy of the policy (nats)", entropy))
        return _drawn(panels)

    def group(self, group: str, kinds: tuple[str, ...] = ()) -> list[str]:
        """Draw every metric of a group, e.g. ``loss`` or ``channel``."""
        names = {
            name
            for stage in self.stages
            for record in self.records[stage.key]
            for name in record
            if name.startswith(group + "/") and (not kinds or stage.kind in kinds)
        }
        return _drawn(
            self._panel(readable(name.partition("/")[2]), self._lines(name, *kinds))
            for name in sorted(names)
        )

    def returns(self) -> list[str]:
        """Draw the task's return during solve, over its own steps and over all steps spent."""
        solves = [stage for stage in self.stages if stage.kind == "solve"]
        own = [self._line(stage, "episode/return", 0) for stage in solves]
        # Every task begins where exploration ended, whatever was solved before it.
        before = sum(s.env_steps for s in self.facts.stages if s.kind in ("collect", "explore"))
        spent = [self._line(stage, "episode/return", before) for stage in solves]
        evaluated = self.facts.last("evaluate")
        ways = evaluated.summary if evaluated else {}
        levels = {f"evaluated, {way}": played["mean_return"] for way, played in ways.items()}
        steps = max([stage.env_steps for stage in solves], default=0)
        alone = (0.0, float(max(1, steps)))
        length = [self._line(stage, "episode/length", 0) for stage in solves]
        return _drawn(
            [
                panel("episode return, steps of solve alone", own, levels=levels, smooth=True,
                      x_range=alone),
                self._panel("episode return, all steps spent", spent, levels=levels, smooth=True),
                panel("episode length, steps of solve alone", length, smooth=True, x_range=alone),
            ]
        )  # fmt: skip

    def speed(self) -> list[str]:
        """Draw steps and updates a second, and where the time goes."""
        shares = {stage.key: found for stage in self.stages if (found := self._shares(stage))}
        return _drawn(
            [
                self._panel("environment steps a second", self._lines("speed/env_steps")),
                self._panel("updates a second", self._lines("speed/updates", *self._trained())),
                bars("share of the loop's time", shares),
            ]
        )

    def distillation(self, stage: StageFacts) -> list[str]:
        """Draw losses and accuracy of R_ψ over the epochs of its training."""
        curve = stage.summary["curve"]
        epochs = np.arange(1.0, len(curve) + 1)
        loss = [
            Line(epochs, _column(curve, "train_loss"), COLOURS[0], "training"),
            Line(epochs, _column(curve, "loss"), COLOURS[1], "validation"),
        ]
        accuracy = Line(epochs, _column(curve, "accuracy"), COLOURS[1])
        chance = {"chance": 0.5}
        return _drawn(
            [
                panel("Bradley–Terry loss", loss, x_label="epoch"),
                panel("validation accuracy", [accuracy], x_label="epoch", within=(0.0, 1.0),
                      levels=chance),
            ]
        )  # fmt: skip

    def _event(self, name: str) -> str:
        lines, before = [], 0.0
        for stage in self.stages:
            line = self._line(stage, f"event/{name}", stage.begins_at)
            if stage.acts and len(line.y):
                x, y = np.append(stage.begins_at, line.x), np.append(0.0, line.y) + before
                lines.append(dataclasses.replace(line, x=x, y=y))
                before = float(np.nanmax(y))
        return self._panel(readable(name), lines, counts=True) if before else ""

    def _panel(self, title: str, lines: list[Line], **options: Any) -> str:
        """Draw over all steps spent, so that the charts of a run can be compared."""
        return panel(title, lines, x_range=(0.0, float(max(1, self.facts.total_steps))), **options)

    def _trained(self) -> list[str]:
        """List the kinds of stages that made updates."""
        return sorted({stage.kind for stage in self.stages if stage.updates})

    def _lines(self, name: str, *kinds: str) -> list[Line]:
        return [
            self._line(stage, name, stage.begins_at)
            for stage in self.stages
            if not kinds or stage.kind in kinds
        ]

    def _line(self, stage: StageFacts, name: str, begins_at: int) -> Line:
        steps, values = series(self.records[stage.key], name)
        x = np.array(steps, np.float64) + begins_at
        return Line(x, np.array(values, np.float64), self.colours[stage.key])

    def _shares(self, stage: StageFacts) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in ("act", "environments", "replay", "update", "labels"):
            _, values = series(self.records[stage.key], f"speed/share_{name}")
            if values:
                found[name] = float(np.nanmean(values))
        return found


def _column(curve: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([point[name] for point in curve], np.float64)


def _drawn(panels: Iterable[str]) -> list[str]:
    return [svg for svg in panels if svg]
