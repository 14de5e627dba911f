"""Draw the pictures of the pages on environments: python benchmarks/pictures.py robodesk keyquest

Writes docs/NAME.png for each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro

from sensei.envs import make_env
from sensei.testing.solvers import solve

DOCS = Path(__file__).parents[1] / "docs"


@dataclasses.dataclass(frozen=True)
class Args:
    """Which pictures, and where they go."""

    names: tyro.conf.Positional[tuple[Literal["robodesk", "keyquest"], ...]]
    out: Path = DOCS


def main(args: Args) -> None:
    """Draw and save."""
    make = {"robodesk": robodesk, "keyquest": keyquest}
    for name in args.names:
        figure = make[name]()
        figure.savefig(args.out / f"{name}.png", dpi=110)
        plt.close(figure)


def robodesk() -> Any:
    """The same moment as shipped and as drawn here, from every camera and as the agent sees it."""
    cameras, rows = ("right", "left", "top"), []
    for picture in ("full", "fast"):
        env = make_env("robodesk", noise=False, picture=picture, cameras=cameras)
        observation, _ = env.reset(seed=0)
        drawn = [env.unwrapped._draw(camera, 224) for camera in cameras]
        rows.append([*drawn, observation["image"]])
    titles = ("right: annotator, 224²", "left", "top", "right: agent, 64²")
    return grid(rows, titles, ('picture="full"\n(as shipped)', 'picture="fast"\n(default)'))


def keyquest() -> Any:
    """A scripted solution of the free Game Boy game: the moments at which something happens."""
    env: Any = make_env("keyquest")
    env.reset(seed=1)
    player, shown = solve(env), {"start": env.unwrapped.render_label()}
    ended = False
    while not ended:
        *_, ended, _, info = env.step(next(player))
        for name in ("key_picked_up", "door_opened", "at_chest", "chest_opened"):
            if info["events"][name]:
                shown.setdefault(name.replace("_", " "), env.unwrapped.render_label())
    return grid([list(shown.values())], tuple(shown), ("",))


def grid(rows: list[list[np.ndarray]], titles: Sequence[str], names: Sequence[str]) -> Any:
    """Lay pictures out in rows, with titles above and the rows' names beside."""
    wide, high = len(rows[0]), len(rows)
    figure, axes = plt.subplots(
        high, wide, figsize=(2.3 * wide, 2.3 * high + 0.4), squeeze=False, layout="constrained"
    )
    for row, name, line in zip(axes, names, rows, strict=True):
        for axis, picture in zip(row, line, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(name, fontsize=9)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    return figure


if __name__ == "__main__":
    main(tyro.cli(Args))
