"""The report of a real run: every section, no hole, nothing from outside."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sensei.fields import with_dotted
from sensei.presets import RunConfig, saved_config
from sensei.report import build
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import execute

SECTIONS = {
    "spent", "found", "labels", "reward", "exploration", "episode", "prediction", "solve",
    "videos", "losses", "speed", "made",
}  # fmt: skip
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Collects what a test asks about, and fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.links: list[str] = []
        self.counts: dict[str, int] = {}
        self._open: list[str] = []
        self._section = "top"
        self.feed(html)
        assert not self._open

    @property
    def text(self) -> str:
        return " ".join(self.sections.values())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag == "section":
            self._section = named["id"] or ""
            self.sections[self._section] = ""
        self.links += [named[k] or "" for k in ("href", "src", "xlink:href") if k in named]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "pre"):
            self.sections[self._section] = self.sections.get(self._section, "") + data


def report_of(workspace: Workspace) -> Reader:
    return Reader((workspace.folder("report") / "index.html").read_text())


def config_of(workspace: Workspace) -> RunConfig:
    return saved_config(workspace)


def assert_complete(page: Reader, html: str) -> None:
    """Every section is there, no value is missing, and nothing is loaded from elsewhere."""
    assert page.sections.keys() == SECTIONS | {"top"}
    assert not re.search(r"\b(nan|NaN|None|inf|Undefined)\b|{{|{%", page.text)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.findall(r"url\((?!#)|@import|<script", html)


def test_the_page_of_a_whole_run_is_complete(finished: Workspace) -> None:
    html = (finished.folder("report") / "index.html").read_text()
    page = Reader(html)
    assert_complete(page, html)
    assert "Not made yet" not in page.text
    assert 'class="warn"' not in html
    assert len(html) < 25_000_000
    assert page.counts["video"] == 3  # evaluation by sample and by mode, and the episode
    assert page.counts["svg"] > 30


def test_the_first_lines_say_who_labelled(finished: Workspace) -> None:
    page = report_of(finished)
    first = " ".join(page.sections["top"].split())
    assert "Labelled by oracle (the environment's own oracle" in first
    for words in ("tiny", "sensei", "seed 0", "R_ψ agrees with", "custom", "1,400"):
        assert words in first


def test_report_json_holds_the_numbers(finished: Workspace) -> None:
    numbers = json.loads((finished.folder("report") / "report.json").read_text())
    assert numbers["annotators"] == ["oracle"]
    assert numbers["total_steps"] == 800 + 300 + 300
    begins = {stage["key"]: stage["begins_at"] for stage in numbers["stages"]}
    assert begins["collect"] == 0 and begins["explore"] == 800 and begins["solve/task"] == 1100
    episode = numbers["episodes"]["explore"]
    length = episode["episode"]["stop"] - episode["episode"]["start"]
    assert len(episode["reward"]) == len(episode["disagreement"]) == length
    assert episode["disagreement"][0] is None
    assert all(value >= 0 for value in episode["disagreement"][1:])
    best, worst = (numbers["rewards"]["distill"][side] for side in ("best", "worst"))
    assert best == sorted(best, reverse=True) and worst == sorted(worst)
    assert worst[-1] < best[-1]


def test_event_counts_are_those_of_the_stages(finished: Workspace) -> None:
    numbers = json.loads((finished.folder("report") / "report.json").read_text())
    for event in numbers["events"]:
        for key, counted in event["counts"].items():
            assert counted == finished.summary(key)["events"][event["name"]]
        assert (event["first_by"] is None) == (sum(event["counts"].values()) == 0)


def rebuilt(finished: Workspace, folder: Path, keep: set[str], **config: Any) -> Reader:
    """Build the report of a copy of the run in which only some stages exist."""
    shutil.copytree(finished.root, folder)
    workspace = Workspace(folder, say=lambda _: None)
    for key in ("collect", "annotate", "distill", "explore", "solve", "evaluate", "report"):
        if key not in keep:
            shutil.rmtree(workspace.folder(key))
    lines = workspace.metrics.path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["stage"].split("/")[0] in keep]
    workspace.metrics.path.write_text("".join(kept))
    workspace.key = "report"
    build.run(dataclasses.replace(config_of(finished), **config), workspace)
    html = (workspace.folder("report") / "index.html").read_text()
    page = Reader(html)
    assert_complete(page, html)
    return page


ORDER = ("collect", "annotate", "distill", "explore", "solve", "evaluate")


@pytest.mark.parametrize("done", range(len(ORDER)))
def test_half_way_every_section_says_what_makes_it(
    finished: Workspace, tmp_path: Path, done: int
) -> None:
    page = rebuilt(finished, tmp_path / "half", set(ORDER[:done]))
    said = {"labels": "annotate", "reward": "distill", "episode": "explore", "solve": "solve"}
    for section, kind in said.items():
        made = kind in ORDER[:done]
        assert (f"sensei {kind} --dir" in page.sections[section]) == (not made)


def test_names_are_escaped(finished: Workspace, tmp_path: Path) -> None:
    env = dataclasses.replace(config_of(finished).env, name="<img src=https://example.org>")
    page = rebuilt(finished, tmp_path / "evil", {"collect"}, env=env)
    assert "<img src=https://example.org>" in page.sections["top"]


def test_damage_is_named_where_the_episode_would_be(finished: Workspace, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(finished.root, copy)
    workspace = Workspace(copy, say=lambda _: None)
    for path in workspace.folder("explore").glob("checkpoint*"):
        path.unlink()
    workspace.key = "report"
    build.run(config_of(finished), workspace)
    assert "No episode can be shown: checkpoint" in report_of(workspace).sections["episode"]


def test_a_run_without_labels_says_so(small_run: Callable, tmp_path: Path) -> None:
    config, workspace = small_run(tmp_path / "random", "random")
    execute(config, workspace, "explore")
    execute(config, workspace, "report")
    page = report_of(workspace)
    assert_complete(page, (workspace.folder("report") / "index.html").read_text())
    assert "uses no labels: nobody labelled" in page.sections["top"]
    assert "there is no world model" in page.sections["prediction"]
    assert "sensei solve --dir" in page.sections["solve"]


def test_an_environment_in_jax_is_reported(small_run: Callable, tmp_path: Path) -> None:
    config, workspace = small_run(tmp_path / "jax")
    own = {"env.name": "sensei.testing.jax_goal:reach_goal", "env.processes": 0}
    config = with_dotted(config, own | {"env.time_limit": 20})
    for kind in ("collect", "annotate", "distill", "report"):
        execute(config, workspace, kind)
    assert_complete(report_of(workspace), (workspace.folder("report") / "index.html").read_text())
