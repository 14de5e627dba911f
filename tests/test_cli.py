"""The command as a user meets it: output, exit codes, one-line errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import sensei
from sensei import cli
from sensei.presets import RunConfig
from sensei.run.workspace import Workspace
from sensei.stages import pipeline
from sensei.types import SenseiError, Stopped


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sensei", *words],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def bodies(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """Let every stage return at once, or fail."""

    def run(config: RunConfig, workspace: Workspace) -> Mapping[str, Any]:
        if error is not None:
            raise error
        return {"stage": workspace.key}

    monkeypatch.setattr(pipeline, "stage_body", lambda _: run)


def test_help_is_there_without_words_and_at_once() -> None:
    began = time.monotonic()
    done = command()
    assert time.monotonic() - began < 5  # a fraction of a second on an idle machine
    assert done.returncode == 0 and done.stdout == command("--help").stdout
    for name in cli.COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_enough_is_no_error(unbuffered: str) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    line = [sys.executable, "-m", "sensei", "presets"]
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    ran = subprocess.run(line, stdout=writable, stderr=subprocess.PIPE, text=True, env=environ)
    os.close(writable)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_version() -> None:
    assert command("--version").stdout.strip() == f"sensei {sensei.__version__}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "no command 'rnu': did you mean 'run'?"),
        (["zzz"], "no command 'zzz': sensei --help lists them"),
        (["run", "--explore.env-stepz", "1"], "did you mean 'explore.env_steps'?"),
        (["run", "--explore.env-steps", "abc"], "explore.env_steps is 'abc': give a whole number"),
        (["run", "--budget", "qick"], "--budget is 'qick': did you mean 'quick'?"),
        (["presets", "x"], "takes no words"),
    ],
)
def test_usage_errors_are_one_line(words: list[str], message: str) -> None:
    done = command(*words)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("sensei: error: ") and message in line


def test_traceback_on_request() -> None:
    done = command("run", "--budget", "qick", SENSEI_TRACEBACK="1")
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = command("collect", "tiny", "--budget", "smoke", "--dir", str(tmp_path))
    assert done.returncode == 2 and "not a run" in done.stderr


def test_print_config_is_the_file_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "tiny", "--seed", "3", "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["seed"] == 3 and printed["env"]["name"] == "tiny"


def test_dry_run_creates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "x"
    assert cli.main(["run", "tiny", "--dir", str(place), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "collect: to do" in out and "env steps" in out
    assert not place.exists()


def test_presets_lists_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("keychest", "keyroom", "tiny", "gym:ID"))


def test_run_and_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies(monkeypatch)
    place = str(tmp_path / "x")
    assert cli.main(["run", "tiny", "--budget", "smoke", "--dir", place]) == 0
    assert '"stage": "report"' in capsys.readouterr().out
    assert cli.main(["explore", "--dir", place]) == 0
    assert "explore: done" in capsys.readouterr().err
    assert cli.main(["run", "--dir", place, "--dry-run", "--force"]) == 0
    assert "explore: redo (done)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SenseiError("disk\nfull"), 1, ["sensei: error: disk full"]),
        (Stopped("saved at step 3"), 3, ["saved at step 3; continue with: sensei run --dir "]),
        (KeyboardInterrupt(), 3, ["sensei: stopped: interrupted; continue with: sensei run"]),
    ],
)
def test_exit_codes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: list[str],
) -> None:
    bodies(monkeypatch, error)
    assert cli.main(["run", "tiny", "--budget", "smoke", "--dir", str(tmp_path / "x")]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert all(word in last for word in words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_process_resumably(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "slow.py"
    script.write_text(
        "import signal, sys, time\n"
        # Whatever is started in the background of a script would ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sensei import cli\n"
        "from sensei.stages import pipeline\n"
        "def body(config, workspace):\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
        "pipeline.stage_body = lambda kind: body\n"
        f"sys.exit(cli.main(['collect', 'tiny', '--dir', {str(tmp_path / 'x')!r}]))\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "continue with: sensei collect --dir" in errors.splitlines()[-1]
    record = Workspace(tmp_path / "x").record("collect")
    assert record is not None and record.status == "stopped"


def test_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "x")
    assert cli.main(["doctor", "tiny", "--budget", "smoke", "--dir", place]) == 0
    out = capsys.readouterr().out
    assert "nothing is missing" in out and "env steps" in out and "annotator: oracle" in out
    assert "tiny image 'image': 16×16×3 uint8 → 16×16×3\n" in out
    assert " random steps, " in out and "tiny episodes: " in out
    assert cli.main(["doctor", "gym:CartPole-v1", "--dir", place, "--annotator", "oracle"]) == 1
    assert "missing: " in capsys.readouterr().out


def test_stages_have_help() -> None:
    done = command("explore", "--help")
    assert done.returncode == 0
    assert "sensei explore" in done.stdout and "--explore.env-steps" in done.stdout
