"""What a stage's folder says about itself, and when that is out of date."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sensei.types import SenseiError, UsageError

GROWING = frozenset({"collect.env_steps", "explore.env_steps", "solve.env_steps", "annotate.pairs"})
"""Fields of which more may be asked later; the stage then continues."""

LIMITS = frozenset({"annotator.max_pairs", "annotator.budget", "annotate.stop_gain"})
"""Fields that say when to stop; with another limit the stage continues."""

Status = Literal["running", "stopped", "failed", "done"]


class Stale(enum.Enum):
    """What becomes of a stage whose inputs or settings have changed."""

    REFUSE = "refuse"
    """Say so: what it holds was expensive, only ``--force`` deletes it."""
    CONTINUE = "continue"
    """Go on when an input has grown: the stage only ever adds. Its settings may not change."""
    REDO = "redo"
    """Make it again: it is derived from its inputs, and cheap."""

    def redoes(
        self, record: StageRecord, inputs: Mapping[str, str], settings: Mapping[str, Any]
    ) -> bool:
        """Whether this stage has to be made again from nothing."""
        changed = dict(inputs) != record.inputs or _plain(settings) != record.settings
        return self is Stale.REDO and changed


@dataclasses.dataclass(frozen=True)
class Change:
    """One field that differs."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.before!r} → {self.after!r}"

    @property
    def grows(self) -> bool:
        """Whether the stage may simply continue."""
        if self.field in LIMITS:
            return True
        known = isinstance(self.before, int) and isinstance(self.after, int)
        return self.field in GROWING and known and self.after >= self.before


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """The manifest of one stage."""

    key: str
    status: Status = "running"
    stale: Stale = Stale.REFUSE
    started: float = 0.0
    """Unix time at which it was first begun; a stage that is redone gets a new one."""
    seconds: float = 0.0
    """Wall-clock time spent, over all attempts that ended in an orderly way."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Key → identity of each stage it was made from."""
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Hash of all that makes this stage's result what it is."""
        made = [self.key, self.started, self.settings, self.inputs, self.summary]
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

    def refused(self, settings: Mapping[str, Any], folder: Path) -> list[Change]:
        """Return the changes of settings with which this stage cannot continue.

        One that failed before it made anything in its ``folder`` refuses none: a mistyped option
        must not bind the next attempt.
        """
        if self.status == "failed" and {path.name for path in folder.iterdir()} <= {
            "manifest.json"
        }:
            return []
        return [change for change in changes(self.settings, _plain(settings)) if not change.grows]

    def is_current(self, inputs: Mapping[str, str], settings: Mapping[str, Any]) -> bool:
        """Whether it is done, with exactly these inputs and settings."""
        same = dict(inputs) == self.inputs and _plain(settings) == self.settings
        return self.status == "done" and same

    def restarted(self, settings: Mapping[str, Any], inputs: dict[str, str]) -> StageRecord:
        """Return the record of a stage that is running with these settings and inputs."""
        return dataclasses.replace(
            self, status="running", settings=_plain(settings), inputs=inputs, summary={}
        )

    def ended(
        self, status: Status, seconds: float, summary: Mapping[str, Any] | None = None
    ) -> StageRecord:
        """Return the record of a stage that ran until now."""
        return dataclasses.replace(
            self, status=status, seconds=seconds, summary=_plain(summary or {})
        )

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's contents; the identity is for readers, it is computed anew."""
        return dataclasses.asdict(self) | {"stale": self.stale.value, "identity": self.identity}

    @staticmethod
    def from_json(path: Path, value: Mapping[str, Any]) -> StageRecord:
        """Read ``to_json``; anything else raises ``SenseiError``."""
        names = {field.name for field in dataclasses.fields(StageRecord)}
        try:
            fields: dict[str, Any] = {name: value[name] for name in names}
            fields["stale"] = Stale(value["stale"])
            return StageRecord(**fields)
        except (KeyError, ValueError, TypeError) as error:
            raise SenseiError(
                f"{path} is no stage manifest ({error}): delete its folder and run again"
            ) from error


def stage_key(kind: str, generation: int = 1, task: str = "") -> str:
    """Name a stage: ``stage_key("explore", 2)`` is ``explore-2``."""
    if task:
        if not re.fullmatch(r"\w[\w.-]*", task):
            raise UsageError(f"--task {task!r} cannot name a folder: use letters, digits, '-', '.'")
        return f"{kind}/{task}"
    return kind if generation == 1 else f"{kind}-{generation}"


def generation_of(key: str) -> int:
    """Return the generation in a stage key, 1 when it has none."""
    match = re.fullmatch(r"[a-z]+-(\d+)", key)
    return int(match[1]) if match else 1


def stage_folder(key: str) -> str:
    """Return the folder of a stage key; distill's is named after what it holds, the reward."""
    return re.sub(r"^distill", "reward", key)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested values into ``{"explore.env_steps": 500, …}``.

    Mappings without fields of their own, such as an environment's options, flatten as well,
    so that a difference inside them is named exactly.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + str(name)] = value
    return flat


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """List what differs between two flat configurations, a field of one side alone as None."""
    names = [*before, *(name for name in after if name not in before)]
    return [
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON would give them back (tuples become lists)."""
    return json.loads(json.dumps(dict(values)))
