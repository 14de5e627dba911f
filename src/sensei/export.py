"""Labels in formats that others read: JSON lines, Parquet, and a Hugging Face datasets folder."""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensei.annotate.quality import quality
from sensei.data.label_store import LabelStore
from sensei.data.records import CHOICES
from sensei.run.files import atomic_write
from sensei.run.workspace import Workspace
from sensei.types import SenseiError, UsageError

SPLITS = {"train": "train", "val": "validation"}
"""Our sides of the split, by the names that the datasets library uses."""

Line = dict[str, Any]
"""One asked pair: ``pair``, ``first`` and ``second`` (frame ids), ``y`` = probability that the
second is preferred (None unless labelled), ``status`` = labelled|unknown|failed, ``split``, and
``answers``, a list."""


def export_labels(run: Path | str, to: Path | str) -> str:
    """Write a run's labels and say what was written.

    Args:
        run: the run's folder.
        to: ``F.jsonl``, ``F.parquet``, or a folder that does not exist yet, which becomes a
            dataset with pictures and a card.

    Raises:
        UsageError: the format is unknown, the folder exists, or the run has no labels.
        SenseiError: Parquet is asked for and its library is missing.
    """
    workspace, to = Workspace(run), Path(to)
    if not workspace.labels.exists():
        raise UsageError(f"{run} has no labels.sqlite: run `sensei annotate --dir {run}` first")
    with LabelStore(workspace.labels, must_exist=True) as store:
        lines = list(label_lines(store))
        if not lines:
            raise UsageError(f"{run} has no labels yet: run `sensei annotate --dir {run}` first")
        if to.suffix == ".jsonl":
            atomic_write(to, _jsonl(lines))
        elif to.suffix == ".parquet":
            _write_parquet(lines, to)
        elif to.suffix:
            raise UsageError(
                f"--to {to}: give a name that ends in .jsonl or .parquet, or a new folder"
            )
        else:
            _write_dataset(store, lines, to, workspace.config())
    return f"{len(lines):,} pairs in {to}"


def label_lines(store: LabelStore) -> Iterator[Line]:
    """Every pair that was asked about, in order, with everyone's answers."""
    said = _answers(store)
    labels = store.labels()
    columns = (labels.pair, labels.first, labels.second, labels.y, labels.status, labels.split)
    for pair, first, second, y, status, split in zip(*(c.tolist() for c in columns), strict=True):
        yield {
            "pair": pair,
            "first": first,
            "second": second,
            "y": None if math.isnan(y) else y,
            "status": status,
            "split": SPLITS[split],
            "answers": said[pair],
        }


def _answers(store: LabelStore) -> dict[int, list[Line]]:
    """Each pair's answers; all but ``annotator`` and ``order`` is about the order shown."""
    table, said = store.answers(), collections.defaultdict(list)
    columns = (table.pair, table.annotator, table.shown, table.status, table.choice, table.p_second)
    for pair, annotator, shown, status, choice, p, odds in zip(
        *(c.tolist() for c in (*columns, table.probabilities)), strict=True
    ):
        said[pair].append(
            {
                "annotator": annotator,
                "order": shown,
                "status": status,
                "choice": choice or None,
                "p_second": None if math.isnan(p) else p,
                "probabilities": None
                if math.isnan(odds[0])
                else dict(zip(CHOICES, odds, strict=True)),
            }
        )
    return said


def _jsonl(lines: list[Line]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _write_parquet(lines: list[Line], to: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise SenseiError(
            "Parquet needs pyarrow: pip install 'sensei-rl[export]', or export to a .jsonl file"
        ) from error
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), sink)
    atomic_write(to, sink.getvalue().to_pybytes())


def _write_dataset(store: LabelStore, lines: list[Line], to: Path, config: dict[str, Any]) -> None:
    """Write the layout of an image folder with two pictures a row."""
    if to.exists():
        raise UsageError(f"--to {to} exists: give a folder that does not, nothing is overwritten")
    for split in SPLITS.values():
        mine = [line for line in lines if line["split"] == split]
        if not mine:
            continue
        for frame in store.frames(sorted({line[side] for line in mine for side in _SIDES})):
            atomic_write(to / split / _file(frame.id), frame.picture)
        rows = [{f"{side}_file_name": _file(line[side]) for side in _SIDES} | line for line in mine]
        atomic_write(to / split / "metadata.jsonl", _jsonl(rows))
    atomic_write(to / "README.md", _card(store, lines, config))


_SIDES = ("first", "second")


def _file(frame: int) -> str:
    return f"frames/{frame:08d}.png"


def _card(store: LabelStore, lines: list[Line], config: dict[str, Any]) -> str:
    """The dataset's card: what it holds, who labelled it, and how far it can be trusted."""
    measured, status = quality(store), collections.Counter(line["status"] for line in lines)
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(status.items()))
    return f"""---
pretty_name: Preferences over frames of {config["env"]["name"]}
tags: [reinforcement-learning, preferences, sensei]
size_categories: [{_size_category(len(lines))}]
---

# Which of two frames is more interesting

{len(lines):,} pairs of frames of the environment `{config["env"]["name"]}` ({counts}), labelled by
{", ".join(measured.annotators)}. {measured.verdict}

A row is a pair: the pictures `first` and `second`, `y` = probability that the second is preferred
(the mean of all answers, each turned to the pair's own order), `status` (labelled, unknown,
failed) and the `answers` as given, with the probability of each option where the model told it.
The two splits share no episode.

Made by `sensei export labels`.
"""


def _size_category(count: int) -> str:
    steps = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
    return next((name for limit, name in steps if count < limit), "n>1M")
