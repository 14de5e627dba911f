"""Questions while exploring: what they teach R_ψ, and that a kill buys nothing twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from sensei.annotate.oracle import NoisyOracle
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer, Frame
from sensei.envs import make_adapter
from sensei.fields import with_dotted
from sensei.presets import RunConfig, preset
from sensei.run import checkpoint
from sensei.run.loop import Loop
from sensei.run.metrics import read_metrics, series
from sensei.run.workspace import Workspace
from sensei.stages.distill import frame_logits, observations
from sensei.stages.pipeline import execute, plan
from sensei.stages.setups import load_reward_model
from sensei.types import SenseiError, UsageError
from small_run import FIELDS

SMALL: dict[str, Any] = {
    "env.num_envs": 2,
    "env.processes": 0,
    "agent.batch": 2,
    "agent.length": 8,
    "agent.horizon": 2,
    "collect.env_steps": 1_000,
    "collect.label_frames": 300,
    "annotate.pairs": 40,
    "annotator.kind": "noisy",
    "annotator.flip_rate": 0.05,
    "explore.env_steps": 2_400,
    "explore.prefill": 1_600,
    "explore.train_ratio": 0.5,
    "explore.replay_gb": 0.01,
    "explore.label_frames": 800,
    "explore.online_every": 400,
    "explore.online_pairs": 80,
} | {f"agent.size.{name}": value for name, value in FIELDS["agent"]["size"].items()}
"""Few labels before exploration and many during it, most of which acts at random."""


def config_of(folder: Path, **fields: Any) -> RunConfig:
    return with_dotted(preset("tiny", "smoke"), SMALL | {"dir": str(folder)} | fields)


def explored(folder: Path, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """Explore, or go on; return the summary and what the user was told."""
    said: list[str] = []
    summary = execute(config_of(folder, **fields), Workspace(folder, said.append), last="explore")
    return summary, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("online") / "run"
    return folder, explored(folder)[0]


def everything(folder: Path) -> dict[str, Any]:
    """Every label bought, and every number that exploration left."""
    with LabelStore(folder / "labels.sqlite") as store:
        labels, table = store.labels(), store.frame_table()
        assert len(store.answers()) == len(labels)  # each pair once
        places = zip(table.stage.tolist(), table.env.tolist(), table.step.tolist(), strict=True)
        where = dict(zip(table.id.tolist(), places, strict=True))
        asked = [(where[a], where[b]) for a, b in zip(labels.first, labels.second, strict=True)]
    here = folder / "explore"
    names = ("checkpoint", "reward", *(f"online/round-{n:06d}" for n in range(1, 5)))
    arrays = {n: safetensors.numpy.load_file(here / f"{n}.safetensors") for n in names}
    exact = {n: {k: a.tobytes() for k, a in found.items()} for n, found in arrays.items()}
    return {"asked": asked, "y": labels.y.tolist(), "learned": exact}


def accuracy(folder: Path, key: str) -> float:
    """How many pairs of exploration's held-out frames this R_ψ orders as the oracle does."""
    config, workspace = config_of(folder), Workspace(folder)
    adapter = make_adapter(config.env, 0)
    model = load_reward_model(config, adapter.spec, workspace, key)
    with LabelStore(workspace.labels) as store:
        table = store.frame_table("explore")
        held_out = table.split == "val"
        obs = observations(store.frames(table.id[held_out], pictures=False))
    standard = (frame_logits(model, obs) - model.offset[:, None]) / model.scale[:, None]
    reward, score = np.asarray(standard).mean(0), table.score[held_out]
    first, second = np.triu_indices(len(score), 1)
    known = score[first] != score[second]
    right = (reward[first] < reward[second]) == (score[first] < score[second])
    return float(right[known].mean())


