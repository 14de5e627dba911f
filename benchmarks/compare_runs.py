"""Compare runs of several methods: event counts over environment steps, as JSON and a figure.

    python benchmarks/compare_runs.py runs/sensei runs/p2e --out results/keychest/first.json \
        --figure docs/keychest.png
    python benchmarks/compare_runs.py runs/sensei runs/p2e --stage solve/task --out …
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro

from sensei.run.metrics import read_metrics, series
from sensei.run.workspace import Workspace
from sensei.study.results import read_run

COURSE = (
    "sensei/entropy",
    "sensei/go_fraction",
    "loss/image",
    "channel/semantic_reward",
    "channel/semantic_return",
    "channel/semantic_range",
    "channel/disagreement_range",
    "channel/task_return",
)
"""Metrics whose course is kept beside the counts."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Which runs, and where the comparison goes."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    out: Path
    figure: Path | None = None
    stage: str = "explore"
    """What is compared; of a task, solve/TASK."""


def main(args: Args) -> None:
    """Compare at the largest number of steps that every run reached."""
    runs = [read(path, args.stage) for path in args.runs]
    common = min(run["steps"][-1] for run in runs)
    result = {"stage": args.stage, "compared_at_env_steps": common, "runs": []}
    for run in runs:
        at = {name: at_step(run, name, common) for name in run["events"]}
        end = {name: run["values"][name][-1] for name in run["events"]}
        names = (
            "method",
            "seed",
            "command",
            "commit",
            "seconds",
            "d_init",
            "episodes",
            "course",
            "evaluated",
        )
        kept = {k: run[k] for k in names}
        counts = {
            "env_steps": run["steps"][-1],
            "at_end": end,
            "on_the_way": on_the_way(run, common),
        }
        result["runs"].append(kept | {"events": at} | counts)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if args.figure:
        draw(runs, args.figure)


def read(path: Path, stage: str) -> dict[str, Any]:
    """Everything about one run's stage."""
    workspace = Workspace(path)
    config, manifest = workspace.config(), workspace.manifest()
    records = read_metrics(path / "metrics.jsonl", stage)
    names = sorted({k.removeprefix("event/") for r in records for k in r if k[:6] == "event/"})
    values = {name: series(records, f"event/{name}")[1] for name in names}
    values["episodes"] = series(records, "episode/count")[1]
    return {
        "method": config["explore"]["method"],
        "seed": config["seed"],
        "command": [_command(c["command"]) for c in manifest["commands"]],
        "commit": manifest.get("commit"),
        "seconds": {key: stage["seconds"] for key, stage in manifest["stages"].items()},
        "d_init": last_counts(path),
        "episodes": records[-1].get("episode/count"),
        "events": names,
        "course": {name: course(records, name) for name in COURSE},
        "evaluated": read_run(path).evaluated,
        "steps": series(records, f"event/{names[0]}")[0],
        "values": values,
    }


def _command(words: list[str]) -> str:
    """The command as it was typed, but for where on this machine its folder or file is."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in words)


def course(records: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """Ten (step, value) pairs of a metric, evenly over the run; none where it was not logged."""
    steps, values = series(records, name)
    at = np.linspace(0, len(steps) - 1, min(10, len(steps))).astype(int)
    return [(int(steps[i]), float(values[i])) for i in at]


def last_counts(path: Path) -> dict[str, float]:
    """Event counts of the episodes that the labels come from; empty for methods without any."""
    records = read_metrics(path / "metrics.jsonl", "collect")
    last = records[-1] if records else {}
    return {k: last[k] for k in ("step", *(k for k in last if k.startswith("event/"))) if k in last}


def at_step(run: dict[str, Any], name: str, step: int) -> float:
    """The count of an event when ``step`` environment steps were done."""
    return float(np.interp(step, run["steps"], run["values"][name]))


def on_the_way(run: dict[str, Any], steps: int) -> dict[str, list[float]]:
    """The counts of events and finished episodes at every tenth of ``steps``."""
    at = np.linspace(0, steps, 11)[1:]
    counts = {name: np.interp(at, run["steps"], values) for name, values in run["values"].items()}
    return {"steps": at.tolist()} | {n: np.round(c, 1).tolist() for n, c in counts.items()}


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """One panel an event, one line a run."""
    shown = [n for n in runs[0]["events"] if n not in ("reward", "at_locked_door", "door_opened")]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 2.8), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=True):
        for run in runs:
            axis.plot(run["steps"], run["values"][name], label=run["method"])
        axis.set_title(name.replace("_", " "), fontsize=10)
        axis.set_xlabel("environment steps", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("total count", fontsize=8)
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(tyro.cli(Args))
