"""Write the tables of the pages in docs from results/bench: python benchmarks/tables.py

What stands between ``<!-- table NAME -->`` and ``<!-- end -->`` is replaced; a table whose
measurement is not there says so and names the command. A test holds the pages to the files.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("performance", "environments", "robodesk")]
RESULTS = ROOT / "results" / "bench"
_SECTION = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Table = Callable[[Any], list[str]]


def main() -> None:
    """Write the pages anew."""
    for page in PAGES:
        page.write_text(render(page.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")


def render(page: str, results: Path) -> str:
    """Return the page with every table made from the file of its name in ``results``.

    Raises:
        KeyError: the page asks for a table that is not in ``TABLES``.
    """

    def section(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        return "\n".join([begin.rstrip(), *table(name, results), end])

    return _SECTION.sub(section, page)


def table(name: str, results: Path) -> list[str]:
    """The lines of one table."""
    make, command = TABLES[name]
    path = results / f"{name}.json"
    if not path.exists():
        return [
            f"Not measured yet: `python benchmarks/{command} --json results/bench/{path.name}`."
        ]
    return make(json.loads(path.read_text(encoding="utf-8")))


def train_step(found: Any) -> list[str]:
    """One size of our step."""
    rows = [
        ("seconds an update, median (best)", _pair(found, "seconds")),
        ("GFLOP an update", f"{found['gflop']:.0f}"),
        ("share of the machine's matrix product rate", f"{100 * found['utilisation']:.0f} %"),
        ("parameters trained", _millions(sum(found["parameters"].values()))),
        ("seconds to compile", f"{found['compile_seconds']:.0f}"),
        ("peak memory", f"{found['peak_memory_gb']:.1f} GB"),
    ]
    return _markdown((found["what"], ""), rows)


def loaded(found: Any) -> list[str]:
    """An update by where it was compiled, or by its precision."""
    where = {
        "here": "this process",
        "elsewhere": "another process",
        "bfloat16": "another process, products in bfloat16",
    }
    rows = [
        (where[name], _pair(way, "seconds"), _pair(way, "processor_seconds"))
        for name, way in found["updates"].items()
    ]
    head = (f"{found['size']}, compiled by", "s an update, median (best)")
    return [*_markdown((*head, "processor's seconds"), rows), "", _machine(found)]


def peers(found: Any) -> list[str]:
    """The programs of one preset, and how many of our steps of the same kind fit into theirs."""
    ours = {p["algorithm"]: p["seconds_median"] for p in found["programs"]}
    rows = []
    for program in found["programs"]:
        mine = ours.get(_counterpart(program["algorithm"]))
        times = f"{program['seconds_median'] / mine:.2f}" if mine else "–"
        version = next(iter(program["versions"].items()))
        rows.append(
            (
                program["name"],
                " ".join(version),
                _pair(program, "seconds"),
                times,
                f"{program['gflop']:.0f}",
                _millions(program["parameters"]),
                f"{program['peak_gb']:.1f}",
            )
        )
    head = ("program", "version", "s an update, median (best)", "× ours")
    said = f"{found['cpu']}, {found['threads']} cores, load before {found['load_before']:.1f}."
    return [*_markdown((*head, "GFLOP", "parameters", "peak GB"), rows), "", said]


def replay(found: Any) -> list[str]:
    """Rates from the disk and from memory, and what the process grew to."""
    alone = "disk_batches_per_second"
    rows = [
        (
            name,
            f"{part['batches_per_second']:.0f}",
            # Nothing is read where all is in memory, and older files do not say.
            f"{part[alone]:.0f}" if alone in part else "–",
            f"{part['cpu_ms_per_batch']:.2f}",
            f"{part['read_from_disk_gb']:.2f}",
        )
        for key, name in (
            ("cold", "nothing in memory"),
            ("steady", "as many in memory as fit"),
            ("warm", "all in memory"),
        )
        if (part := found.get(key))  # older files have no steady state
    ]
    full = [record for record in found["growth"] if record["written_gb"] >= found["cap_gb"]]
    own = [record["own_gb"] for record in full]
    pictures = found.get("pictures", "noise")  # older files had nothing else
    said = (
        f"A store of {found['cap_gb']:.0f} GB of {pictures} on a machine with "
        f"{found['memory_gb']:.0f} GB. From "
        f"the cap to {full[-1]['written_gb']:.1f} GB written, the process itself held "
        f"{min(own):.3f} to {max(own):.3f} GB and the disk at most "
        f"{max(record['disk_gb'] for record in full):.1f} GB."
    )
    head = ("windows", "batches a second", "plain reads of the same", "processor ms a batch")
    return [*_markdown((*head, "GB read from the disk"), rows), "", said]


def loop(found: Any) -> list[str]:
    """Environment steps a second and where the time goes."""
    names = [name for name in ("quick", "full") if name in found]
    parts = list(found[names[0]]["shares"])
    rows = [
        (
            name,
            f"{found[name]['batch'][0]} × {found[name]['batch'][1]}",
            f"{found[name]['env_steps_per_second']:.1f}",
            f"{found[name]['updates_per_second']:.2f}",
            *(f"{100 * found[name]['shares'][part]:.1f} %" for part in parts),
        )
        for name in names
    ]
    head = ("settings", "batch", "env steps a second", "updates a second", *parts)
    said = f"{found['env']}, {found['size']}, train ratio {found['train_ratio']:.0f}."
    return [*_markdown(head, rows), "", said]


def growth(found: Any) -> list[str]:
    """Every point of the training curves."""
    rows = [
        (
            name,
            str(point["at"]),
            f"{point['processor_seconds_median']:.2f}",
            f"{point['gflop']:.0f}",
            f"{point['parameters'] / 1e6:.1f} M",
            f"{point['peak_memory_gb']:.1f}",
        )
        for name, points in found["training"].items()
        for point in points
    ]
    head = ("dial", "at", "processor's s an update", "GFLOP", "parameters", "peak GB")
    return [*_markdown(head, rows), "", _machine(found)]


def vision(found: Any) -> list[str]:
    """Held-out errors of patches and of convolutions after equally many updates."""
    rows = []
    for kind in dict.fromkeys(name.rpartition("-")[0] for name in found["runs"]):
        runs = [run for name, run in found["runs"].items() if name.startswith(f"{kind}-")]
        last = [run["curve"][-1] for run in runs]
        rows.append(
            (
                kind,
                str(len(runs)),
                *(_spread([point[key] for point in last]) for key in ("image", "open_loop", "kl")),
                f"{runs[0]['parameters'] / 1e6:.2f} M",
                f"{statistics.median(run['processor_seconds_median'] for run in runs):.2f}",
            )
        )
    head = (
        "world model",
        "seeds",
        "reconstruction",
        "open loop",
        "KL",
        "parameters",
        "s an update",
    )
    said = (
        f"After {found['settings']['updates']} updates; means over seeds (smallest to largest). "
        f"Repeating the last picture seen: {found['repeated_picture']:.1f}. Seconds are the "
        "processor's, on one core beside other work."
    )
    return [*_markdown(head, rows), "", said]


def vision_tasks(found: Any) -> list[str]:
    """What each task's policy earns at the end, with patches and with convolutions."""
    rows = []
    for kind in dict.fromkeys(name.rpartition("-")[0] for name in found["runs"]):
        runs = [run for name, run in found["runs"].items() if name.startswith(f"{kind}-")]
        task, _, eyes = kind.rpartition("-")
        rows.append(
            (
                task,
                eyes,
                str(len(runs)),
                _spread([run["greedy"]["return"] for run in runs]),
                f"{found['settings']['tasks'][task]['best']:.2f}",
                _spread([run["greedy"]["steps"] for run in runs]),
                _spread([statistics.fmean(y for _, y in run["curve"]) for run in runs]),
            )
        )
    head = ("task", "world model", "seeds", "return", "best", "steps", "return while learning")
    return _markdown(head, rows)


