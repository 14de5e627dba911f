"""Strips: the frames of two moments, whatever the loop goes through."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from loop_parts import ENV, StopAfter, everything, play

from sensei.data.episodes import EpisodeStore
from sensei.data.images import decode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame
from sensei.envs.contract import LabelView
from sensei.run.strips import GAP, Strips
from sensei.types import Stopped

STEPS = 5


def frames_of(folder: Path) -> list[Frame]:
    with LabelStore(folder / "labels.sqlite") as labels:
        return labels.frames(labels.frame_table("explore").id)


def halves(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    picture = decode_png(frame.picture)
    side = (picture.shape[1] - GAP) // 2
    assert (picture[:, side : side + GAP] == 255).all()
    return picture[:, :side], picture[:, side + GAP :]


def test_a_strip_shows_its_moment_and_the_one_steps_later_or_the_last(tmp_path: Path) -> None:
    play(tmp_path / "single", env_steps=900, label_frames=900)
    shown = {(f.env, f.step): decode_png(f.picture) for f in frames_of(tmp_path / "single")}
    play(tmp_path / "strips", env_steps=900, label_frames=100, strip=STEPS)
    store = EpisodeStore.open(tmp_path / "strips" / "stage" / "episodes", read_only=True)
    ends = store.column("is_last")
    found, cut = frames_of(tmp_path / "strips"), 0
    for frame in found:
        later = frame.step + STEPS
        over = np.flatnonzero(ends[frame.env, frame.step : later])
        if len(over):
            later, cut = frame.step + int(over[0]), cut + 1
        now, then = halves(frame)
        np.testing.assert_array_equal(now, shown[frame.env, frame.step])
        np.testing.assert_array_equal(then, shown[frame.env, later])
        assert frame.score == store.column("score")[frame.env, frame.step]
    assert cut > 0
    assert abs(len(found) - 100) < 4 * np.sqrt(100)


@pytest.mark.parametrize("processes", [0, 2])
def test_stopped_inside_strips_and_continued(tmp_path: Path, processes: int) -> None:
    fields = {"env_steps": 240, "label_frames": 60, "strip": STEPS}
    play(tmp_path / "whole", **fields)
    env = dataclasses.replace(ENV, processes=processes)
    for rounds in (7, 15, 2):
        with pytest.raises(Stopped):
            play(tmp_path / "parts", env=env, interrupts=StopAfter(rounds), **fields)
    play(tmp_path / "parts", env=env, **fields)
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    assert len(frames_of(tmp_path / "parts")) > 20


def test_a_strip_whose_episode_is_lost_is_no_frame() -> None:
    strips, view = Strips(2), LabelView(np.zeros((4, 4, 3), np.uint8), "")

    def see(first: bool) -> list[Frame]:
        rows = {"is_first": np.array([first, False]), "is_last": np.zeros(2, np.bool_)}
        frames = strips.frames(rows, [view, None], lambda *_: Frame("explore", 1, 0, 0, 0, b""))
        return list(frames)

    assert see(first=False) == []
    assert strips.wanted(np.zeros(2, np.bool_)).tolist() == [True, False]
    assert see(first=True) == []
    assert strips.wanted(np.zeros(2, np.bool_)).tolist() == [False, False]


def test_the_chance_makes_up_for_the_steps_of_a_strip() -> None:
    assert Strips(0).chance(0.1) == pytest.approx(0.1)
    assert Strips(5).chance(0.1) == pytest.approx(0.2)  # one in 1/.2 + 5 = 10 steps
    assert Strips(50).chance(0.1) == 1.0
