"""Compare what Dreamer earns with patches and with plain convolutions.

    python benchmarks/vision_tasks.py --figure docs/vision-tasks.png
    python benchmarks/vision_tasks.py --tasks keyroom-s5-tiles \
        --json results/bench/vision-tiles.json --figure docs/vision-tiles.png

Each task is learned from its own reward alone, from the first step to the last, by the loop and the
settings that are the same for both: once the world model reads and draws pictures in patches, once
by convolutions. The file is written after every run, and the same command goes on from it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tyro
from jaxtyping import PRNGKeyArray

from convolutions import with_convolutions
from sensei.core.agent import Setup, TrainState, make_agent, make_state
from sensei.core.config import AgentConfig, Size
from sensei.core.methods import method_channels
from sensei.data.episodes import EpisodeStore
from sensei.envs.config import EnvConfig
from sensei.envs.pool import EnvPool
from sensei.run.compilation import keep_compiled_programs
from sensei.run.loop import Job, Learner, Loop
from sensei.run.metrics import Metrics, read_metrics, series
from vision import KINDS, begun, count, save

AGENT = AgentConfig(
    size=Size(deter=128, blocks=4, hidden=64, stoch=8, layers=1),
    batch=16,
    length=8,
    horizon=10,
    learning_rate=1e-3,
    warmup=50,
    discount_horizon=25.0,
    entropy=3e-3,
    imagine_every=2,
    slow_critic_rate=0.1,
)
"""Vision as in size xs; the rest is smaller and quicker to learn, because an update with
convolutions takes several times the processor time."""


@dataclasses.dataclass(frozen=True)
class Task:
    """An environment, and how long it is learned."""

    env: EnvConfig
    env_steps: int
    updates: int
    best: float
    """Mean return of the best policy."""
    prefill: int
    """Steps of random actions before the first update."""
    agent: AgentConfig = AGENT


def _micro(inner: str, **options: int) -> EnvConfig:
    options_of: dict[str, Any] = {"inner": inner, **options}
    return EnvConfig("drawn:Drawn", 8, processes=0, image_size=16, options=options_of)


def _keyroom(side: int, squares: int) -> Task:
    options = {"image_size": side}
    return Task(
        EnvConfig("keyroom-s5", num_envs=8, processes=0, image_size=side, options=options),
        env_steps=20_000,
        updates=4_000,
        best=1.0,
        prefill=2_000,
        agent=dataclasses.replace(AGENT, length=16, discount_horizon=50.0, squares=squares),
    )


TASKS = {
    "cue": Task(_micro("CueReward"), env_steps=2_000, updates=1_000, best=1.0, prefill=100),
    "corridor": Task(
        _micro("Corridor", cells=4), env_steps=1_500, updates=750, best=1.0, prefill=100
    ),
    "keyroom-s5": _keyroom(side=16, squares=4),
    "keyroom-s5-tiles": _keyroom(side=20, squares=5),
}
"""In 16 pixels the five tiles of a side lie across the four patches; in 20 each is one, as in the
preset of KeyRoom."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is compared."""

    tasks: tuple[str, ...] = ("cue", "corridor", "keyroom-s5")
    kinds: tuple[str, ...] = KINDS
    seeds: int = 3
    episodes: int = 64
    """Greedy episodes at the end of each run."""
    json: Path = Path("results/bench/vision-tasks.json")
    figure: Path | None = None
    """Draw the curves here."""


def main(args: Args) -> None:
    """Learn what the file does not hold yet."""
    keep_compiled_programs()
    settings = {
        "tasks": {name: dataclasses.asdict(TASKS[name]) for name in args.tasks},
        "episodes": args.episodes,
    }
    found = begun(args.json, settings)
    for seed in range(args.seeds):
        for name in args.tasks:
            for kind in args.kinds:
                if f"{name}-{kind}-{seed}" not in found["runs"]:
                    result = learn(TASKS[name], kind, seed, args.episodes)
                    found["runs"][f"{name}-{kind}-{seed}"] = result
                    save(found, args.json)
    if args.figure:
        draw(found, args.figure)


