"""What goes wrong is told in one line with a remedy, and nothing that was there is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sensei import cli
from sensei.data.label_store import LabelStore
from sensei.run.workspace import Workspace
from sensei.testing.server import FakeVLM, brighter
from small_run import Commands, error_of, told_by


@pytest.fixture
def copy(whole_run: Path, tmp_path: Path) -> Path:
    """The finished run, to be damaged."""
    folder = shutil.copytree(whole_run, tmp_path / "copy")
    config = Workspace(folder).config() | {"dir": str(folder)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def contents(folder: Path) -> dict[str, str]:
    """The hash of each file of a run that holds work; logs may tell of the failure."""
    told = {"manifest.json", "metrics.jsonl", "labels.sqlite-wal", "labels.sqlite-shm", ".lock"}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in told
    }


def without(commands: Commands, folder: Path, module: str) -> dict[str, str]:
    """The environment variables of a machine where a module is not installed."""
    folder.mkdir()
    text = f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
    (folder / f"{module}.py").write_text(text)
    before = commands.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([before] if before else [])])}


def test_missing_minihack(commands: Commands, tmp_path: Path) -> None:
    environ = without(commands, tmp_path / "site", "minihack")
    run = tmp_path / "run"
    error = error_of(commands("collect", "keychest", "--dir", run, code=1, **environ))
    assert "pip install 'sensei-rl[minihack]'" in error
    assert not (run / "collect" / "checkpoint.safetensors").exists()


def test_missing_openai(commands: Commands, copy: Path, tmp_path: Path) -> None:
    environ = without(commands, tmp_path / "site", "openai")
    shutil.rmtree(copy / "annotate")
    before = contents(copy)
    words = ["--dir", copy, "--annotator", "vlm", "--annotator.base-url", "http://127.0.0.1:9/v1"]
    error = error_of(commands("annotate", *words, code=2, **environ))
    assert "pip install 'sensei-rl[vlm]'" in error
    assert contents(copy).keys() == before.keys()
    with LabelStore(copy / "labels.sqlite") as labels:
        assert len(labels.labels()) == 150


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["keychset"], "did you mean 'keychest'?"),
        (["--env", "gym:CartPole-v9"], "gym:CartPole-v9"),
        (["--env", "nowhere:Env"], "no module 'nowhere'"),
        (["--env", "sensei.testing.envs:Corridr"], "near: Corridor"),
        (["tiny", "--env.options.max_steps", "3"], "has no option max_steps"),
        (["tiny", "--env.image-size", "40"], "env.image_size is 40"),
        (["tiny", "--agent.squares", "3"], "env.image_size is 16: give a multiple of 12"),
        (["tiny", "--agent.squares", "0"], "agent.squares is 0: give 1 or more"),
        (["tiny", "--solve.env-steps", "0"], "solve.offline_updates"),
        (["tiny", "--explore.offline-updates", "5"], "--explore.keep-collected"),
        (["tiny", "--explore.rise-share", "1"], "explore.rise_share is 1.0: give 0 or more"),
        (["tiny", "--explore.epsilon", "1"], "explore.epsilon is 1.0 and"),
        (["tiny", "--solve.epsilon-repeat", "0"], "solve.epsilon_repeat 0: give"),
        (["tiny", "--solve.own-weight", "0"], "solve.own_weight is 0.0: give 1 or more"),
        (
            ["tiny", "--method", "p2e", "--solve.potential", "0.25"],
            "solve.potential is 0.25, but method 'p2e' has no R_ψ: give --solve.potential 0",
        ),
        (
            ["tiny", "--method", "random", "--solve.policy", "explorer"],
            "'random' learns no policy while it explores: give --solve.policy fresh",
        ),
        (["tiny", "--explore.keep-collected", "true"], "--explore.no-keep-collected"),
        (["tiny", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    error = told_by(capsys, "run", *words, "--budget", "smoke", "--dir", tmp_path / "x", code=2)
    assert message in error


@pytest.mark.parametrize(
    ("env", "annotator", "code", "message"),
    [
        ("gym:CartPole-v1", "human", 1, "has no picture for an annotator; give it render_label()"),
        ("sensei.testing.envs:PointMass", "auto", 2, "has no oracle_score(): choose --annotator"),
    ],
)
def test_environment_without_what_labels_need(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    env: str,
    annotator: str,
    code: int,
    message: str,
) -> None:
    words = ["--annotator", annotator, "--env.processes", "0", "--budget", "smoke"]
    assert message in told_by(capsys, "run", env, *words, "--dir", tmp_path / "x", code=code)
    # Found out at once, not after an hour of collecting.
    assert not Workspace(tmp_path / "x").finished("collect")


def overwrite(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in (folder / name, folder / f"{name}.prev"):
            if path.exists():
                path.write_bytes(b"{not this")

    return damage


def remove_shards(folder: Path) -> None:
    for path in (folder / "explore" / "episodes").glob("shard-*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (overwrite("config.yaml"), "config.yaml cannot be read"),
        (overwrite("explore/manifest.json"), "manifest.json cannot be read"),
        (overwrite("explore/checkpoint.safetensors"), "damaged"),
        (overwrite("explore/episodes/index.json"), "are damaged (index.json"),
        (remove_shards, "shard-000000.bin is missing"),
    ],
)
def test_damaged_run_folder(
    commands: Commands,
    copy: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    told: str,
) -> None:
    shutil.rmtree(copy / "solve")  # so that exploration is read again
    whole = shutil.copytree(copy, copy.with_name("restored"))
    damage(copy)
    before = contents(copy)
    assert told in told_by(capsys, "solve", "--dir", copy, code=1)
    after = contents(copy)
    assert {name: after.get(name) for name in before} == before
    if told == "damaged":
        for name in before:  # what was damaged is restored, and the same command goes on
            shutil.copy(whole / name, copy / name)
        commands("solve", "--dir", copy)
        assert Workspace(copy).finished("solve/task")


def test_damaged_reward_model(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "explore")
    path = next(copy.rglob("reward.safetensors"))
    path.write_bytes(path.read_bytes()[:-50])
    assert "--force" in told_by(capsys, "explore", "--dir", copy, code=1)


def test_run_of_another_configuration(
    commands: Commands, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(copy)
    words = ["--dir", copy, "--env", "keyroom", "--budget", "smoke"]
    error = told_by(capsys, "run", *words, code=2)
    assert "env.name was 'tiny'" in error and "--dir OTHER" in error
    error = told_by(capsys, "run", "--dir", copy, "--seed", 5, code=2)
    assert "seed was 0" in error and "--force" in error
    assert contents(copy) == before
    commands("run", "--dir", copy)


def test_unreachable_model_server(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    shutil.rmtree(copy / "annotate")
    words = ["--dir", copy, "--annotator", "vlm", "--annotator.retries", 0]
    error = told_by(capsys, "annotate", *words, "--annotator.base-url", url, code=1)
    assert url in error and "--annotator.base-url" in error
    with LabelStore(copy / "labels.sqlite") as labels:
        assert len(labels.labels()) == 150
        assert labels.annotators() == ["oracle"]
    with FakeVLM(brighter) as server:
        words += ["--annotator.base-url", server.base_url]
        assert cli.main(["annotate", *map(str, words)]) == 0
        assert server.requests == 150


def test_labels_of_a_newer_version(
    commands: Commands, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def set_version(number: int) -> int:
        with sqlite3.connect(copy / "labels.sqlite") as database:
            (before,) = database.execute("PRAGMA user_version").fetchone()
            database.execute(f"PRAGMA user_version = {number}")
        database.close()
        return before

    own = set_version(99)
    shutil.rmtree(copy / "distill", ignore_errors=True)
    shutil.rmtree(copy / "reward", ignore_errors=True)
    error = told_by(capsys, "distill", "--dir", copy, code=1)
    assert "labels.sqlite was written by a newer sensei" in error and "update sensei" in error
    assert set_version(own) == 99
    commands("distill", "--dir", copy)


def test_labels_that_are_no_database(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in copy.glob("labels.sqlite*"):
        path.unlink()
    (copy / "labels.sqlite").write_bytes(b"not a database at all" * 100)
    shutil.rmtree(copy / "reward", ignore_errors=True)
    shutil.rmtree(copy / "distill", ignore_errors=True)
    error = told_by(capsys, "distill", "--dir", copy, code=1)
    assert "labels.sqlite is not a readable label store" in error


@pytest.mark.parametrize(
    ("misdeed", "message", "processes"),
    [
        ("shape", "shape (3,)", 0),
        ("shape", "shape (3,)", 1),
        ("nan", "nan", 0),
        ("missing", "lacks 'state'", 0),
        ("raise", "the simulation exploded", 0),
        ("raise", "the simulation exploded", 1),
        ("four", "5", 0),
    ],
)
def test_environment_that_breaks_its_word(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    misdeed: str,
    message: str,
    processes: int,
) -> None:
    words = ["--env", "sensei.testing.envs:Misbehaving", "--env.options.misdeed", misdeed]
    words += [
        "--env.options.at",
        "2",
        "--env.num-envs",
        "1",
        "--env.processes",
        str(processes),
        "--budget",
        "smoke",
    ]
    words += ["--collect.label-frames", "0", "--dir", str(tmp_path / "x")]
    assert message in told_by(capsys, "collect", *words, code=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no space on a disk."""
    path = place / "others"
    with open(path, "wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return path


def test_full_disk_in_the_middle(commands: Commands, whole_run: Path, small_disk: Path) -> None:
    folder = shutil.copytree(whole_run, small_disk / "run")
    for name in ("explore", "solve", "evaluate", "report"):
        shutil.rmtree(folder / name)
    words = ["--dir", folder, "--explore.save-every", 40]
    started = commands.begin("explore", *words)
    end = time.monotonic() + 200
    while not (folder / "explore" / "checkpoint.safetensors").exists():
        assert time.monotonic() < end and started.poll() is None
        time.sleep(0.002)
    others = fill(small_disk)
    _, told = started.communicate(timeout=200)
    assert started.returncode == 1, told
    assert "Traceback" not in told
    assert "free some space" in told.rstrip().splitlines()[-1]

    others.unlink()
    commands("explore", *words)
    own, other = (Workspace(f).summary("explore") for f in (folder, whole_run))
    assert own == other


def test_full_disk_at_the_beginning(commands: Commands, small_disk: Path) -> None:
    others = fill(small_disk)
    run = small_disk / "run"
    done = commands.small("collect", run, code=1)
    assert "free some space" in error_of(done)
    others.unlink()
    commands.small("collect", run)
    assert Workspace(run).finished("collect")
