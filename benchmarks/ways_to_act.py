"""What does a learned policy reach by itself, and with random actions between its own?

    python benchmarks/ways_to_act.py RUN --json results/keyroom/ways-to-act-seed11.json
    python benchmarks/ways_to_act.py RUN --stage solve/task --json …

The policy that exploration, or a task, left plays the same number of steps in several ways, and
nothing is learned: alone; with a random action held now and then (``explore.epsilon``); and chance
alone, held as in D_init. Counted are the environment's events and how many different pictures an
episode shows, which is how much of the environment it has seen.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from sensei.data.episodes import EpisodeStore
from sensei.envs import make_adapter
from sensei.envs.pool import EnvPool
from sensei.presets import RunConfig, saved_config
from sensei.run import checkpoint
from sensei.run.files import write_json
from sensei.run.loop import Job, Learner, Loop
from sensei.run.metrics import Metrics
from sensei.run.workspace import Workspace
from sensei.stages.setups import exploration_setup, fresh_state, task_setup
from sensei.types import EnvSpec

WAYS: dict[str, dict[str, float]] = {
    "policy": {},
    "epsilon .05, 8 steps": {"epsilon": 0.05, "epsilon_repeat": 8.0},
    "epsilon .1, 8 steps": {"epsilon": 0.1, "epsilon_repeat": 8.0},
    "epsilon .3, 2 steps": {"epsilon": 0.3, "epsilon_repeat": 2.0},
    "chance, 4 steps": {"action_repeat": 4.0},
}
"""Fields of the job by way of acting; chance has no agent."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Whose policy, and for how long."""

    run: tyro.conf.Positional[Path]
    """A run with a begun ``stage``."""
    stage: str = "explore"
    """Whose policy: ``explore`` or ``solve/TASK``."""
    env_steps: int = 40_000
    """Environment steps of each way."""
    seed: int = 1_000
    """Of environments and actions."""
    json: Path | None = None


def main(args: Args) -> None:
    """Print, and save."""
    workspace = Workspace(args.run)
    config = saved_config(workspace)
    last = checkpoint.read_meta(workspace.folder(args.stage) / "checkpoint.safetensors")
    found: dict[str, Any] = {
        "env": config.env.name,
        "method": config.explore.method,
        "seed": config.seed,
        "stage": args.stage,
        "learned_steps": last["env_steps"],
        "explored_with_epsilon": config.explore.epsilon,
        "env_steps": args.env_steps,
        "ways": {},
    }
    learner = _learner(config, make_adapter(config.env, 0).spec, workspace, args.stage)
    for name, fields in WAYS.items():
        found["ways"][name] = _play(args, config, learner, fields)
        print(name, found["ways"][name], flush=True)
    if args.json:
        write_json(args.json, found)


def _play(
    args: Args, config: RunConfig, learner: Learner, fields: dict[str, float]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, EnvPool(config.env, args.seed) as pool:
        todo: dict[str, Any] = {"key": "explore", "folder": Path(folder), "seed": args.seed}
        job = Job(**todo, env_steps=args.env_steps, save_every=args.env_steps, **fields)
        acts = None if "action_repeat" in fields else learner
        loop = Loop(job, pool, Metrics(Path(folder) / "metrics.jsonl"), acts)
        loop.run()
        seen = _pictures(loop.store)
        loop.store.close()
        summary = {name: loop.summary()[name] for name in ("episodes", "events")}
        return summary | {"different_pictures_an_episode": seen}


def _learner(config: RunConfig, spec: EnvSpec, workspace: Workspace, stage: str) -> Learner:
    kind, _, task = stage.partition("/")
    if kind == "solve":
        setup = task_setup(config, spec, task)
    else:
        setup = exploration_setup(config, spec, config.explore.method)
    path = workspace.folder(stage) / "checkpoint.safetensors"
    state = fresh_state(setup, config.seed)
    return Learner(setup, checkpoint.load_part(path, state, "['state']"))


def _pictures(store: EpisodeStore) -> float:
    """Mean over episodes, unfinished ones too, of how many different pictures they show."""
    images, first = store.column("image"), store.column("is_first")
    counts = []
    for env in range(store.num_envs):
        starts = np.flatnonzero(first[env])
        for begin, end in zip(starts, [*starts[1:], store.steps], strict=True):
            flat = images[env, begin:end].reshape(end - begin, -1)
            counts.append(len({row.tobytes() for row in flat}))
    return float(np.mean(counts))


if __name__ == "__main__":
    main(tyro.cli(Args))
