"""The figure and the tables of the label study, from what ``label_accuracy.py`` wrote.

python benchmarks/label_figures.py results/labels/*.json
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro

Cell = Mapping[str, Any]
BEGIN, END = "<!-- {name} -->", "<!-- end -->"


@dataclasses.dataclass(frozen=True)
class Args:
    """What to read, and what to bring up to date."""

    tables: tyro.conf.Positional[tuple[Path, ...]]
    """Files of ``label_accuracy.py``; the first one's noise and the second one's choice of pairs
    are drawn."""
    figure: Path = Path("docs/labels.png")
    page: Path = Path("docs/labels.md")
    """Its blocks between ``<!-- NAME KIND -->`` and ``<!-- end -->`` are written anew: NAME.json is
    a table, KIND is noise, choice or ensemble."""


def main(args: Args) -> None:
    """Write the figure, and the blocks of the page."""
    page = args.page.read_text()
    for path in args.tables:
        table = json.loads(path.read_text())
        for kind, make in {"noise": noise, "choice": choice, "ensemble": ensemble}.items():
            page = with_block(page, f"{path.stem} {kind}", make(table["cells"]))
    args.page.write_text(page)
    draw([json.loads(path.read_text())["cells"] for path in args.tables[:2]], args.figure)


def with_block(page: str, name: str, lines: Iterable[str]) -> str:
    """Replace what is between the marks of this name; a page without them stays as it is."""
    begin = BEGIN.format(name=name)
    if begin not in page:
        return page
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(END)
    return "\n".join([before + begin, *lines, END]) + after


def noise(cells: list[Cell]) -> list[str]:
    """Accuracy by number of labels and flip rate, uniform pairs."""
    uniform = chosen(cells, sampler="uniform")
    sizes, flips = (sorted({cell[name] for cell in uniform}) for name in ("pairs", "flip_rate"))
    lines = ["| wrong labels | " + " | ".join(f"{n:,} pairs" for n in sizes) + " |"]
    lines.append("|---|" + "---|" * len(sizes))
    for flip in flips:
        row = [shown(chosen(uniform, flip_rate=flip, pairs=n), "accuracy") for n in sizes]
        lines.append(f"| {flip:.0%} | " + " | ".join(row) + " |")
    return lines


def choice(cells: list[Cell]) -> list[str]:
    """How many uniform pairs are as good as so many uncertain ones.

    Where uniform pairs of that number were measured, over the seeds that have both.
    """
    lines = [
        "| wrong labels | `uncertain` pairs | accuracy: `uniform` | `uncertain` "
        "| balanced: `uniform` | `uncertain` | share of the `uniform` labels needed |",
        "|---|---|---|---|---|---|---|",
    ]
    for flip in sorted({cell["flip_rate"] for cell in chosen(cells, sampler="uncertain")}):
        mine = chosen(cells, sampler="uncertain", flip_rate=flip)
        seeds = {cell["seed"] for cell in mine}
        other = [c for c in chosen(cells, sampler="uniform", flip_rate=flip) if c["seed"] in seeds]
        for n in sorted({cell["pairs"] for cell in mine}):
            ours, theirs = chosen(mine, pairs=n), chosen(other, pairs=n)
            both = {cell["seed"] for cell in theirs}
            ours = [cell for cell in ours if cell["seed"] in both] or ours
            columns = [
                shown(side, name) for name in ("accuracy", "balanced") for side in (theirs, ours)
            ]
            row = [f"{flip:.0%}", f"{n:,}", *columns, share_needed(n, ours, other)]
            lines.append("| " + " | ".join(row) + " |")
    return lines


def share_needed(n: int, ours: list[Cell], other: list[Cell]) -> str:
    """n over the uniform pairs that reach the same accuracy, by interpolation in log n."""
    sizes = sorted({cell["pairs"] for cell in other})
    curve = np.maximum.accumulate([mean(chosen(other, pairs=size), "accuracy") for size in sizes])
    reached = mean(ours, "accuracy")
    if reached > curve[-1]:  # no number of uniform labels that was tried was enough
        return f"< {n / sizes[-1]:.0%}" if n <= sizes[-1] else ""
    if reached < curve[0]:
        return f"> {n / sizes[0]:.0%}"
    return f"{n / np.exp(np.interp(reached, curve, np.log(sizes))):.0%}"


def ensemble(cells: list[Cell]) -> list[str]:
    """The ensemble's mean, a single member, and the mean damped by the members' spread."""
    lines = [
        "| wrong labels | pairs | a single member | mean of 5 | mean − 1 · deviation |",
        "|---|---|---|---|---|",
    ]
    uniform = chosen(cells, sampler="uniform")
    for flip, n in sorted({(cell["flip_rate"], cell["pairs"]) for cell in uniform}):
        found = chosen(uniform, flip_rate=flip, pairs=n)
        row = [shown(found, name) for name in ("single", "accuracy", "damped")]
        lines.append(f"| {flip:.0%} | {n:,} | " + " | ".join(row) + " |")
    return lines


def chosen(cells: Iterable[Cell], **wanted: Any) -> list[Cell]:
    """Select cells by their fields."""
    return [cell for cell in cells if all(cell[name] == want for name, want in wanted.items())]


def mean(cells: list[Cell], name: str) -> float:
    """Mean over seeds."""
    return float(np.mean([cell[name] for cell in cells]))


def shown(cells: list[Cell], name: str) -> str:
    """Mean, range and number of seeds; nothing where nothing was measured."""
    if not cells:
        return ""
    values = [cell[name] for cell in cells]
    text = f"{100 * np.mean(values):.1f}"
    if len(values) == 1:
        return text
    return f"{text} ({100 * min(values):.1f}–{100 * max(values):.1f}, {len(values)})"


def draw(tables: list[list[Cell]], path: Path) -> None:
    """Accuracy by labels: left by noise (first table), right by choice of pairs (last table)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    by_noise, by_choice = tables[0], tables[-1]
    for number, flip in enumerate(sorted({cell["flip_rate"] for cell in by_noise})):
        uniform = chosen(by_noise, sampler="uniform", flip_rate=flip)
        line(left, uniform, "accuracy", f"{flip:.0%} wrong labels", f"C{number}", "-")
        uncertain = chosen(by_choice, sampler="uncertain", flip_rate=flip)
        if uncertain:
            name, uniform = (
                f"{flip:.0%} wrong",
                chosen(by_choice, sampler="uniform", flip_rate=flip),
            )
            line(right, uniform, "balanced", f"uniform, {name}", f"C{number}", ":")
            line(right, uncertain, "balanced", f"uncertain, {name}", f"C{number}", "-")
    titles = ("pairs ordered as by the oracle, %", "… mean over pairs of scores, %")
    axes = ((left, by_noise), (right, by_choice))
    for (axis, cells), title in zip(axes, titles, strict=True):
        sizes = sorted({cell["pairs"] for cell in cells})
        axis.set(xscale="log", xlabel="labelled pairs")
        axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axis.minorticks_off()
        axis.set_title(title, fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def line(axis: Any, cells: list[Cell], name: str, label: str, color: str, style: str) -> None:
    """Draw the mean over seeds, and every seed as a dot."""
    sizes = sorted({cell["pairs"] for cell in cells})
    means = [100 * mean(chosen(cells, pairs=n), name) for n in sizes]
    axis.plot(sizes, means, style, color=color, label=label)
    axis.plot(
        [cell["pairs"] for cell in cells], [100 * cell[name] for cell in cells], ".", color=color
    )


if __name__ == "__main__":
    main(tyro.cli(Args))