def environments(found: Any) -> list[str]:
    """Agent steps a second, and how much faster RoboDesk's picture is than the shipped one."""
    forms = {
        "1_process": ",.0f",
        "2_processes": ",.0f",
        "load_average_before": ".1f",
        "processor_ms_a_step": ".2f",
    }
    rows = [
        (
            name,
            *(format(speeds[key], form) if key in speeds else "–" for key, form in forms.items()),
        )
        for name, speeds in found["steps_per_second"].items()
    ]
    head = ("environment", "steps a second, one process", "two processes", "load before")
    lines = [*_markdown((*head, "processor ms a step"), rows), ""]
    if frame := found.get("robodesk_frame"):
        took = frame["milliseconds"]
        lines += [
            f"RoboDesk's 64² picture took {took['fast_64']:.1f} ms, the shipped scene drawn at 64² "
            f"{took['stock_64']:.0f} ms in the same run: {frame['times_faster_64']:.0f} times.",
            "",
        ]
    if batches := found.get("batches"):
        sizes = [f"{count}_copies" for count in (1, 16, 64)]
        rows = [
            (name, *(f"{batch[size]['a_processor_second']:,.0f}" for size in sizes))
            for name, batch in batches.items()
        ]
        head = ("written in JAX, steps a processor second", "1 copy", "16 copies", "64 copies")
        lines += [*_markdown(head, rows), ""]
    return [
        *lines,
        f"On {found['cores']} cores, which other work shared where the load is above 0.",
    ]


