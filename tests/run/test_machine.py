"""The manifest's facts, and what must never be among them."""

from __future__ import annotations

import pytest

from sensei.run import machine


@pytest.mark.parametrize(
    ("command", "cleaned"),
    [
        (["--api-key", "abc"], ["--api-key", "***"]),
        (["--x.api_key=abc"], ["--x.api_key=***"]),
        (["--token=abc", "--seed", "1"], ["--token=***", "--seed", "1"]),
        (["--password", "--seed", "1"], ["--password", "--seed", "1"]),
        (["--annotator.api-key-env", "MY_KEY"], ["--annotator.api-key-env", "MY_KEY"]),
        (["--base-url", "https://me:pw@host/v1"], ["--base-url", "https://***host/v1"]),
        (["--note", "sk-abcdefgh1234"], ["--note", "***"]),
        (["--annotator.model", "task-model"], ["--annotator.model", "task-model"]),
    ],
)
def test_secrets_do_not_reach_files(command: list[str], cleaned: list[str]) -> None:
    assert machine.without_secrets(command) == cleaned


def test_facts_are_there() -> None:
    assert machine.versions()["python"].startswith("3.")
    assert machine.usable_cores() >= 1 and machine.memory_gb() > 0.1
    assert 0.1 < machine.matrix_gflops() < 1e6


def test_no_commit_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.commit() is None
