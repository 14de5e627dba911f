"""What does R_ψ make of the oracle's grades, and of an object beside the agent?

    python benchmarks/grades.py FEW MORE --json results/labels/keychest-grades.json

Each run has finished its distill stage with an oracle. Of D_init's rows: R_ψ by the oracle's grade,
and a step before the vector's first entry, a bit, goes on (in KeyChest: the key is beside the
agent, grade 1). How often R_ψ orders two frames as the oracle does says little about that: an
object that few pairs show can lie anywhere between the grades around it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from sensei.core.reward_model import judge_with
from sensei.data.episodes import EpisodeStore
from sensei.data.rises import Judge
from sensei.envs import make_adapter
from sensei.presets import saved_config
from sensei.run.files import write_json
from sensei.run.workspace import Workspace
from sensei.stages.setups import load_reward_model

ROWS = 1000
"""Of each grade, at most."""
SEEN = ("image", "vector")


@dataclasses.dataclass(frozen=True)
class Args:
    """Whose R_ψ."""

    runs: tyro.conf.Positional[list[Path]]
    json: Path | None = None


def main(args: Args) -> None:
    """Print and save."""
    found = {run.name: of_run(run) for run in args.runs}
    for name, values in found.items():
        print(name, *(f"{key}: {value}" for key, value in values.items()), sep="\n  ")
    if args.json:
        write_json(args.json, found)


def of_run(run: Path) -> dict[str, Any]:
    """How it was distilled, and the quartiles of R_ψ of everything."""
    workspace = Workspace(run)
    config = saved_config(workspace)
    spec = make_adapter(config.env, 0).spec
    judge = judge_with(load_reward_model(config, spec, workspace, "distill"))
    store = EpisodeStore.open(run / "collect" / "episodes", read_only=True)
    return {
        "seed": config.seed,
        "pairs": config.annotate.pairs,
        "label_frames": config.collect.label_frames,
        "collected_steps": config.collect.env_steps,
    } | by_place(store, judge)


def by_place(store: EpisodeStore, judge: Judge) -> dict[str, Any]:
    """Quartiles of R_ψ of the rows of each grade, and of those before the bit goes on."""
    score, bit = store.column("score"), store.column("vector")[..., 0] > 0.5
    reset = store.column("is_first")
    places = {f"grade {s:g}": np.argwhere(score == s) for s in np.unique(score)}
    on = bit[:, 1:] & ~bit[:, :-1] & ~reset[:, 1:]
    places["before the bit goes on"] = np.argwhere(on)
    rng, found = np.random.default_rng(0), dict[str, Any]()
    for name, rows in places.items():
        some = rows[rng.permutation(len(rows))[:ROWS]]
        windows = [store.window(int(env), store.oldest + int(t), 1) for env, t in some]
        seen = {key: np.concatenate([w[key] for w in windows]) for key in SEEN if key in windows[0]}
        quartiles = np.quantile(judge(seen), [0.25, 0.5, 0.75])
        found[name] = {"rows": len(some), "quartiles": [round(float(q), 2) for q in quartiles]}
    return found


if __name__ == "__main__":
    main(tyro.cli(Args))
