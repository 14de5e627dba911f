"""What every test may rely on: no key of the machine's user, no accelerator unless asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from small_run import Commands

os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture(autouse=True)
def _no_model_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """The command line, with one cache of compiled programs for the whole session."""
    return Commands(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="session")
def whole_run(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ``sensei run tiny``. Shared: look, but work on a copy."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    commands.small("run", folder)
    return folder