def robodesk_drift(found: Any) -> list[str]:
    """Largest differences after each number of repeats."""
    pairs = found["largest_difference"]
    rows = [(pair, *(f"{d:.0e}" for d in marks.values())) for pair, marks in pairs.items()]
    return _markdown(("MuJoCo", *next(iter(pairs.values()))), rows)


def robodesk_random(found: Any) -> list[str]:
    """What moved, and was pushed, under random actions."""
    moved = [name for name in next(iter(found.values()))["events"] if name.endswith("_moved")]
    rows = [
        (
            name.removesuffix("_moved").replace("_", " "),
            *(_moved_and_pushed(held["events"], name) for held in found.values()),
        )
        for name in moved
    ]
    total = ("all that moved", *(f"{held['interactions']:,}" for held in found.values()))
    return _markdown(("", *found), [*rows, total])


def _moved_and_pushed(events: dict[str, int], moved: str) -> str:
    return f"{events[moved]} ({events[moved.replace('_moved', '_pushed')]})"


TABLES: dict[str, tuple[Table, str]] = {
    "train_step-xs": (train_step, "train_step.py --size xs"),
    "train_step-xs-avx2": (train_step, "train_step.py --size xs"),
    "train_step-s": (train_step, "train_step.py --size s"),
    "loaded-xs": (loaded, "loaded.py --size xs"),
    "precision-xs": (loaded, "loaded.py --size xs --ways elsewhere bfloat16"),
    "precision-s": (loaded, "loaded.py --size s --ways elsewhere bfloat16"),
    "peers-1m": (peers, "peers.py --preset 1m --python PEERS/bin/python"),
    "peers-12m": (peers, "peers.py --preset 12m --python PEERS/bin/python"),
    "replay": (replay, "replay.py"),
    "replay-larger": (replay, "replay.py --gb 26 --cold-batches 100"),
    "replay-packed": (replay, "replay.py --gb 26 --env keychest"),
    "replay-packed-robodesk": (replay, "replay.py --env robodesk"),
    "loop": (loop, "loop.py"),
    "growth": (growth, "growth.py --figure docs/growth.png"),
    "vision": (vision, "vision.py RUN"),
    "vision-quick": (vision, "vision.py RUN --seeds 1 --updates 300 …"),
    "vision-tasks": (vision_tasks, "vision_tasks.py --figure docs/vision-tasks.png"),
    "vision-tiles": (vision_tasks, "vision_tasks.py --tasks keyroom-s5-tiles …"),
    "environments": (environments, "environments.py"),
    "robodesk-drift": (robodesk_drift, "robodesk_facts.py drift"),
    "robodesk-random": (robodesk_random, "robodesk_facts.py random"),
}
"""What makes each table, and the command that measures it."""


def _counterpart(algorithm: str) -> str:
    """Our algorithm that does what a peer's does."""
    return {"dreamer_v3": "dreamer", "p2e_dv3_exploration": "p2e"}.get(algorithm, algorithm)


def _machine(found: Any) -> str:
    """On what, and beside how much else."""
    cores = "1 core" if found["cores"] == 1 else f"{found['cores']} cores"
    return f"{found['cpu']}, {cores}, load before {found['load']:.1f}."


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _pair(found: Any, name: str) -> str:
    return f"{found[f'{name}_median']:.2f} ({found[f'{name}_min']:.2f})"


def _millions(count: float) -> str:
    return f"{count / 1e6:.2f} M"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


if __name__ == "__main__":
    main()
