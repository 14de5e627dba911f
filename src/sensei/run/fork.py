"""A new run that begins with the finished stages of another, as if it had made them itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sensei.run.files import read_json, write_json
from sensei.run.lock import LOCK_NAME
from sensei.run.workspace import Workspace
from sensei.types import UsageError


def fork(parent: Workspace, root: Path, stages: Sequence[str]) -> None:
    """Copy ``parent`` to the new folder ``root``; a kill leaves either nothing or all of it.

    The stages keep their manifests, so what they were made from and how long they took stays true;
    the run's manifest says where they come from. Full episode shards are hard links: nothing writes
    into them any more.

    Args:
        parent: a run that nothing else is writing.
        root: does not exist yet.
        stages: keys that the new run shall have; each must be finished in ``parent``.

    Raises:
        UsageError: a stage is not finished, or ``root`` exists.
    """
    for key in stages:
        parent.summary(key)
    if root.exists():
        raise UsageError(f"{root} exists: name a folder that does not")
    draft = root.with_name(f".{root.name}.partial")
    if draft.exists():
        shutil.rmtree(draft)
    ignored = shutil.ignore_patterns(LOCK_NAME, ".trash", "*.tmp")
    shutil.copytree(parent.root, draft, ignore=ignored, copy_function=_copy)
    manifest = read_json(draft / "manifest.json")
    origin = {"run": os.path.relpath(parent.root, root), "stages": list(stages)}
    write_json(draft / "manifest.json", manifest | {"forked_from": origin})
    os.replace(draft, root)


def _copy(source: str, target: str) -> None:
    path = Path(source)
    # The last shard may still be filled up when one of the runs is asked for more steps.
    full = path.name.startswith("shard-") and path != max(path.parent.glob("shard-*"))
    if not (full and _linked(source, target)):
        shutil.copy2(source, target)


def _linked(source: str, target: str) -> bool:
    """Link a file if the file system can."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
