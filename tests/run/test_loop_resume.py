"""A loop that was stopped or killed ends exactly where one that was not does."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from loop_parts import ENV, StopAfter, everything, play

from sensei.data import rises
from sensei.data.episodes import EpisodeStore
from sensei.data.label_store import LabelStore
from sensei.run import checkpoint, saving
from sensei.run.loop import Loop
from sensei.run.metrics import read_metrics
from sensei.types import Stopped

AGENT = {"agent": True, "env_steps": 240, "prefill": 60, "train_ratio": 2.0, "label_frames": 60}
INTERLUDES = AGENT | {"epsilon": 0.1, "epsilon_repeat": 4.0}
CHANCE = {"env_steps": 240, "action_repeat": 3.0, "label_frames": 60}
KINDS = [("agent", AGENT), ("interludes", INTERLUDES), ("chance", CHANCE)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What uninterrupted loops leave."""
    done = {}
    for name, fields in KINDS:
        folder = tmp_path_factory.mktemp(name)
        loop, _ = play(folder, **fields)
        done[name] = everything(folder) | {"summary": loop.summary()}
    return done


@pytest.mark.parametrize(("name", "fields"), KINDS)
def test_same_seed_same_bytes(
    tmp_path: Path, whole: dict[str, dict[str, Any]], name: str, fields: dict[str, Any]
) -> None:
    loop, _ = play(tmp_path, **fields)
    assert everything(tmp_path) | {"summary": loop.summary()} == whole[name]
    assert len(whole[name]["frames"]) > 20


def test_interludes_change_what_is_done(whole: dict[str, dict[str, Any]]) -> None:
    assert whole["interludes"]["rows"] != whole["agent"]["rows"]


def test_another_seed_other_bytes(tmp_path: Path, whole: dict[str, dict[str, Any]]) -> None:
    play(tmp_path, **CHANCE, seed=1)
    assert everything(tmp_path)["rows"] != whole["chance"]["rows"]


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize(("name", "fields"), KINDS)
def test_stopped_at_any_round_and_continued(
    tmp_path: Path,
    whole: dict[str, dict[str, Any]],
    name: str,
    fields: dict[str, Any],
    processes: int,
) -> None:
    env = type(ENV)(name="tiny", num_envs=3, processes=processes, image_size=16)
    # During the prefill, right after it, beside an episode's end (64 steps), and soon after it.
    for rounds in (7, 15, 44, 2):
        with pytest.raises(Stopped, match="stopped and saved"):
            play(tmp_path, env=env, interrupts=StopAfter(rounds), **fields)
    loop, pool = play(tmp_path, env=env, **fields)
    assert len(pool.returned) < whole[name]["steps"] - 60
    assert everything(tmp_path) | {"summary": loop.summary()} == whole[name]


def test_rises_are_the_same_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rises, "BLOCK", 16)
    monkeypatch.setattr(rises, "SMALLEST", 0.0)  # a judge that has not learned anything
    fields = AGENT | {"judged": True, "rise_share": 0.5}
    play(tmp_path / "whole", **fields)
    with pytest.raises(Stopped, match="stopped and saved"):
        play(tmp_path / "stopped", interrupts=StopAfter(50), **fields)
    play(tmp_path / "stopped", **fields)
    found = everything(tmp_path / "whole")
    assert everything(tmp_path / "stopped") == found
    play(tmp_path / "uniform", **fields | {"rise_share": 0.0})
    assert everything(tmp_path / "uniform") != found


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it and nothing is saved."""


def dying(after: int, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ``after``-th call of something in saving or the loop be the last."""
    owner, name = {
        "round": (Loop, "_round"),
        "checkpoint": (checkpoint, "save"),
        "labels": (LabelStore, "add_frames"),
        "flush": (EpisodeStore, "flush"),
    }[where]
    calls, real = itertools.count(1), getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) > after:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("where", "after"),
    [
        ("round", 3),
        ("round", 55),
        ("checkpoint", 0),
        ("checkpoint", 2),
        ("labels", 1),
        ("flush", 1),
    ],
)
@pytest.mark.parametrize(("name", "fields"), KINDS)
def test_killed_anywhere_and_continued(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, dict[str, Any]],
    name: str,
    fields: dict[str, Any],
    where: str,
    after: int,
) -> None:
    with monkeypatch.context() as patch:
        dying(after, where, patch)
        with pytest.raises(Killed):
            play(tmp_path, save_every=45, **fields)
    loop, _ = play(tmp_path, save_every=45, **fields)
    assert everything(tmp_path) | {"summary": loop.summary()} == whole[name]
    steps = [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl", "explore")]
    assert steps == sorted(set(steps))


def test_the_store_is_never_ahead_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dying(1, "checkpoint", patch)
        with pytest.raises(Killed):
            play(tmp_path, save_every=60, **CHANCE)
    path = tmp_path / "stage"
    cursor = checkpoint.read_meta(path / "checkpoint.safetensors")["cursor"]
    assert EpisodeStore.open(path / "episodes", read_only=True).steps > cursor
    seen: list[int] = []
    real = saving._reenact

    def look(loop: Loop, episodes: Any) -> None:
        assert loop.labels is not None
        seen.extend([loop.store.steps, int(loop.labels.frame_table().step.max())])
        real(loop, episodes)

    monkeypatch.setattr(saving, "_reenact", look)
    play(tmp_path, save_every=60, **CHANCE)
    assert seen[0] == cursor and seen[1] < cursor


def test_a_damaged_checkpoint_falls_back_on_the_one_before(
    tmp_path: Path, whole: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dying(70, "round", patch)
        with pytest.raises(Killed):
            play(tmp_path, save_every=60, **CHANCE)
    path = tmp_path / "stage" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged"):
        play(tmp_path, save_every=60, **CHANCE)
    assert everything(tmp_path) == {k: v for k, v in whole["chance"].items() if k != "summary"}


def test_an_environment_that_does_not_repeat_itself_is_told_of(tmp_path: Path) -> None:
    env = type(ENV)(name="loop_parts:Forgetful", num_envs=2, processes=0, image_size=16)
    with pytest.raises(Stopped):
        play(tmp_path, env=env, interrupts=StopAfter(5), env_steps=60)
    with pytest.warns(UserWarning, match="did not repeat their unfinished episodes"):
        loop, _ = play(tmp_path, env=env, env_steps=60)
    store = EpisodeStore.open(tmp_path / "stage" / "episodes", read_only=True)
    first = store.column("is_first")
    assert first.sum(1).tolist() == [2, 2]
    assert loop.env_steps >= 60 and (~first).sum() == loop.env_steps
