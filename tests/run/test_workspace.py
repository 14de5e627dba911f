"""A run folder knows what it was made from, and refuses what would spoil it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sensei.run.files import atomic_write, write_json
from sensei.run.stage_record import Stale, changes, flatten, generation_of, stage_folder, stage_key
from sensei.run.workspace import Workspace
from sensei.types import SenseiError, Stopped, UsageError

CONFIG: dict[str, Any] = {"seed": 1, "explore": {"env_steps": 10, "train_ratio": 2.0}}


class Bodies:
    """Stages that only count how often they were run."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.runs: list[tuple[str, bool]] = []

    def __call__(self) -> dict[str, Any]:
        self.runs.append((self.workspace.key, self.workspace.fresh))
        (self.workspace.here / "output").touch()
        return {"runs": len(self.runs)}


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def workspace(tmp_path: Path, lines: list[str]) -> Workspace:
    return Workspace(tmp_path / "x", say=lines.append)


@pytest.fixture
def body(workspace: Workspace) -> Bodies:
    return Bodies(workspace)


def settings(**fields: Any) -> dict[str, Any]:
    return {"explore.env_steps": 10, "explore.train_ratio": 2.0} | fields


def adopt(workspace: Workspace, *, forced: tuple[str, ...] = (), **explore: Any) -> list[str]:
    config = CONFIG | {"explore": CONFIG["explore"] | explore}
    stages = {"explore": flatten({"explore": config["explore"]})}
    return [str(change) for change in workspace.adopt(config, stages, forced=forced)]


def test_a_new_folder_gets_config_and_manifest(workspace: Workspace) -> None:
    command = ["sensei", "run", "--annotator.api-key=abc", "--token", "xyz", "--seed", "1"]
    workspace.adopt(CONFIG, {}, command=command)
    assert workspace.config() == CONFIG
    manifest = workspace.manifest()
    assert {"python", "jax", "numpy", "sensei-rl"} <= manifest["versions"].keys()
    assert {"cpu", "cores", "memory_gb"} <= manifest["hardware"].keys()
    assert manifest["seed"] == 1
    written = workspace.manifest_path.read_text()
    assert "abc" not in written and "xyz" not in written
    assert manifest["commands"][0]["command"][-2:] == ["--seed", "1"]


def test_finished_stage_is_not_repeated(workspace: Workspace, body: Bodies) -> None:
    adopt(workspace)
    for _ in range(2):
        summary = workspace.stage("explore", [], settings(), body)
    assert summary == {"runs": 1} == workspace.summary("explore")
    assert body.runs == [("explore", True)]
    assert workspace.manifest()["stages"]["explore"]["status"] == "done"
    assert workspace.key == ""


def test_more_steps_continue_the_stage(workspace: Workspace, body: Bodies) -> None:
    workspace.stage("explore", [], settings(), body)
    workspace.stage("explore", [], settings(**{"explore.env_steps": 20}), body)
    assert body.runs == [("explore", True), ("explore", False)]
    assert (workspace.folder("explore") / "output").exists()


@pytest.mark.parametrize("field", [{"explore.env_steps": 5}, {"explore.train_ratio": 3.0}])
def test_other_settings_are_refused(
    workspace: Workspace, body: Bodies, field: Mapping[str, Any]
) -> None:
    workspace.stage("explore", [], settings(), body)
    (name,) = field
    with pytest.raises(UsageError) as caught:
        workspace.stage("explore", [], settings(**field), body)
    for word in (name, str(settings()[name]), str(field[name]), "--dir", "--force"):
        assert word in str(caught.value)


def test_force_starts_from_nothing(workspace: Workspace, body: Bodies) -> None:
    workspace.stage("explore", [], settings(), body)
    workspace.metrics.write("explore", 1, 0, {})
    workspace.metrics.write("collect", 1, 0, {})
    (workspace.folder("explore") / "more").touch()
    workspace.stage("explore", [], settings(**{"explore.train_ratio": 3.0}), body, force=True)
    assert body.runs == [("explore", True), ("explore", True)]
    assert not (workspace.folder("explore") / "more").exists()
    assert "explore" not in workspace.metrics.path.read_text()
    assert "collect" in workspace.metrics.path.read_text()


def test_inputs_must_be_finished(workspace: Workspace, body: Bodies) -> None:
    with pytest.raises(UsageError, match="run sensei collect --dir"):
        workspace.stage("annotate", ["collect"], {}, body)
    assert body.runs == []


@pytest.mark.parametrize("stale", list(Stale))
def test_changed_input(workspace: Workspace, body: Bodies, stale: Stale) -> None:
    workspace.stage("collect", [], {}, body)
    workspace.stage("next", ["collect"], {}, body, stale=stale)
    workspace.stage("collect", [], {}, body, force=True)

    def again() -> None:
        workspace.stage("next", ["collect"], {}, body, stale=stale)

    if stale is Stale.REFUSE:
        with pytest.raises(UsageError, match="another collect"):
            again()
    else:
        again()
        assert body.runs[-1] == ("next", stale is Stale.REDO)
        again()
        assert len(body.runs) == 4


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Stopped("saved"), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (RuntimeError("bug"), "failed"),
    ],
)
def test_interrupted_stage_continues(
    workspace: Workspace, body: Bodies, error: BaseException, status: str
) -> None:
    def interrupted() -> dict[str, Any]:
        raise error

    with pytest.raises(type(error)):
        workspace.stage("explore", [], settings(), interrupted)
    record = workspace.record("explore")
    assert record is not None and record.status == status
    assert not workspace.finished("explore")
    with pytest.raises(UsageError, match="not finished"):
        workspace.summary("explore")

    workspace.stage("explore", [], settings(), body)
    assert body.runs == [("explore", False)]


