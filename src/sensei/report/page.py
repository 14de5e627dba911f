"""From what is known to one self-contained HTML page."""

from __future__ import annotations

import dataclasses
from typing import Any

import jinja2
from markupsafe import Markup

from sensei.report.curves import readable
from sensei.report.facts import Facts
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


_KIND = {
    "oracle": "the environment's own oracle: privileged state, no model and no person looked",
    "noisy": "the oracle with artificial errors: no model and no person looked",
    "vlm": "a vision-language model",
    "human": "a person",
}


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
    }
    return environment


def who(name: str) -> str:
    """Say in words what kind of annotator a name stands for."""
    for kind, words in _KIND.items():
        if name.startswith(kind):
            return words
    return "an annotator of the user's own"


def count(value: float | int | None) -> str:
    """Write a whole number, with a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def number(value: float | int | None) -> str:
    """Write three significant digits, with a dash where there is no finite number."""
    if value is None or value != value:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")


def percent(value: float | int | None) -> str:
    """Write a share in per cent, with a dash where there is none."""
    return "–" if value is None or value != value else f"{100 * value:.3g} %"


def share(value: dict[str, Any] | None) -> str:
    """Write a measured share with its 95 % interval and its number of cases."""
    if value is None:
        return "–"
    interval = f"{100 * value['low']:.3g} – {100 * value['high']:.3g}"
    return f"{percent(value['value'])} (95 %: {interval}; n = {count(value['n'])})"


def judged_on(measures: dict[str, Any]) -> str:
    """Say which labels R_ψ was measured on; distill falls back on the training pairs where no
    episode could be held out."""
    pairs = count(measures["validation_pairs"])
    if measures["validation_pairs"] == measures["training_pairs"]:
        return f"its {pairs} training labels (there are too few episodes to hold any out)"
    return f"{pairs} labels from held-out episodes"
