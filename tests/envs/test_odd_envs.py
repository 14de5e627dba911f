"""Ten environments that look like no other, and five bad ones, met as a run meets them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from sensei import cli
from sensei.data.episodes import EpisodeStore
from sensei.data.images import decode_png
from sensei.data.label_store import LabelStore
from sensei.envs import EnvConfig, make_adapter
from sensei.envs import pool as pools
from sensei.envs.pool import EnvPool
from sensei.run.metrics import read_metrics
from sensei.run.workspace import Workspace
from sensei.testing.odd_envs import KINDS
from small_run import Commands

WORLD = "sensei.testing.odd_envs:OddWorld"

TOLD = {
    "tall": ["image 'obs': 210×160×3 uint8 → 64×64×3 by area", "action: Discrete(4) → one-hot"],
    "grey": ["84×84 uint8 → 64×64×1 by area", "MultiDiscrete([3 2]) → a one-hot block each"],
    "channels_first": ["3×48×64 uint8, channels first → 64×64×3 by area", "MultiBinary(3) →"],
    "stack": ["4×40×40×3 uint8, 4 frames → 64×64×12", "Box 2×2 in [-3, 5] → [-1, 1]"],
    "real_image": ["32×32×1 float32 → 64×64×1 by area"],
    "two_cameras": ["images are stacked on channels: 64×64×4", "Box 2 in [0, 10]"],
    "nested": ["numbers 'arm/grip': Discrete → arm/grip=0, arm/grip=1", "action/tool/which: Disc"],
    "tuple": ["numbers '0': Box 2×3 → 0[0], …, 0[5]", "vector: 16 numbers", "action/1: Box 2"],
    "rank_three": ["numbers 'obs': Box 2×3×2 → obs[0], …, obs[11]", "action: Box 1 in [-1, 1]"],
    "render_only": ["image: from render() → 64×64×3 by area", "obs=0, …, obs=15"],
}


def words(kind: str, folder: Path, *more: object) -> list[str]:
    own = ["--env.options.render", "true"] if kind == "render_only" else []
    line = ["--env", WORLD, "--env.options.kind", kind, *own, "--budget", "smoke", "--dir", folder]
    return [str(word) for word in (*line, *more)]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_environment_is_collected(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--collect.env-steps", 70, "--collect.label-frames", 40, "--env.processes", 0]
    assert cli.main(["collect", *words(kind, tmp_path / "x", *few, "--env.num-envs", 2)]) == 0
    told = capsys.readouterr().err
    for line in [*TOLD[kind], "events: moved", "oracle: yes", "annotators see: render()"]:
        assert line in told
    workspace = Workspace(tmp_path / "x")
    assert workspace.summary("collect")["events"]["moved"] > 10  # so its actions reach the world
    store = EpisodeStore.open(tmp_path / "x" / "collect" / "episodes", read_only=True)
    with LabelStore(workspace.labels) as labels:
        frames = labels.frames(labels.frame_table().id)
    assert len(frames) > 5
    for frame in frames:
        assert decode_png(frame.picture).shape == (48, 32, 3)
        if frame.obs is not None:
            seen = store.column("image")[frame.env, frame.step]
            np.testing.assert_array_equal(decode_png(frame.obs), seen)


@pytest.mark.parametrize("kind", ["channels_first", "stack", "real_image", "grey"])
def test_bright_cell_is_where_it_is_in_every_kind_of_picture(kind: str) -> None:
    adapter = make_adapter(EnvConfig(WORLD, image_size=16, options={"kind": kind}))
    for seed in range(5):
        found = adapter.reset(seed)["image"]
        row, column = adapter.env.unwrapped._at
        expected = np.zeros_like(found)
        expected[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
        np.testing.assert_array_equal(found, expected)


def test_nested_spaces_are_learned_from(commands: Commands, tmp_path: Path) -> None:
    """Image, numbers and a nested action of every sort go through real updates."""
    few = ["--method", "p2e", "--explore.env-steps", 130, "--explore.label-frames", 0]
    line = words("nested", tmp_path / "x", "--config", commands.config, *few)
    commands("explore", *line)
    summary = Workspace(tmp_path / "x").summary("explore")
    assert summary["updates"] > 0 and summary["restarts"] == 0
    for record in read_metrics(tmp_path / "x" / "metrics.jsonl", "explore"):
        assert all(np.isfinite(v) for k, v in record.items() if k != "stage"), record


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "vector"])
def test_odd_environment_runs_to_its_report(kind: str, commands: Commands, tmp_path: Path) -> None:
    line = words(kind, tmp_path / "x")
    if kind == "vector":
        line = words("nested", tmp_path / "x", "--env", "sensei.testing.odd_envs:odd_vector")
    done = commands("run", *line)
    json.loads(done.stdout)
    assert (tmp_path / "x" / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("misdeed", "said"),
    [
        ("nan", "'state' has nan at (1,) but its observation_space says finite numbers"),
        ("dtype", "'state' has dtype <U1 but its observation_space says float32"),
        ("shape", "'state' has shape (3,) but its observation_space says (2,)"),
        ("crash", "failed 5 times in a row: the process ended with exit code 7"),
    ],
)
def test_bad_environment_is_refused(
    misdeed: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The crashing one finishes an episode each time before it fails: that is no excuse."""
    line = ["--env", "sensei.testing.envs:Misbehaving", "--env.options.misdeed", misdeed]
    line += ["--env.options.at", "5", "--env.num-envs", "1", "--env.processes", "1"]
    line += ["--budget", "smoke", "--collect.label-frames", "0", "--dir", str(tmp_path / "x")]
    assert cli.main(["collect", *line]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_endless_environment_is_survived_and_asked_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pools, "LONG_EPISODE", 20)
    endless = EnvConfig(WORLD, 2, 0, options={"kind": "rank_three", "length": 10**9})
    with caplog.at_level(logging.WARNING), EnvPool(endless, seed=0) as pool:
        for _ in range(50):
            pool.step(np.zeros((2, 1), np.float32))
    assert [record.message for record in caplog.records] == [
        f"environment 0 of {WORLD} has not ended for 20 steps: if it has no end of its own,"
        " give --env.time-limit"
    ]


def test_a_time_limit_cuts_an_endless_environment_off() -> None:
    options = {"kind": "rank_three", "length": 10**9}
    with EnvPool(EnvConfig(WORLD, 1, 0, time_limit=7, options=options), seed=0) as pool:
        rows = [pool.step(np.zeros((1, 1), np.float32))[0] for _ in range(16)]
    ends = [i for i, row in enumerate(rows) if row["is_last"][0]]
    assert ends == [7, 15] and not any(row["is_terminal"][0] for row in rows)
