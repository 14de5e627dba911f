"""A run that begins with another's stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sensei.fields import with_dotted
from sensei.presets import RunConfig, preset
from sensei.run.fork import fork
from sensei.run.metrics import read_metrics
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import Body, execute
from sensei.types import UsageError

SHARED = ["collect", "annotate", "distill"]


def notes(keys: list[str]) -> Any:
    """Bodies that write down their key and leave something behind."""

    def body(_: str) -> Body:
        def run(config: RunConfig, workspace: Workspace) -> Mapping[str, Any]:
            keys.append(workspace.key)
            workspace.metrics.write(workspace.key, 5, 0, {"x": 1})
            return {}

        return run

    return body


@pytest.fixture
def parent(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "parent", say=lambda _: None)
    execute(preset("tiny", "smoke"), workspace, last="distill", body=notes([]))
    episodes = workspace.folder("collect") / "episodes"
    episodes.mkdir()
    for number in range(3):
        (episodes / f"shard-{number:06d}.bin").write_bytes(b"rows")
    return workspace


def test_finished_stages_are_not_made_again(parent: Workspace, tmp_path: Path) -> None:
    fork(parent, tmp_path / "child", SHARED)
    child, keys = Workspace(tmp_path / "child", say=lambda _: None), list[str]()
    config = with_dotted(preset("tiny", "smoke"), {"explore.method": "vlm"})
    execute(config, child, last="explore", body=notes(keys))
    assert keys == ["explore"]
    assert [child.record(key) for key in SHARED] == [parent.record(key) for key in SHARED]
    assert child.manifest()["forked_from"] == {"run": "../parent", "stages": SHARED}
    assert [r["stage"] for r in read_metrics(child.metrics.path)] == [*SHARED, "explore"]
    assert len(read_metrics(parent.metrics.path)) == 3


def test_only_full_shards_are_links(parent: Workspace, tmp_path: Path) -> None:
    fork(parent, tmp_path / "child", SHARED)
    shards = sorted((tmp_path / "child").glob("collect/episodes/*"))
    assert [shard.stat().st_nlink for shard in shards] == [2, 2, 1]


def test_nothing_unfinished_and_nothing_overwritten(parent: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="explore, which has not been run"):
        fork(parent, tmp_path / "child", ["explore"])
    with pytest.raises(UsageError, match="exists"):
        fork(parent, parent.root, SHARED)
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]
