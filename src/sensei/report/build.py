"""Make the report of a run, however far it got."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import yaml

from sensei.core.agent import TrainState
from sensei.core.reward_model import RewardModel
from sensei.data.episodes import EpisodeStore
from sensei.data.label_store import LabelStore
from sensei.envs import make_adapter
from sensei.fields import to_plain
from sensei.presets import RunConfig
from sensei.report.curves import COLOURS, Line, panel, readable, spreads, timeline
from sensei.report.episodes import ShownEpisode, show_episode
from sensei.report.facts import Facts, StageFacts, finite, read_facts, read_records
from sensei.report.figures import Figures
from sensei.report.frames import RankedFrame, Ranking, rank_frames
from sensei.report.insight import SEEN, OpenLoop
from sensei.report.page import (
    EpisodeView,
    Page,
    Picture,
    PredictionView,
    RewardView,
    Video,
    render,
)
from sensei.report.pictures import data_url, error_colours, strip, to_bytes
from sensei.run import checkpoint
from sensei.run.stage_record import stage_key
from sensei.run.video import write_video
from sensei.run.workspace import Workspace, atomic_write, write_json
from sensei.stages.setups import blank_reward_model, exploration_setup, fresh_state
from sensei.types import EnvSpec, SenseiError

FILM = 16
"""Frames under an episode's curves."""
LEFT = 0.135
"""Share of the width that an episode's chart needs for the names of events."""
VIDEO_BYTES = 12_000_000
"""Bytes of video that the page carries; the rest is named. With base64 it stays below 25 MB."""


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Write ``index.html`` and ``report.json`` in the running stage's folder; return the sizes."""
    records = read_records(workspace)
    facts = read_facts(config, workspace, records)
    figures = Figures(facts, records)
    look = Look(config, workspace, facts, figures)
    rewards = [look.reward(stage) for stage in facts.of("distill")]
    episodes = [look.episode(stage) for stage in facts.of("explore")]
    page = Page(
        facts=facts,
        charts={
            "events": figures.events(),
            "gate": figures.gate(),
            "channel": figures.group("channel", ("explore",)),
            "online": figures.group("online", ("explore",)),
            "returns": figures.returns(),
            "loss": figures.group("loss"),
            "speed": figures.speed(),
        },
        legend=figures.legend(),
        rewards=rewards,
        episodes=episodes,
        videos=look.videos(),
        config=yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True),
        title=f"{config.env.name}: {config.explore.method}, seed {config.seed}",
    )
    html = render(page)
    atomic_write(workspace.here / "index.html", html)
    write_json(workspace.here / "report.json", facts.to_json() | finite(look.numbers))
    workspace.say(f"report: {workspace.here / 'index.html'}")
    return {"page": "index.html", "bytes": len(html.encode()), "stages": list(workspace.inputs)}