def test_r_psi_knows_what_exploration_sees_better_than_without(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = whole
    assert accuracy(folder, "explore") > accuracy(folder, "distill") + 0.05


def test_every_round_is_recorded(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = whole
    rounds = summary["online"]["rounds"]
    assert [entry["turn"] for entry in rounds] == [1, 2, 3, 4]
    assert [entry["labels"] for entry in rounds] == [80, 160, 240, 320]
    assert not any(entry["stopped"] for entry in rounds)
    assert rounds[-1]["decided"] > 5 and rounds[-1]["accuracy"] > 0.5
    asked = everything(folder)["asked"]
    assert len(asked) == 40 + 320
    for n, pair in enumerate(asked[40:]):
        for stage, _, row in pair:  # its frames were there when the round began
            # Two environments, of at least 20 steps between two resets.
            assert stage == "explore" and row <= (1 + n // 80) * 400 / 2 * 1.05 + 2


def test_what_a_round_has_taught_is_logged_when_it_comes_into_use(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    records = read_metrics(whole[0] / "metrics.jsonl", "explore")
    assert series(records, "online/labels")[1] == [80, 160, 240, 320]
    assert min(series(records, "online/labels")[0]) >= 800
    assert series(records, "online/accuracy")[1] == [
        entry["accuracy"] for entry in whole[1]["online"]["rounds"]
    ]


class Killed(BaseException):
    """Stands for SIGKILL: nothing saves after it, in no thread."""


@pytest.mark.parametrize("place", ["answer", "weights", "loop"])
def test_killed_in_a_round_and_continued(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: tuple[Path, dict[str, Any]],
    place: str,
) -> None:
    dead, count = [False], [0]

    def dying(owner: Any, name: str, after: int) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            count[0] += name != "_round"
            dead[0] |= count[0] > after
            if dead[0]:
                raise Killed
            return real(*args, **kwargs)

        patch.setattr(owner, name, call)

    with monkeypatch.context() as patch:
        if place == "answer":
            dying(NoisyOracle, "compare", 40 + 80 + 30)  # in the second round
        elif place == "weights":
            dying(checkpoint, "save", 1 + 1 + 1 + 1)  # R_ψ, checkpoint, round 1, checkpoint
        dying(Loop, "_round", 10**9)
        if place == "loop":
            rounds = iter(range(840))  # some 508 of them collect, 200 lead to the first questions
            real = Loop._round
            patch.setattr(Loop, "_round", lambda loop: real(loop) if next(rounds) < 839 else die())
        with pytest.raises(Killed):
            explored(tmp_path)
    summary, _ = explored(tmp_path)
    assert everything(tmp_path) == everything(whole[0])
    assert summary == whole[1]


def die() -> None:
    raise Killed


def test_questions_end_with_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Priced(NoisyOracle):
        async def compare(self, first: Frame, second: Frame) -> Answer:
            answer = await super().compare(first, second)
            return dataclasses.replace(answer, tokens_in=10)

    monkeypatch.setattr("sensei.annotate.build.NoisyOracle", Priced)
    one, two, *rest = explored(tmp_path, **{"annotator.token_budget": 1_000})[0]["online"]["rounds"]
    assert one["labels"] == 60 and one["tokens"] == 1_000
    assert two["labels"] == 60 and "budget of 1,000 tokens is spent" in two["stopped"]
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert store.count_pairs() == 40 + 80 and len(store.answers()) == 100
    assert len(rest) == 2


def test_exploration_goes_on_without_an_annotator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: NoisyOracle, first: Frame, second: Frame) -> Answer:
        raise SenseiError("nobody answers")

    def run(**fields: Any) -> tuple[dict[str, Any], list[str]]:
        return explored(tmp_path, **fields)

    execute(config_of(tmp_path), Workspace(tmp_path, lambda _: None), last="distill")
    monkeypatch.setattr(NoisyOracle, "compare", gone)
    summary, said = run()
    assert [entry["stopped"] for entry in summary["online"]["rounds"]] == ["nobody answers"] * 4
    assert sum("nobody answers" in line for line in said) == 4
    assert accuracy(tmp_path, "explore") == accuracy(tmp_path, "distill")


def test_only_explorations_that_ask_depend_on_who_answers() -> None:
    def settings(**fields: Any) -> set[str]:
        steps = plan(config_of(Path("x"), **fields))
        return set(next(step.settings for step in steps if step.kind == "explore"))

    more = settings() - settings(**{"explore.online_every": 0})
    assert {"explore.online_every", "explore.online_pairs", "annotator.kind"} < more
    assert {name.split(".")[0] for name in more} == {"explore", "annotator", "distill"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"explore.method": "p2e"}, "method 'p2e' uses no labels"),
        ({"distill.members": 1}, "distill.members is 1, which cannot disagree"),
        ({"annotator.kind": "human"}, "a person would have to wait"),
        ({"explore.label_frames": 0}, "no frames are kept"),
        ({"explore.online_pairs": 0}, "1 or more pairs"),
    ],
)
def test_questions_that_teach_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_of(Path("x"), **fields)
