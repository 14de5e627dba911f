"""Time exploration end to end: python benchmarks/loop.py --json results/bench/loop.json

The loop that ``sensei explore`` runs, on the real environment with an R_ψ that was never trained:
environment steps a second, and where the loop's own time goes, with the quick budget's settings and
with the published ones (length 64, imagination from every state), both at the same train ratio.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from sensei.core.config import SIZES
from sensei.envs.pool import EnvPool
from sensei.presets import RunConfig, preset
from sensei.run import machine
from sensei.run.compilation import keep_compiled_programs
from sensei.run.loop import LOG_ROUNDS, Job, Learner, Loop
from sensei.run.memory import keep_freed_memory
from sensei.run.metrics import Metrics, read_metrics
from sensei.stages.setups import blank_reward_model, exploration_setup, fresh_state

PARTS = ("act", "environments", "replay", "update")
"""What the loop times itself: ``environments`` is the waiting for them after an update was handed
over, ``update`` includes the waiting for the update before, and the rest of the time is ``other``:
storing rows, label frames, metrics and checkpoints."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is timed."""

    env: str = "keychest"
    size: str = "xs"
    train_ratio: float = 32.0
    records: int = 3
    """Records of the loop that count, 128 rounds of all environments each; two come before them."""
    json: Path | None = None
    """Write the figures here too."""


def main(args: Args) -> None:
    """Print and save the figures of both settings."""
    keep_freed_memory()
    keep_compiled_programs()
    quick = preset(args.env, "quick", args.size)
    agent = dataclasses.replace(preset(args.env, "paper").agent, size=SIZES[args.size])
    full = dataclasses.replace(quick, agent=agent)
    result = {
        "env": args.env,
        "size": args.size,
        "train_ratio": args.train_ratio,
        "cpu": machine.hardware()["cpu"],
        "load": os.getloadavg()[0],
        "quick": explored(quick, args),
        "full": explored(full, args),
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def explored(config: RunConfig, args: Args) -> dict[str, Any]:
    """Explore for a while; what the records after the first two say."""
    record = LOG_ROUNDS * config.env.num_envs
    with EnvPool(config.env, seed=0) as pool, tempfile.TemporaryDirectory() as folder:
        setup = exploration_setup(config, pool.spec, "sensei")
        reward_model = blank_reward_model(config, pool.spec.obs)
        learner = Learner(setup, fresh_state(setup, 0), reward_model)
        job = Job(
            key="explore",
            folder=Path(folder),
            env_steps=(2 + args.records) * record,
            train_ratio=args.train_ratio,
            prefill=record,  # the second record then holds the compilation
            replay_gb=0.5,
        )
        metrics = Path(folder) / "metrics.jsonl"
        Loop(job, pool, Metrics(metrics), learner).run()
        records = read_metrics(metrics, "explore")[2 : 2 + args.records]
    return summary(records, config)


def summary(records: list[dict[str, Any]], config: RunConfig) -> dict[str, Any]:
    """The means over some records."""

    def mean(name: str) -> float:
        return float(np.mean([record[name] for record in records]))

    shares = {part: mean(f"speed/share_{part}") for part in PARTS}
    return {
        "batch": [config.agent.batch, config.agent.length],
        "imagine_every": config.agent.imagine_every,
        "environments": config.env.num_envs,
        "env_steps_per_second": mean("speed/env_steps"),
        "updates_per_second": mean("speed/updates"),
        "shares": shares | {"other": 1.0 - sum(shares.values())},
    }


if __name__ == "__main__":
    main(tyro.cli(Args))