class Look:
    """Looks into what was stored with what was trained."""

    def __init__(
        self, config: RunConfig, workspace: Workspace, facts: Facts, figures: Figures
    ) -> None:
        self.config, self.workspace = config, workspace
        self.facts, self.figures = facts, figures
        self.numbers: dict[str, Any] = {"rewards": {}, "episodes": {}}
        """What the pictures show, for ``report.json``."""
        self.films: list[tuple[str, Path]] = []
        self._spec: EnvSpec | None = None
        self._reward_models: dict[str, RewardModel] = {}

    def reward(self, stage: StageFacts) -> RewardView:
        """Rank the label frames by the R_ψ of one generation."""
        try:
            ranking = self._ranking(stage)
        except SenseiError as error:
            return self._reward_view(stage, None, f"The frames cannot be shown: {error}")
        return self._reward_view(stage, ranking)

    def episode(self, stage: StageFacts) -> EpisodeView:
        """Show one episode of an exploration."""
        try:
            shown = self._shown(stage)
        except SenseiError as error:
            return _no_episode(stage, f"No episode can be shown: {error}")
        if shown is None:
            return _no_episode(stage, "No episode is long enough to be shown.")
        if "image" in shown.rows:
            path = self.workspace.here / f"{stage.key}.mp4"
            write_video(path, shown.rows["image"])
            self.films.append((f"{stage.key}, the episode above", path))
        self.numbers["episodes"][stage.key] = _episode_numbers(shown)
        return _episode_view(stage, shown)

    def videos(self) -> list[Video]:
        """Put the films on the page as long as there is room, evaluation's first."""
        films = []
        for stage in reversed(self.facts.of("evaluate")):
            folder, task = self.workspace.folder(stage.key), stage.key.partition("/")[2]
            for path in sorted(folder.glob("*/episode-*.mp4"), reverse=True):
                number = path.stem.removeprefix("episode-")
                films.append((f"{task}, {path.parent.name}, episode {number}", path))
        room, shown = VIDEO_BYTES, []
        for title, path in films[::-1] + self.films:
            data = path.read_bytes()
            fits = len(data) <= room
            room -= len(data) if fits else 0
            url = data_url(data, "video/mp4") if fits else ""
            shown.append(Video(title, str(path.relative_to(self.workspace.root)), url))
        return shown

    @property
    def spec(self) -> EnvSpec:
        """The environment's; it has to be made once to be known."""
        if self._spec is None:
            adapter = make_adapter(self.config.env, self.config.seed)
            self._spec = adapter.spec
            adapter.close()
        return self._spec

    def _ranking(self, stage: StageFacts) -> Ranking | None:
        model = self._reward_model(stage.key)
        with LabelStore(self.workspace.labels, must_exist=True) as store:
            return rank_frames(store, model, stage.generation, self.config.report.frames)

    def _reward_view(
        self, stage: StageFacts, ranking: Ranking | None, problem: str = ""
    ) -> RewardView:
        charts = self.figures.distillation(stage)
        if ranking is None:
            return RewardView(stage.key, stage.summary, charts, [], [], 0, None, problem)
        self.numbers["rewards"][stage.key] = {
            "frames": ranking.frames,
            "oracle_correlation": ranking.oracle_correlation,
            "best": [frame.reward for frame in ranking.best],
            "worst": [frame.reward for frame in ranking.worst],
        }
        if ranking.by_score:
            by_score = spreads("R_ψ: median, 5–95 %", ranking.by_score, "the oracle's score")
            charts.append(by_score)
        return RewardView(
            key=stage.key,
            measures=stage.summary,
            charts=charts,
            best=[_picture(ranked) for ranked in ranking.best],
            worst=[_picture(ranked) for ranked in ranking.worst],
            frames=ranking.frames,
            oracle_correlation=ranking.oracle_correlation,
        )

    def _shown(self, stage: StageFacts) -> ShownEpisode | None:
        folder = self.workspace.folder(stage.key)
        # Exploration keeps its last R_ψ where it has gone on learning from questions of its own.
        own = (folder / "reward.safetensors").exists()
        key = stage.key if own else stage_key("distill", stage.generation)
        reward_model = self._reward_model(key) if self.config.uses_reward else None
        store = EpisodeStore.open(folder / "episodes", read_only=True)
        state = self._state(folder)
        return show_episode(self.config, store, self.spec.events, state, reward_model)

    def _reward_model(self, key: str) -> RewardModel:
        if key not in self._reward_models:
            obs = self.spec.obs  # outside: an environment in JAX cannot be made while JAX traces
            like = eqx.filter_eval_shape(lambda: blank_reward_model(self.config, obs))
            path = self.workspace.folder(key) / "reward.safetensors"
            self._reward_models[key] = checkpoint.load(path, like)[0]
        return self._reward_models[key]

    def _state(self, folder: Path) -> TrainState | None:
        if self.config.explore.method == "random":
            return None
        setup = exploration_setup(self.config, self.spec, self.config.explore.method)
        # Shapes are enough to read a checkpoint, and cost no compilation.
        like = eqx.filter_eval_shape(lambda: fresh_state(setup, 0))
        return checkpoint.load_part(folder / "checkpoint.safetensors", like, "['state']")


