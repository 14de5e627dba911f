"""Files that are either the old ones or the new ones, never half of each."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensei.types import SenseiError


def atomic_write(path: Path | str, data: bytes | str, *, keep_previous: bool = False) -> None:
    """Replace ``path`` by ``data``: write a temporary file, fsync, rename, fsync the folder.

    With ``keep_previous`` the old file stays as ``<name>.prev``. A full disk raises
    ``SenseiError`` and leaves the old file as it was.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    with disk_space_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _write_temporary(path, content)
        if keep_previous and path.exists():
            os.replace(path, previous(path))
        os.replace(temporary, path)
        sync_folder(path.parent)


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object; a missing or damaged file raises ``SenseiError`` with the remedy."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SenseiError(
            f"{path} cannot be read ({_one_line(error)}): restore it, or delete it and run again"
        ) from error
    if not isinstance(value, dict):
        raise SenseiError(f"{path} holds no JSON object: restore it, or delete it and run again")
    return value


def previous(path: Path) -> Path:
    """Where ``atomic_write(..., keep_previous=True)`` leaves the file it replaced."""
    return path.with_name(path.name + ".prev")


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_space_explained(folder: Path) -> Iterator[None]:
    """Turn a full disk into one line that names the folder and what is left on it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(_existing(folder)).free / 1e9
        raise SenseiError(
            f"no space left on the disk of {folder} ({free:.2f} GB free): free some space "
            "and run the same command again, it continues"
        ) from error


def _write_temporary(path: Path, content: bytes) -> str:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a run folder is shared like any other file.
        os.chmod(name, 0o644)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
