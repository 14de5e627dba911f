"""Metrics survive kills: no torn line is believed, no step is counted twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensei.run.metrics import Metrics, read_metrics, series


class ListSink:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any]) -> None:
        self.records.append(record)


def test_records_come_back_in_order(tmp_path: Path) -> None:
    sink = ListSink()
    metrics = Metrics(tmp_path / "deep" / "metrics.jsonl", [sink])
    metrics.write("explore", 10, 1, {"loss/dyn": np.float32(0.5), "speed/fps": np.int64(3)})
    metrics.write("solve", 20, 2, {"loss/dyn": 0.25})

    records = read_metrics(metrics.path)
    assert [record["step"] for record in records] == [10, 20]
    assert records[0].keys() == {"stage", "step", "update", "time", "loss/dyn", "speed/fps"}
    assert records == sink.records
    assert series(read_metrics(metrics.path, "solve"), "loss/dyn") == ([20], [0.25])
    assert series(records, "absent") == ([], [])


def test_numbers_json_lacks_read_as_nan(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "m")
    metrics.write("explore", 1, 0, {"loss/a": math.inf, "loss/b": float("nan")})
    assert "null" in metrics.path.read_text()
    record = read_metrics(metrics.path)[0]
    assert math.isnan(record["loss/a"]) and math.isnan(record["loss/b"])


def test_names_of_the_head_are_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step"):
        Metrics(tmp_path / "m").write("explore", 1, 0, {"step": 2})


def test_torn_last_line_is_skipped_and_not_glued_to_the_next(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "m")
    metrics.write("explore", 1, 0, {})
    with open(metrics.path, "a") as file:
        file.write('{"stage": "explore", "st')
    assert [record["step"] for record in read_metrics(metrics.path)] == [1]

    metrics.write("explore", 2, 0, {})
    with pytest.warns(UserWarning, match="1 unreadable"):
        assert [record["step"] for record in read_metrics(metrics.path)] == [1, 2]


def test_truncate_forgets_only_the_stage_beyond_the_step(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "m")
    for step in (1, 2, 3):
        metrics.write("collect", step, 0, {})
        metrics.write("explore", step, 0, {})
    with open(metrics.path, "a") as file:
        file.write('{"torn')

    metrics.truncate_after("explore", 1)
    metrics.write("explore", 2, 0, {})

    found = [(record["stage"], record["step"]) for record in read_metrics(metrics.path)]
    assert found == [
        ("collect", 1),
        ("explore", 1),
        ("collect", 2),
        ("collect", 3),
        ("explore", 2),
    ]


def test_nothing_yet(tmp_path: Path) -> None:
    Metrics(tmp_path / "m").truncate_after("explore", 0)
    assert read_metrics(tmp_path / "m") == []
    assert not (tmp_path / "m").exists()


def test_one_json_object_a_line(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "m")
    metrics.write("explore", 1, 0, {"event/key": 1})
    (line,) = metrics.path.read_text().splitlines()
    assert json.loads(line)["event/key"] == 1