def _no_episode(stage: StageFacts, problem: str) -> EpisodeView:
    return EpisodeView(stage.key, "", "", "", LEFT, None, problem)


def _picture(ranked: RankedFrame) -> Picture:
    frame = ranked.frame
    where = f"{frame.stage}, env {frame.env}, episode {frame.episode}, row {frame.step}"
    url = data_url(frame.picture, "image/png")
    return Picture(url, ranked.reward, frame.score, where, frame.text)


def _episode_view(stage: StageFacts, shown: ShownEpisode) -> EpisodeView:
    rows = len(shown.rows["is_first"])
    film = ""
    if "image" in shown.rows:
        count = min(FILM, rows)
        # The middle of each slot, so that a frame stands below its own step.
        at = ((np.arange(count) + 0.5) * rows / count).astype(int)
        film = strip(list(shown.rows["image"][at]))
    names = ", ".join(readable(name) for name in shown.events) or "no events"
    title = f"environment {shown.ref.env}, {rows - 1} steps, {names}"
    levels = {} if shown.threshold is None else {"threshold of the gate": shown.threshold}
    prediction = None if shown.prediction is None else _prediction_view(shown.prediction)
    chart = timeline(rows, _episode_curves(shown), shown.events, levels, LEFT)
    return EpisodeView(stage.key, title, chart, film, LEFT, prediction)


def _episode_curves(shown: ShownEpisode) -> list[tuple[str, list[Line]]]:
    at = np.arange(len(shown.rows["is_first"]), dtype=np.float64)
    curves = []
    if shown.reward is not None:
        lines = [Line(at, shown.reward, COLOURS[0], "R_ψ of the observation")]
        if shown.filtered and "semantic" in shown.filtered.predicted:
            predicted = np.asarray(shown.filtered.predicted["semantic"])
            lines.append(Line(at, predicted, COLOURS[1], "the world model's prediction"))
        curves.append(("semantic reward", lines))
    if shown.disagreement is not None:
        curves.append(("disagreement", [Line(at, shown.disagreement, COLOURS[2])]))
    if not curves:
        reward = shown.rows["reward"].astype(np.float64)
        curves.append(("the environment's reward", [Line(at, reward)]))
    return curves


def _prediction_view(loop: OpenLoop) -> PredictionView:
    truth, predicted = to_bytes(loop.truth), to_bytes(loop.predicted)
    steps = np.arange(1.0, len(loop.error) - SEEN + 1)
    ahead = slice(SEEN, None)
    lines = [
        Line(steps, loop.error[ahead], COLOURS[0], "model"),
        Line(steps, loop.frozen_error[ahead], COLOURS[1], "last seen frame"),
    ]
    return PredictionView(
        seen=SEEN,
        ahead=len(steps),
        begin=loop.begin,
        truth=strip(list(truth)),
        predicted=strip(list(predicted)),
        error=strip(list(error_colours(truth, predicted))),
        mse=float(loop.error[ahead].mean()),
        frozen_mse=float(loop.frozen_error[ahead].mean()),
        chart=panel("mean squared error", lines, x_label="steps without looking"),
    )


def _episode_numbers(shown: ShownEpisode) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "episode": dataclasses.asdict(shown.ref),
        "events": {name: rows.tolist() for name, rows in shown.events.items()},
        "threshold": shown.threshold,
    }
    if shown.reward is not None:
        numbers["reward"] = shown.reward.tolist()
    if shown.disagreement is not None:
        numbers["disagreement"] = shown.disagreement.tolist()
    if shown.prediction is not None:
        numbers["open_loop_mse"] = shown.prediction.error.tolist()
        numbers["open_loop_mse_of_last_frame"] = shown.prediction.frozen_error.tolist()
    return numbers
