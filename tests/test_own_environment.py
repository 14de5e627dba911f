"""docs/own-environment.md: its programs are run and its outputs compared, as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import sensei
from sensei import cli

PAGE = (Path(__file__).parents[1] / "docs" / "own-environment.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^    sensei (doctor .*)$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would have saved the programs, and stand."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    return tmp_path


def promised(command: str) -> list[str]:
    """The lines that the page shows, up to its next command or heading, as told by a command."""
    after = PAGE.split(f"    sensei {command}\n")[1]
    until = re.split(r"\n    sensei |\n#", after)[0]
    name = command.split()[1]
    return [line.strip() for line in until.splitlines() if line.startswith(f"    {name} ")]


def test_the_page_has_what_is_tested() -> None:
    assert set(PROGRAMS) == {"lamps.py", "pendulum.py", "many_lamps.py"}
    assert PAGE.count("```python") == 3 and len(COMMANDS) == 5
    assert [len(promised(command)) for command in COMMANDS] == [10, 5, 2, 0, 0]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", COMMANDS)
def test_doctor_tells_what_the_page_says(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command.split()) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert [line for line in promised(command) if line not in lines] == []
    assert "nothing is missing" in lines and " random steps, " in told


@pytest.mark.usefixtures("folder")
def test_lamps_are_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    import lamps  # type: ignore[import-not-found]

    adapter = sensei.wrap_env(lamps.Lamps())
    row = adapter.reset(0)
    for lamp in np.flatnonzero(~adapter.env.lit):
        row = adapter.step(np.eye(4, dtype=np.float32)[lamp])
    assert row["is_terminal"] and row["reward"] == 1.0 and row["score"] == 3.0
    assert row["events"].tolist() == [1, 1] and row["rewards"].tolist() == [0.0]
    command = re.search(r'`python -c "(import sensei, lamps; .*?)"`', PAGE)
    assert command is not None
    exec(command[1], {})
    assert "image=(64, 64, 3), vector=('battery',)" in capsys.readouterr().out
