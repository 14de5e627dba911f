"""From what is known to one self-contained HTML page."""

from __future__ import annotations

import dataclasses
from typing import Any

import jinja2
from markupsafe import Markup

from sensei.report.curves import readable
from sensei.report.facts import Facts
from sensei.report.labels import label_rows
from sensei.report.words import count, judged_on, number, percent, share, who
from sensei.run.progress import duration


@dataclasses.dataclass(frozen=True)
class Picture:
    """A label frame on the page."""

    url: str
    reward: float
    oracle: float | None
    where: str
    text: str


@dataclasses.dataclass(frozen=True)
class RewardView:
    """R_ψ of one generation: what it learned, and which frames it likes."""

    key: str
    measures: dict[str, Any]
    charts: list[str]
    best: list[Picture]
    worst: list[Picture]
    frames: int
    oracle_correlation: float | None
    problem: str = ""
    """Why the frames are missing, if they are."""


@dataclasses.dataclass(frozen=True)
class PredictionView:
    """An open-loop prediction as three strips of frames."""

    seen: int
    ahead: int
    begin: int
    truth: str
    predicted: str
    error: str
    mse: float
    frozen_mse: float
    chart: str


@dataclasses.dataclass(frozen=True)
class EpisodeView:
    """One episode of an exploration."""

    key: str
    title: str
    chart: str
    film: str
    left: float
    """Share of the width before the chart's axes."""
    prediction: PredictionView | None
    problem: str = ""
    """Why there is nothing to show, if there is not."""


@dataclasses.dataclass(frozen=True)
class Video:
    """A film on the page; without a URL it was too large and is only named."""

    title: str
    path: str
    url: str


@dataclasses.dataclass(frozen=True)
class Page:
    """Everything the template reads."""

    facts: Facts
    charts: dict[str, list[str]]
    legend: list[Any]
    rewards: list[RewardView]
    episodes: list[EpisodeView]
    videos: list[Video]
    config: str
    """YAML."""
    title: str = "SENSEI run"


def render(page: Page) -> str:
    """Return the page. Every value is escaped; the charts are our own SVG."""
    shallow = {field.name: getattr(page, field.name) for field in dataclasses.fields(page)}
    return templates().get_template("page.html.j2").render(shallow)


def templates(*packages: str) -> jinja2.Environment:
    """Return the templates of ``packages`` and of the report, with the filters they all use."""
    places = [jinja2.PackageLoader(package, ".") for package in (*packages, "sensei.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(places),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg": Markup,
        "readable": readable,
        "duration": duration,
        "count": count,
        "number": number,
        "percent": percent,
        "share": share,
        "who": who,
        "judged_on": judged_on,
        "label_rows": label_rows,
    }
    return environment