def test_a_failure_before_anything_was_made_binds_to_nothing(
    workspace: Workspace, body: Bodies
) -> None:
    def refused() -> dict[str, Any]:
        raise UsageError("no such option")

    def broken() -> dict[str, Any]:
        body()
        raise RuntimeError("bug")

    adopt(workspace)
    other = settings(**{"explore.train_ratio": 3.0})
    with pytest.raises(UsageError, match="no such option"):
        workspace.stage("explore", [], settings(), refused)
    adopt(workspace, train_ratio=3.0)
    with pytest.raises(RuntimeError):
        workspace.stage("explore", [], other, broken)
    with pytest.raises(UsageError, match=r"explore\.train_ratio was 3\.0"):
        adopt(workspace)


def test_differences_are_shown_and_some_refused(
    workspace: Workspace, body: Bodies, lines: list[str]
) -> None:
    assert adopt(workspace) == []
    assert adopt(workspace, train_ratio=3.0) == ["explore.train_ratio: 2.0 → 3.0"]
    assert lines == ["config: explore.train_ratio: 2.0 → 3.0"]

    workspace.stage("explore", [], settings(**{"explore.train_ratio": 3.0}), body)
    adopt(workspace, train_ratio=3.0, env_steps=20)
    with pytest.raises(UsageError, match=r"explore\.train_ratio was 3\.0 .* now 2\.0"):
        adopt(workspace)
    assert workspace.config()["explore"] == {"env_steps": 20, "train_ratio": 3.0}
    adopt(workspace, forced=("explore",))


def test_a_moved_folder_is_the_same_run(workspace: Workspace) -> None:
    workspace.adopt(CONFIG | {"dir": "a"}, {})
    assert workspace.adopt(CONFIG | {"dir": "b"}, {}) == []


def test_two_commands_cannot_write_one_run(workspace: Workspace) -> None:
    code = (
        "import sys; from sensei.run.workspace import Workspace\n"
        f"with Workspace({str(workspace.root)!r}).locked(): pass"
    )
    with workspace.locked():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert other.returncode == 1
        assert f"another sensei command (process {os.getpid()})" in other.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"), Workspace(tmp_path).locked():
        pass
    with pytest.raises(UsageError, match="is a file"):
        Workspace(tmp_path / "thesis.tex").adopt(CONFIG, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


@pytest.mark.parametrize("text", ["{", "- 1", "\x00", ""])
def test_damaged_config_names_the_remedy(workspace: Workspace, text: str) -> None:
    adopt(workspace)
    workspace.config_path.write_text(text)
    with pytest.raises(SenseiError, match=r"config\.yaml cannot be read .*restore it"):
        workspace.config()


def test_damaged_manifests_name_the_remedy(workspace: Workspace, body: Bodies) -> None:
    adopt(workspace)
    workspace.stage("explore", [], settings(), body)
    path = workspace.folder("explore") / "manifest.json"
    path.write_text("{}")
    with pytest.raises(SenseiError, match="delete its folder"):
        workspace.record("explore")
    path.write_text("{")
    with pytest.raises(SenseiError, match="cannot be read"):
        workspace.record("explore")
    workspace.manifest_path.write_text("[]")
    with pytest.raises(SenseiError, match="holds no JSON object"):
        workspace.manifest()


def test_no_run_there(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        workspace.config()
    assert not workspace.exists() and workspace.manifest() == {}


def test_newer_format_is_refused(workspace: Workspace) -> None:
    adopt(workspace)
    write_json(workspace.manifest_path, workspace.manifest() | {"format": 99})
    with pytest.raises(SenseiError, match="update sensei"):
        adopt(workspace)


def test_keys_folders_generations() -> None:
    assert stage_key("explore") == "explore" == stage_folder("explore")
    assert stage_key("distill", 2) == "distill-2"
    assert stage_folder("distill-2") == "reward-2"
    assert stage_key("solve", task="open-2") == "solve/open-2"
    assert [generation_of(key) for key in ("explore", "explore-12", "solve/open-2")] == [1, 12, 1]
    with pytest.raises(UsageError, match="--task"):
        stage_key("solve", task="../x")


def test_running_stage_knows_itself(workspace: Workspace) -> None:
    seen = {}

    def look() -> dict[str, Any]:
        seen.update(key=workspace.key, here=workspace.here, generation=workspace.generation)
        return {}

    workspace.stage("annotate-3", [], {}, look)
    assert seen == {"key": "annotate-3", "here": workspace.root / "annotate-3", "generation": 3}


def test_flatten_and_changes() -> None:
    flat = flatten({"a": 1, "b": {"c": {}, "d": {"e": [1, 2]}}})
    assert flat == {"a": 1, "b.c": {}, "b.d.e": [1, 2]}
    found = changes(flat, {"a": 2, "f": 3} | {"b.c": {}, "b.d.e": [1, 2]})
    assert [str(change) for change in found] == ["a: 1 → 2", "f: None → 3"]


def test_atomic_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    atomic_write(path, "old")

    def crash(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", crash)
        with pytest.raises(OSError, match="Input/output"):
            atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(SenseiError, match=r"no space left on the disk of .* GB free"):
            write_json(tmp_path / "a" / "b.json", {})


def test_json_of_a_manifest_is_readable(workspace: Workspace, body: Bodies) -> None:
    workspace.stage("collect", [], {}, body)
    workspace.stage("explore", ["collect"], settings(), body)
    record = json.loads((workspace.folder("explore") / "manifest.json").read_text())
    collect = workspace.record("collect")
    assert collect is not None and record["inputs"] == {"collect": collect.identity}
    assert record["settings"] == settings()
