"""The smallest run of the whole command line, and ways to start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensei import cli

FIELDS: dict[str, Any] = {
    "env": {"num_envs": 2, "processes": 1},
    "agent": {
        "size": {
            "deter": 16,
            "blocks": 2,
            "hidden": 8,
            "stoch": 2,
            "classes": 4,
            "depth": 2,
            "units": 8,
            "layers": 1,
            "members": 2,
        },
        "batch": 2,
        "length": 8,
        "horizon": 2,
    },
    "collect": {"env_steps": 1_400, "label_frames": 300},
    "annotate": {"pairs": 150},
    "distill": {"members": 2, "epochs": 1},
    "explore": {
        "env_steps": 400,
        "train_ratio": 2.0,
        "prefill": 100,
        "label_frames": 100,
        "replay_gb": 0.01,
        "save_every": 1_000,
    },
    "solve": {"env_steps": 100, "train_ratio": 2.0, "save_every": 1_000},
    "evaluate": {"episodes": 2, "videos": 1},
}
"""What is smaller than ``--budget smoke`` on the environment ``tiny``."""


class Commands:
    """Starts ``sensei`` as a user would, with compiled programs kept between the starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "small.yaml"
        self.config.write_text(yaml.safe_dump(FIELDS))
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
        self.environ |= {"SENSEI_CACHE_DIR": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}
        # Nearly all of the time goes into compiling programs that run for a moment.
        self.environ |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def line(self, command: str, *words: object) -> list[str]:
        return [sys.executable, "-m", "sensei", command, *map(str, words)]

    def begin(self, command: str, *words: object) -> subprocess.Popen[str]:
        """Start a command without waiting for it, in a session of its own."""
        return subprocess.Popen(
            self.line(command, *words),
            env=self.environ,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(
        self, command: str, *words: object, code: int = 0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and expect its exit code."""
        done = subprocess.run(
            self.line(command, *words),
            env=self.environ | environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{done.args}\n{done.stdout}\n{done.stderr}"
        return done

    def small(self, command: str, folder: Path, *words: object, **options: Any) -> Any:
        """Run a command of the smallest run, in a folder."""
        return self(command, *self.small_words(folder, *words), **options)

    def small_words(self, folder: Path, *words: object) -> list[object]:
        return ["tiny", "--budget", "smoke", "--config", self.config, "--dir", folder, *words]


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failed command that tells what is wrong; nothing like it may follow."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("sensei: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.rstrip().endswith(lines[0])
    return lines[0]


def told_by(capsys: pytest.CaptureFixture[str], *words: object, code: int) -> str:
    """Run a command inside this process; return the line that it ends with."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main([str(word) for word in words]) == code
    finally:
        signal.signal(signal.SIGTERM, before)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("sensei: ")] == lines[-1:]
    return lines[-1]