def learn(task: Task, kind: str, seed: int, episodes: int) -> dict[str, Any]:
    """Learn a task, then play it greedily from other starts."""
    with tempfile.TemporaryDirectory() as name, EnvPool(task.env, seed) as pool:
        folder = Path(name)
        channels = method_channels("dreamer", task.agent)
        setup = Setup(env=pool.spec, config=task.agent, channels=channels, shaping=("task",))
        learner = Learner(setup, fresh(setup, kind, jax.random.key(seed, impl="rbg")))
        replayed = task.updates * task.agent.batch * task.agent.length
        job = Job(
            key="learn",
            folder=folder / "learn",
            env_steps=task.env_steps,
            train_ratio=replayed / (task.env_steps - task.prefill),
            prefill=task.prefill,
            save_every=task.env_steps,
            seed=seed,
        )
        loop = play(job, pool, learner)
        steps, returns = series(read_metrics(folder / "metrics.jsonl", "learn"), "episode/return")
        result = {
            "updates": loop.updates,
            "world_model_parameters": count(learner.state.agent.world_model),
            "curve": [list(point) for point in zip(steps, returns, strict=True)],
            "greedy": greedy(task, learner, folder / "greedy", episodes),
        }
    print(kind, seed, result["greedy"], [round(x, 2) for x in returns], flush=True)
    return result


@eqx.filter_jit
def fresh(setup: Setup, kind: str, key: PRNGKeyArray) -> TrainState:
    """A new agent of a kind. Both kinds have everything but their eyes in common."""
    k_agent, k_vision, k_train = jax.random.split(key, 3)
    agent = make_agent(setup, key=k_agent)
    if kind == "convolutions":
        assert setup.env.obs.image
        model = with_convolutions(agent.world_model, setup.env.obs.image, key=k_vision)
        agent = agent.replace(world_model=model)
    return make_state(setup, agent, key=k_train)


def play(job: Job, pool: EnvPool, learner: Learner) -> Loop:
    """Run the loop to its end."""
    loop = Loop(job, pool, Metrics(job.folder.parent / "metrics.jsonl"), learner)
    loop.run()
    loop.store.close()
    return loop


def greedy(task: Task, learner: Learner, folder: Path, episodes: int) -> dict[str, float]:
    """Mean return and steps of every environment's first episodes by the policy's mode."""
    each = -(-episodes // task.env.num_envs)
    job = Job("greedy", folder, env_steps=10**6, save_every=10**6, episodes_each=each, greedy=True)
    with EnvPool(task.env, seed=10**6) as pool:
        play(job, pool, learner)
    store = EpisodeStore.open(folder / "episodes", read_only=True)
    chosen = [
        episode
        for env in range(task.env.num_envs)
        for episode in [e for e in store.episodes() if e.env == env][:each]
    ]
    reward = store.column("reward")
    return {
        "return": float(np.mean([reward[e.env, e.start : e.stop].sum() for e in chosen])),
        "steps": float(np.mean([e.stop - e.start - 1 for e in chosen])),
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Returns over environment steps, a line a seed, and the best return."""
    tasks = found["settings"]["tasks"]
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(3.3 * len(tasks), 3), layout="constrained", squeeze=False
    )
    for ax, (name, task) in zip(axes[0], tasks.items(), strict=True):
        for kind, colour in zip(KINDS, ("tab:blue", "tab:orange"), strict=True):
            runs = [r for run, r in found["runs"].items() if run.startswith(f"{name}-{kind}-")]
            for i, run in enumerate(runs):
                ax.plot(*zip(*run["curve"], strict=True), "o-", ms=3, color=colour,
                        label=kind if i == 0 else None)  # fmt: skip
        ax.axhline(task["best"], color="grey", ls=":", label="best possible")
        ax.set(title=name, xlabel="environment steps", ylabel="return")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Args))
