"""The whole pipeline as a user starts it: one command, real processes, a tiny environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from sensei.data.episodes import EpisodeStore
from sensei.data.label_store import LabelStore
from sensei.run import checkpoint
from sensei.run.metrics import read_metrics
from sensei.run.workspace import Workspace
from sensei.testing.server import FakeVLM
from small_run import Commands

WHOLE = ["collect", "annotate", "distill", "explore", "solve/task", "evaluate/task", "report"]


@pytest.fixture
def copy(whole_run: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return shutil.copytree(whole_run, tmp_path / "copy")


def forget(folder: Path, *stages: str) -> Path:
    """As if these stages had never been started."""
    for stage in stages:
        shutil.rmtree(folder / stage)
    return folder


def explored(folder: Path) -> dict[str, Any]:
    """Everything that exploration left, bit for bit."""
    path = folder / "explore" / "checkpoint.safetensors"
    state = {k: (a.shape, a.tobytes()) for k, a in safetensors.numpy.load_file(path).items()}
    store = EpisodeStore.open(folder / "explore" / "episodes", read_only=True)
    rows = {name: store.column(name).tobytes() for name in store.layout.fields}
    with LabelStore(folder / "labels.sqlite") as labels:
        found = labels.frames(labels.frame_table("explore").id)
    frames = sorted((f.env, f.step, f.obs, f.picture, f.score) for f in found)
    meta = checkpoint.read_meta(path)
    return {"state": state, "meta": meta, "steps": store.steps, "rows": rows, "frames": frames}


def test_every_stage_is_done_and_leaves_its_files(whole_run: Path) -> None:
    workspace = Workspace(whole_run)
    assert all(workspace.finished(key) for key in WHOLE)
    for name in (
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "labels.sqlite",
        "collect/episodes/index.json",
        "explore/checkpoint.safetensors",
        "solve/task/checkpoint.safetensors",
        "report/index.html",
    ):
        assert (whole_run / name).stat().st_size > 0, name
    assert not list(whole_run.rglob("*.pkl")) and not list(whole_run.rglob("*.tmp"))


def test_numbers_of_the_whole_run_fit_together(whole_run: Path) -> None:
    workspace = Workspace(whole_run)
    summary = {key: workspace.summary(key) for key in WHOLE}
    assert summary["collect"]["env_steps"] == 1_400 and summary["collect"]["updates"] == 0
    assert summary["annotate"]["quality"]["answers"] == 150
    assert summary["distill"]["training_pairs"] + summary["distill"]["validation_pairs"] == 150
    updates = (400 - 100) * 2.0 / 16
    assert abs(summary["explore"]["updates"] - updates) <= 2
    for way in ("sampled", "mode"):
        played = summary["evaluate/task"][way]
        assert played["episodes"] == len(played["returns"]) == len(played["lengths"]) == 2
        assert max(played["lengths"]) <= 64
    stages = [record["stage"] for record in read_metrics(whole_run / "metrics.jsonl")]
    assert {"collect", "explore", "solve/task", "evaluate/task/mode"} <= set(stages)
    with LabelStore(whole_run / "labels.sqlite") as labels:
        known = labels.labels()
    known = known.select(known.true_order >= 0)
    np.testing.assert_array_equal(known.y, known.true_order)


def test_the_same_command_again_is_a_no_op(commands: Commands, whole_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole_run.rglob("checkpoint.safetensors")}
    done = commands.small("run", whole_run)
    assert done.stderr.count(": done (") == len(WHOLE)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    json.loads(done.stdout)


def wait_for(there: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for orphans below /proc")
def test_killed_in_the_middle_and_started_again(
    commands: Commands, whole_run: Path, copy: Path
) -> None:
    folder = forget(copy, "explore", "solve", "evaluate", "report")
    words = commands.small_words(folder, "--explore.save-every", 40)
    victim = commands.begin("run", *words)
    wait_for((folder / "explore" / "checkpoint.safetensors").exists)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    record = Workspace(folder).record("explore")
    assert record is not None and record.status not in ("done", "stopped")
    steps = checkpoint.read_meta(folder / "explore" / "checkpoint.safetensors")["env_steps"]
    assert 40 <= steps < 400
    wait_for(lambda: not members(victim.pid), 20.0)  # environment workers do not outlive it

    done = commands("run", *words)
    assert all(Workspace(folder).finished(key) for key in WHOLE)
    assert "collect: done" in done.stderr and "explore: finished" in done.stderr
    assert explored(folder) == explored(whole_run)
    logged = [r["step"] for r in read_metrics(folder / "metrics.jsonl", "explore")]
    assert logged == sorted(set(logged))


def members(session: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_ctrl_c_saves_and_the_exit_code_says_so(
    commands: Commands, whole_run: Path, copy: Path
) -> None:
    folder = forget(copy, "explore")
    words = commands.small_words(folder, "--explore.save-every", 40)
    started = commands.begin("explore", *words)
    wait_for((folder / "explore" / "checkpoint.safetensors").exists)
    started.send_signal(signal.SIGINT)
    _, error = started.communicate(timeout=60)
    assert started.returncode == 3
    assert error.rstrip().splitlines()[-1].startswith("sensei: stopped: explore stopped and saved")
    assert "continue with: sensei explore" in error
    commands("explore", *words)
    assert explored(folder) == explored(whole_run)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("p2e", marks=pytest.mark.slow),
        pytest.param("dreamer", marks=pytest.mark.slow),
        pytest.param("rnd", marks=pytest.mark.slow),
        "random",
    ],
)
def test_methods_without_labels(commands: Commands, tmp_path: Path, method: str) -> None:
    words = ["--method", method, "--explore.env-steps", 150, "--solve.env-steps", 30]
    commands.small("run", tmp_path / "run", *words)
    workspace = Workspace(tmp_path / "run")
    assert workspace.finished("evaluate/task") and workspace.finished("report")
    assert not workspace.labels.exists() or not (workspace.root / "annotate").exists()
    check_exploration(workspace, method)


@pytest.mark.slow  # each compiles a learner of its own that differs from sensei's in its gate
@pytest.mark.parametrize("method", ["vlm", "fixed"])
def test_methods_with_labels(commands: Commands, copy: Path, method: str) -> None:
    forget(copy, "explore", "solve", "evaluate", "report")  # the labels are the same for each
    commands.small("explore", copy, "--method", method, "--explore.env-steps", 150)
    check_exploration(Workspace(copy), method)


def check_exploration(workspace: Workspace, method: str) -> None:
    assert workspace.config()["explore"]["method"] == method
    summary = workspace.summary("explore")
    assert summary["env_steps"] == 150 and (summary["updates"] > 0) == (method != "random")
    for record in read_metrics(workspace.root / "metrics.jsonl", "explore"):
        assert all(np.isfinite(v) for k, v in record.items() if k != "stage"), record


def test_two_generations_with_a_noisy_annotator(commands: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    words = ["--generations", 2, "--annotator", "noisy", "--annotator.flip-rate", 0.2]
    commands.small("run", folder, *words, "--explore.env-steps", 150, "--solve.env-steps", 30)
    workspace = Workspace(folder)
    assert workspace.finished("explore-2") and workspace.finished("report")
    with LabelStore(folder / "labels.sqlite") as labels:
        assert labels.count_pairs() == 300
        assert {pair.generation for pair in labels.pairs()} == {1, 2}
        stages = labels.frame_table().stage
        assert {"collect", "explore", "explore-2"} <= set(stages.tolist())
        second = [pair for pair in labels.pairs() if pair.generation == 2]
        asked = labels.frames([pair.first for pair in second], pictures=False)
        assert {frame.stage for frame in asked} == {"explore"}
        known = labels.labels()
        known = known.select(known.true_order >= 0)
        wrong = (known.y != known.true_order).mean()
    assert 0.1 < wrong < 0.3
    first, later = (
        workspace.folder(k) / "checkpoint.safetensors" for k in ("explore", "explore-2")
    )
    for path in (first, later):
        assert checkpoint.read_meta(path)["env_steps"] == 150
    assert safetensors.numpy.load_file(first).keys() == safetensors.numpy.load_file(later).keys()


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L"), np.float64).mean())


def brightest(first: Image.Image, second: Image.Image) -> str:
    one, other = brightness(first), brightness(second)
    return "tie" if one == other else "second" if other > one else "first"


def test_labels_by_a_model_server(commands: Commands, copy: Path) -> None:
    with sqlite3.connect(copy / "labels.sqlite") as database:
        database.execute("DELETE FROM queries")
    database.close()
    shutil.rmtree(copy / "annotate")
    with FakeVLM(brightest, key="sk-secret-of-a-test") as server:
        words = ["--annotator", "vlm", "--annotator.base-url", server.base_url]
        commands("annotate", "--dir", copy, *words, OPENAI_API_KEY="sk-secret-of-a-test")
        assert server.requests == 150 and server.saw_authorization
    assert Workspace(copy).summary("annotate")["annotator"].startswith("vlm:fake-vlm")
    with LabelStore(copy / "labels.sqlite") as labels:
        known = labels.labels()
        pictures = {f.id: f.picture for f in labels.frames(labels.frame_table().id)}
    assert len(known) == 150 and (known.status == "labelled").all()
    for first, second, y in zip(known.first, known.second, known.y, strict=True):
        one, other = (brightness(picture_of(pictures[int(i)])) for i in (first, second))
        assert y == pytest.approx(0.5 if one == other else float(other > one), abs=1e-6)
    for path in copy.rglob("*"):
        assert not path.is_file() or b"sk-secret-of-a-test" not in path.read_bytes(), path


def picture_of(data: bytes) -> Image.Image:
    import io

    return Image.open(io.BytesIO(data))


def test_a_task_from_imagination_alone(commands: Commands, copy: Path) -> None:
    words = ["--solve.env-steps", 0, "--solve.offline-updates", 4]
    commands("solve", "--dir", copy, *words, "--force")
    summary = Workspace(copy).summary("solve/task")
    assert (summary["env_steps"], summary["updates"], summary["episodes"]) == (0, 4, 0)
    assert EpisodeStore.open(copy / "solve" / "task" / "episodes", read_only=True).steps == 0
    model = "['state'].agent.world_model"
    solved = safetensors.numpy.load_file(copy / "solve" / "task" / "checkpoint.safetensors")
    assert any(name.startswith(model) for name in solved)
    commands("evaluate", "--dir", copy)
    assert Workspace(copy).summary("evaluate/task")["mode"]["episodes"] == 2


def test_a_task_with_an_empty_replay(commands: Commands, copy: Path) -> None:
    commands("solve", "--dir", copy, "--solve.no-keep-replay", "--force")
    summary = Workspace(copy).summary("solve/task")
    assert summary["env_steps"] == 100
    # It has to wait for its first own windows of 8 rows, and then catches up.
    assert abs(summary["updates"] - 100 * 2.0 / 16) <= 2


@pytest.mark.parametrize("policy", ["fresh", "explorer"])
def test_a_task_begins_with_the_policy_that_was_asked_for(
    commands: Commands, copy: Path, policy: str
) -> None:
    """Twenty steps are too few for an update, so what it began with is what it ends with."""
    words = ["--solve.policy", policy, "--solve.env-steps", 20, "--solve.train-ratio", 0.01]
    commands("solve", "--dir", copy, *words, "--force")
    assert Workspace(copy).summary("solve/task")["updates"] == 0
    explorer, begun = (
        {name: array for name, array in saved.items() if ".agent.actor" in name}
        for stage in ("explore", "solve/task")
        for saved in [safetensors.numpy.load_file(copy / stage / "checkpoint.safetensors")]
    )
    assert explorer.keys() == begun.keys() and len(begun) > 2
    same = [np.array_equal(explorer[name], begun[name]) for name in begun]
    assert all(same) == (policy == "explorer")


def test_a_task_learned_with_interludes_is_evaluated_with_them_too(
    commands: Commands, copy: Path
) -> None:
    words = ["--solve.epsilon", 0.9, "--solve.epsilon-repeat", 50, "--solve.env-steps", 20]
    commands("solve", "--dir", copy, *words, "--solve.train-ratio", 0.01, "--force")
    commands("evaluate", "--dir", copy, "--task", "task")
    summary = Workspace(copy).summary("evaluate/task")
    assert list(summary) == ["sampled", "mode", "interludes"]
    actions = {}
    for way in ("sampled", "interludes"):
        store = EpisodeStore.open(copy / "evaluate/task" / way / "episodes", read_only=True)
        actions[way] = store.column("prev_action").argmax(-1)[:, :10]
    held = {way: np.mean(a[:, 2:] == a[:, 1:-1]) for way, a in actions.items()}
    assert held["interludes"] > 0.8 > held["sampled"]
    commands("report", "--dir", copy)
    assert "with random actions held between" in (copy / "report/index.html").read_text()
