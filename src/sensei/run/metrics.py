"""Metrics as JSON lines: always written, readable by anything, exact across a resume."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sensei.run.files import atomic_write, disk_space_explained


@runtime_checkable
class Sink(Protocol):
    """A copy of the metrics somewhere else: TensorBoard, a tracker, a test's list."""

    def write(self, record: dict[str, Any]) -> None:
        """Take one record: stage, step, update, time and the named numbers."""
        ...


class Metrics:
    """Append records to ``path``, one JSON object a line, and to every further sink."""

    def __init__(self, path: Path | str, sinks: Sequence[Sink] = ()) -> None:
        self.path = Path(path)
        self.sinks = tuple(sinks)

    def write(self, stage: str, step: int, update: int, values: Mapping[str, Any]) -> None:
        """Log ``values`` (name → number, e.g. ``loss/decoder``) at an environment step.

        A number that is not finite is stored as null, because JSON has no such numbers.
        """
        head = {"stage": stage, "step": int(step), "update": int(update), "time": time.time()}
        clash = head.keys() & values.keys()
        if clash:
            raise ValueError(f"metrics may not be named {sorted(clash)}")
        record = head | {name: _number(value) for name, value in values.items()}
        self._append(json.dumps(record, allow_nan=False))
        for sink in self.sinks:
            sink.write(record)

    def truncate_after(self, stage: str, step: int) -> None:
        """Forget what ``stage`` logged beyond ``step``, so a resumed run leaves no duplicates."""
        if not self.path.exists():
            return
        lines = self.path.read_bytes().splitlines()
        kept = [line for line in lines if not _is_beyond(line, stage, step)]
        if len(kept) < len(lines):
            atomic_write(self.path, b"".join(line + b"\n" for line in kept))

    def _append(self, line: str) -> None:
        with disk_space_explained(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+") as file:
                # A killed writer may have left half a line; ours must not be glued to it.
                lead = b"" if _ends_with_newline(file) else b"\n"
                file.write(lead + line.encode() + b"\n")


def read_metrics(path: Path | str, stage: str | None = None) -> list[dict[str, Any]]:
    """Read every record, or those of one stage, in the order written.

    A torn last line is skipped silently: somebody may be writing it. Damage elsewhere is
    skipped with a warning. A missing file has no records. Null reads as NaN.
    """
    path = Path(path)
    if not path.exists():
        return []
    records = _parse(path.read_bytes().split(b"\n"), path)
    return [record for record in records if stage is None or record["stage"] == stage]


def _parse(lines: Sequence[bytes], path: Path) -> Iterator[dict[str, Any]]:
    damaged = 0
    for number, line in enumerate(lines):
        record = _record(line)
        if record is not None:
            yield {key: math.nan if value is None else value for key, value in record.items()}
        elif line.strip() and number < len(lines) - 1:
            damaged += 1
    if damaged:
        warnings.warn(f"{path}: {damaged} unreadable lines were skipped", stacklevel=3)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and {"stage", "step"} <= record.keys() else None


def _is_beyond(line: bytes, stage: str, step: int) -> bool:
    """Whether a line is to go: later than ``step`` in ``stage``, or not a record at all."""
    record = _record(line)
    return record is None or (record["stage"] == stage and record["step"] > step)


def _number(value: Any) -> float | int | None:
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _ends_with_newline(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def series(records: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Pick one metric as (steps, values), leaving out the records that lack it."""
    found = [(record["step"], record[name]) for record in records if name in record]
    return [step for step, _ in found], [float(value) for _, value in found]
