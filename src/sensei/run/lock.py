"""One writer per run."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sensei.types import SenseiError

LOCK_NAME = ".lock"


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the system releases it even when the process is killed.

    Raises ``SenseiError``, naming the other process, when somebody else holds it.
    """
    with open(folder / LOCK_NAME, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise SenseiError(
                f"{folder} is being written by another sensei command (process "
                f"{file.read().strip() or 'unknown'}): wait for it, or use another --dir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
