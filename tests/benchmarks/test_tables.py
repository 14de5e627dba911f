"""The pages with measurements say what the files say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "tables.py"
SPEC = importlib.util.spec_from_file_location("tables", PROGRAM)
assert SPEC is not None and SPEC.loader is not None
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)


@pytest.mark.parametrize("path", tables.PAGES, ids=lambda path: path.stem)
def test_the_page_is_up_to_date(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert tables.render(page, tables.RESULTS) == page, "run: python benchmarks/tables.py"
    assert set(re.findall(r"<!-- table ([\w-]+) -->", page)) <= tables.TABLES.keys()


def test_a_table_follows_its_file(tmp_path: Path) -> None:
    page = "before\n<!-- table environments -->\nold\n<!-- end -->\nafter\n"
    missing = tables.render(page, tmp_path)
    assert "python benchmarks/environments.py --json results/bench/environments.json" in missing
    speed = {"1_process": 1234.4, "2_processes": 2345.6}
    speed |= {"load_average_before": 0.25, "processor_ms_a_step": 0.512}
    found = {"steps_per_second": {"keychest": speed}, "cores": 2}
    (tmp_path / "environments.json").write_text(json.dumps(found))
    made = tables.render(missing, tmp_path)
    assert "| keychest | 1,234 | 2,346 | 0.2 | 0.51 |" in made
    assert made.startswith("before\n") and made.endswith("<!-- end -->\nafter\n")
    assert tables.render(made, tmp_path) == made


def test_replay_stands_beside_what_the_disk_gave() -> None:
    def part(**more: float) -> dict:
        rates = {"batches_per_second": 50.0, "cpu_ms_per_batch": 1.0, "read_from_disk_gb": 2.0}
        return rates | more

    growth = [{"written_gb": 8.0, "own_gb": 0.04, "disk_gb": 8.1}]
    found = {"cap_gb": 8.0, "memory_gb": 25.0, "growth": growth, "warm": part(), "cold": part()}
    assert tables.replay(found)[2] == "| nothing in memory | 50 | – | 1.00 | 2.00 |"
    found["cold"] = part(disk_batches_per_second=60.0)
    cold, warm = tables.replay(found)[2:4]
    assert cold == "| nothing in memory | 50 | 60 | 1.00 | 2.00 |"
    assert warm == "| all in memory | 50 | – | 1.00 | 2.00 |"
    found["steady"] = part(batches_per_second=40.0)
    assert tables.replay(found)[3] == "| as many in memory as fit | 40 | – | 1.00 | 2.00 |"


@pytest.mark.parametrize("times", [0.5, 2.0])
def test_a_peer_is_compared_with_our_step_of_the_same_kind(times: float) -> None:
    def program(algorithm: str, seconds: float) -> dict:
        rest = {"gflop": 1.0, "parameters": 1e6, "peak_gb": 1.0, "versions": {"x": "1"}}
        both = {"seconds_median": seconds, "seconds_min": seconds}
        return {"name": algorithm, "algorithm": algorithm, **both, **rest}

    programs = [
        program("sensei", 9.0),
        program("p2e", 3.0),
        program("dreamer", 1.0),
        program("p2e_dv3_exploration", 3.0 * times),
        program("dreamer_v3", times),
    ]
    lines = tables.peers({"programs": programs, "cpu": "c", "threads": 2, "load_before": 0.0})
    ratio = {line.split(" | ")[0][2:]: line.split(" | ")[3] for line in lines[2:7]}
    assert ratio["p2e_dv3_exploration"] == ratio["dreamer_v3"] == f"{times:.2f}"
    assert ratio["sensei"] == ratio["p2e"] == ratio["dreamer"] == "1.00"


def test_a_task_has_a_row_for_each_world_model(tmp_path: Path) -> None:
    """Two seeds: the mean return of the greedy episodes, and of the learning curve."""

    def run(at_end: float, curve: list[float]) -> dict:
        greedy = {"return": at_end, "steps": 10.0}
        return {"greedy": greedy, "curve": [[i, y] for i, y in enumerate(curve)]}

    runs = {
        "keyroom-s5-patches-0": run(0.5, [0.0, 0.5]),
        "keyroom-s5-patches-1": run(1.0, [0.5, 1.0]),
        "keyroom-s5-convolutions-0": run(0.0, [0.0]),
    }
    found = {"runs": runs, "settings": {"tasks": {"keyroom-s5": {"best": 1.0}}}}
    (tmp_path / "vision-tasks.json").write_text(json.dumps(found))
    patches, convolutions = tables.table("vision-tasks", tmp_path)[2:]
    assert patches == (
        "| keyroom-s5 | patches | 2 | 0.75 (0.50 to 1.00) | 1.00 | 10.00 (10.00 to 10.00) "
        "| 0.50 (0.25 to 0.75) |"
    )
    assert convolutions.startswith("| keyroom-s5 | convolutions | 1 | 0.00 ")
