"""A run on disk: its configuration, its manifest, its stages, and who may write it.

    runs/NAME/
      config.yaml  manifest.json  metrics.jsonl  labels.sqlite
      collect/ annotate/ reward/ explore/ solve/TASK/ evaluate/TASK/ report/

A *stage key* is a stage's name with its generation or task: ``explore``, ``explore-2``,
``solve/task``. Each stage's folder has a ``manifest.json`` that names what the stage was made
from by content hash, so a finished stage is recognised and an outdated one is noticed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sensei.run import machine
from sensei.run.files import atomic_write, read_json, write_json
from sensei.run.lock import LOCK_NAME, folder_lock
from sensei.run.metrics import Metrics
from sensei.run.progress import duration
from sensei.run.stage_record import (
    Change,
    StageRecord,
    Stale,
    changes,
    flatten,
    generation_of,
    stage_folder,
)
from sensei.types import SenseiError, Stopped, UsageError

FORMAT_VERSION = 1


class Workspace:
    """One run folder. Reading needs nothing; writing happens between ``locked()``.

    While a stage runs, ``key``, ``generation``, ``inputs`` and ``fresh`` say which.
    """

    def __init__(self, root: Path | str, say: Callable[[str], None] | None = None) -> None:
        """Name the folder; nothing is created. ``say`` takes lines for the user (default:
        standard error)."""
        self.root = Path(root)
        self.config_path = self.root / "config.yaml"
        self.manifest_path = self.root / "manifest.json"
        self.say = say or functools.partial(print, file=sys.stderr, flush=True)
        self.key = ""
        self.inputs: tuple[str, ...] = ()
        self.fresh = False
        """The running stage starts from nothing: no earlier attempt, or ``--force``."""

    @property
    def generation(self) -> int:
        """Which round of labels the running stage belongs to, from 1."""
        return generation_of(self.key)

    @property
    def here(self) -> Path:
        """The running stage's own folder."""
        return self.folder(self.key)

    @property
    def metrics(self) -> Metrics:
        """The run's metrics; write them with ``workspace.key`` as their stage."""
        return Metrics(self.root / "metrics.jsonl")

    @property
    def labels(self) -> Path:
        """The database of frames, pairs and answers."""
        return self.root / "labels.sqlite"

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_path.exists()

    def config(self) -> dict[str, Any]:
        """Read the run's resolved configuration as plain nested values."""
        try:
            value = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(
                f"--dir {self.root} holds no run: start one with sensei run"
            ) from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise self._damaged(self.config_path, error) from error
        if not isinstance(value, dict):
            raise self._damaged(self.config_path, ValueError("no mapping"))
        return value

    def manifest(self) -> dict[str, Any]:
        """Read what the run was made with, and how long each stage took."""
        return read_json(self.manifest_path) if self.manifest_path.exists() else {}

    def folder(self, key: str) -> Path:
        """Where the stage ``key`` keeps its files."""
        return self.root / stage_folder(key)

    def record(self, key: str) -> StageRecord | None:
        """Read the manifest of a stage, or None when it was never started."""
        path = self.folder(key) / "manifest.json"
        return StageRecord.from_json(path, read_json(path)) if path.exists() else None

    def finished(self, key: str) -> bool:
        """Whether the stage has reached its end."""
        record = self.record(key)
        return record is not None and record.status == "done"

    def summary(self, key: str) -> dict[str, Any]:
        """Read what a finished stage returned; an unfinished one raises ``UsageError``."""
        return self._finished_record(key).summary

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other command from writing this run; a killed command leaves no lock."""
        self._check_is_ours()
        self.root.mkdir(parents=True, exist_ok=True)
        with folder_lock(self.root):
            yield

    def adopt(
        self,
        config: Mapping[str, Any],
        stages: Mapping[str, Mapping[str, Any]],
        *,
        forced: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> list[Change]:
        """Make ``config`` the run's configuration, or refuse and name the field.

        Args:
            config: plain nested values, as they go to ``config.yaml``.
            stages: stage key → the settings it depends on, as flat dotted names.
            forced: keys that will be redone, so whose settings may change.
            command: the command line, for the manifest.

        Returns:
            What differs from the configuration that the folder had.

        Raises:
            UsageError: a stage that has already begun was begun with other settings.
        """
        self._check_is_ours()
        for key in [key for key in stages if key not in forced]:
            record = self.record(key)
            if record and record.stale is not Stale.REDO:
                self._check_settings(record, stages[key])
        found = changes(flatten(self.config()), flatten(config)) if self.exists() else []
        # A folder may be moved; where it is, is no property of the run.
        found = [change for change in found if change.field != "dir"]
        for change in found:
            self.say(f"config: {change}")
        atomic_write(self.config_path, yaml.safe_dump(dict(config), sort_keys=False))
        self._write_manifest(config, command)
        return found

    def stage(
        self,
        key: str,
        inputs: Sequence[str],
        settings: Mapping[str, Any],
        run: Callable[[], Mapping[str, Any]],
        force: bool = False,
        stale: Stale = Stale.REFUSE,
    ) -> dict[str, Any]:
        """Run one stage, or continue it, or find it done; return its summary.

        Args:
            key: the stage key.
            inputs: keys of the stages it reads; each must be done.
            settings: flat dotted name → value of everything its result depends on.
            run: does the work in ``here`` and returns a JSON-able summary. It finds its own
                earlier files there and continues from them.
            force: delete what there is and redo it.
            stale: what to do when inputs or settings are no longer those it was made with.
        """
        hashes = {name: self._finished_record(name, key).identity for name in inputs}
        record = None if force else self.record(key)
        if record is not None and stale.redoes(record, hashes, settings):
            self.say(f"{key}: its inputs or settings changed, it is made again")
            record = None
        if record is None:
            self._clear(key)
        elif stale is not Stale.REDO:
            self._check_unchanged(record, hashes, settings)
        if record is not None and record.is_current(hashes, settings):
            self.say(f"{key}: done ({duration(record.seconds)}; --force redoes it)")
            return record.summary
        begun = record or StageRecord(key, stale=stale, started=time.time())
        return self._run(begun.restarted(dict(settings), hashes), run, fresh=record is None)

    def _run(
        self, record: StageRecord, run: Callable[[], Mapping[str, Any]], *, fresh: bool
    ) -> dict[str, Any]:
        self.key, self.inputs, self.fresh = record.key, tuple(record.inputs), fresh
        self._save(record)
        began, before = time.monotonic(), record.seconds
        try:
            summary = dict(run())
        except BaseException as error:
            stopped = isinstance(error, Stopped | KeyboardInterrupt)
            status = "stopped" if stopped else "failed"
            self._save(record.ended(status, before + time.monotonic() - began))
            raise
        finally:
            self.key, self.inputs, self.fresh = "", (), False
        record = record.ended("done", before + time.monotonic() - began, summary)
        self._save(record)
        self.say(f"{record.key}: finished in {duration(record.seconds)}")
        return summary

    def _save(self, record: StageRecord) -> None:
        write_json(self.folder(record.key) / "manifest.json", record.to_json())
        manifest = self.manifest()
        times = {"seconds": round(record.seconds, 1), "status": record.status}
        manifest.setdefault("stages", {})[record.key] = times
        manifest["hardware"] = machine.hardware()
        manifest["updated"] = time.time()
        write_json(self.manifest_path, manifest)

    def _write_manifest(self, config: Mapping[str, Any], command: Sequence[str]) -> None:
        now = time.time()
        fresh = {"format": FORMAT_VERSION, "started": now, "commands": [], "stages": {}}
        manifest = fresh | self.manifest()
        if manifest["format"] > FORMAT_VERSION:
            raise SenseiError(f"{self.root} was written by a newer sensei: update sensei")
        line = {"time": now, "command": machine.without_secrets(command)}
        manifest["commands"] = [*manifest["commands"], line]
        manifest |= {"updated": now, "seed": config.get("seed"), "commit": machine.commit()}
        manifest |= {"versions": machine.versions(), "hardware": machine.hardware()}
        write_json(self.manifest_path, manifest)

    def _clear(self, key: str) -> None:
        # Renamed first: a kill in the middle must not leave half a stage that says it is done.
        trash = self.root / ".trash"
        if trash.exists():
            shutil.rmtree(trash)
        if self.folder(key).exists():
            os.replace(self.folder(key), trash)
            shutil.rmtree(trash)
        self.metrics.truncate_after(key, -1)

    def _finished_record(self, key: str, reader: str = "") -> StageRecord:
        record = self.record(key)
        if record is None or record.status != "done":
            state = "has not been run" if record is None else f"is not finished ({record.status})"
            stage = key.split("/")[0].split("-")[0]
            raise UsageError(
                f"{reader + ' needs ' if reader else ''}{key}, which {state} in {self.root}: "
                f"run sensei {stage} --dir {self.root} first"
            )
        return record

    def _check_unchanged(
        self, record: StageRecord, hashes: Mapping[str, str], settings: Mapping[str, Any]
    ) -> None:
        self._check_settings(record, settings)
        for name in hashes:
            if record.stale is Stale.REFUSE and hashes[name] != record.inputs.get(name):
                raise UsageError(
                    f"{record.key} was made from another {name}: --force redoes {record.key}, "
                    "or --dir OTHER starts a new run"
                )

    def _check_settings(self, record: StageRecord, settings: Mapping[str, Any]) -> None:
        key = record.key
        for change in record.refused(settings, self.folder(key)):
            raise UsageError(
                f"{change.field} was {change.before!r} when {key} was begun in {self.root} and is "
                f"now {change.after!r}: use --dir OTHER for a new run, or --force to redo {key}"
            )

    def _check_is_ours(self) -> None:
        if not self.root.exists() or self.exists():
            return
        if not self.root.is_dir():
            raise UsageError(f"--dir {self.root} is a file: name a folder")
        strangers = {entry.name for entry in self.root.iterdir()} - {LOCK_NAME}
        if strangers:
            raise UsageError(
                f"--dir {self.root} is not empty and not a run (it holds {min(strangers)!r}): "
                "name another folder"
            )

    def _damaged(self, path: Path, error: Exception) -> SenseiError:
        line = str(error).splitlines()[0]
        return SenseiError(
            f"{path} cannot be read ({line}): restore it, or start a new run with another --dir"
        )
