"""From a run's configuration to what the core trains."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import equinox as eqx
import jax

from sensei.core.actor_critic import Actor
from sensei.core.agent import Setup, TrainState, make_agent, make_state
from sensei.core.methods import method_channels, method_gate, task
from sensei.core.reward_model import RewardModel
from sensei.core.world_model import WorldModel
from sensei.data.episodes import EpisodeStore
from sensei.data.label_store import LabelStore
from sensei.envs.pool import EnvPool
from sensei.presets import USES_REWARD, RunConfig
from sensei.run import checkpoint
from sensei.run.loop import Job, Learner, Loop
from sensei.run.stage_record import generation_of, stage_key
from sensei.run.workspace import Workspace
from sensei.types import EnvSpec, ObsSpec


def exploration_setup(config: RunConfig, spec: EnvSpec, method: str) -> Setup:
    """What ``method`` trains. Every reward of the environment gets a head, so that a task can later
    be solved from imagination alone."""
    # What is computed from replayed observations has to be predicted where there are none.
    own = ("semantic",) if method in USES_REWARD else ("rnd",) if method == "rnd" else ()
    return Setup(
        env=spec,
        config=config.agent,
        channels=method_channels(method, config.agent),
        gate=method_gate(method, config.agent),
        heads=("task", *spec.rewards, *own),
        shaping=_shaping(config, method),
    )


def _shaping(config: RunConfig, method: str) -> tuple[str, ...]:
    """The heads whose gradient shapes the representation while ``method`` explores."""
    if method == "dreamer":
        return ("task",)
    return ("semantic",) if method in USES_REWARD and config.agent.semantic_scale else ()


def task_setup(config: RunConfig, spec: EnvSpec, name: str) -> Setup:
    """What solving a task trains: its reward is the only channel. The world model goes on as it
    began, so R_ψ still shapes it where it did."""
    own = ("semantic",) if config.uses_reward else ()
    entropy = config.agent.entropy if config.solve.entropy is None else config.solve.entropy
    return Setup(
        env=spec,
        config=dataclasses.replace(config.agent, entropy=entropy),
        channels=(task(name=name, potential=config.solve.potential),),
        heads=("task", *spec.rewards, *own),
        shaping=tuple(dict.fromkeys((name, *_shaping(config, config.explore.method)))),
    )


def fresh_state(setup: Setup, seed: int) -> TrainState:
    """A new agent, ready to train."""

    @eqx.filter_jit
    def make() -> TrainState:
        # rbg numbers are several times cheaper than threefry's on a CPU, and as reproducible.
        k_agent, k_train = jax.random.split(jax.random.key(seed, impl="rbg"))
        return make_state(setup, make_agent(setup, key=k_agent), key=k_train)

    return make()


def explored_world_model(
    config: RunConfig, spec: EnvSpec, workspace: Workspace, key: str
) -> WorldModel:
    """The world model that the explore stage ``key`` left."""
    return _explored_part(config, spec, workspace, key, "world_model")


def explored_actor(config: RunConfig, spec: EnvSpec, workspace: Workspace, key: str) -> Actor:
    """The policy that the explore stage ``key`` left."""
    return _explored_part(config, spec, workspace, key, "actor")


def _explored_part(
    config: RunConfig, spec: EnvSpec, workspace: Workspace, key: str, part: str
) -> Any:
    setup = exploration_setup(config, spec, config.explore.method)
    # Shapes are enough to read a checkpoint, and cost no compilation.
    like = getattr(eqx.filter_eval_shape(lambda: fresh_state(setup, 0)).agent, part)
    path = workspace.folder(key) / "checkpoint.safetensors"
    return checkpoint.load_part(path, like, f"['state'].agent.{part}")


def blank_reward_model(config: RunConfig, obs: ObsSpec) -> RewardModel:
    """An R_ψ of the configured shape, before training."""
    distill = config.distill
    key = jax.random.key(config.seed, impl="rbg")
    return RewardModel(obs, members=distill.members, damping=distill.damping, key=key)


def load_reward_model(
    config: RunConfig, spec: EnvSpec, workspace: Workspace, key: str
) -> RewardModel:
    """The R_ψ that the distill stage ``key`` left."""
    path = workspace.folder(key) / "reward.safetensors"
    return checkpoint.load(path, blank_reward_model(config, spec.obs))[0]


def explored_reward_model(
    config: RunConfig, spec: EnvSpec, workspace: Workspace, key: str
) -> RewardModel | None:
    """The R_ψ that the explore stage ``key`` ended with; None where its method has none."""
    if not config.uses_reward:
        return None
    learned = stage_key("distill", generation_of(key))
    return load_reward_model(
        config, spec, workspace, key if config.explore.online_every else learned
    )


def stage_seed(config: RunConfig, key: str) -> int:
    """A stage's seed: each stage and generation meets other episodes, every method the same."""
    digest = hashlib.sha256(f"{config.seed}/{key}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def job(config: RunConfig, workspace: Workspace, **fields) -> Job:
    """A loop's job in the running stage's own folder."""
    return Job(
        key=workspace.key,
        folder=workspace.here,
        generation=workspace.generation,
        seed=stage_seed(config, workspace.key),
        strip=config.annotator.strip,
        **fields,
    )


def stage_input(workspace: Workspace, kind: str) -> str:
    """The key of the running stage's input of one kind, or "" when it has none."""
    found = [key for key in workspace.inputs if key.split("/")[0].split("-")[0] == kind]
    return found[-1] if found else ""


def earlier_episodes(
    config: RunConfig, workspace: Workspace, last: str
) -> tuple[EpisodeStore, ...]:
    """The episodes of the explore stage ``last`` ("" for none) and of every one before it, and the
    collected ones where exploration keeps them."""
    generations = generation_of(last) if last else 0
    keys = ["collect"] if config.explore.keep_collected else []
    keys += [stage_key("explore", n) for n in range(1, generations + 1)]
    folders = [workspace.folder(key) / "episodes" for key in keys]
    return tuple(EpisodeStore.open(folder, read_only=True) for folder in folders)


def play(
    todo: Job,
    workspace: Workspace,
    pool: EnvPool,
    learner: Learner | None = None,
    labels: LabelStore | None = None,
) -> dict[str, Any]:
    """Run the loop in the running stage and return its counts."""
    if workspace.fresh and labels is not None:
        labels.truncate_frames(workspace.key, 0)
    if workspace.fresh and not workspace.inputs:  # the first stage that meets the environment
        for line in pool.found:
            workspace.say(f"{workspace.key}: {line}")
    loop = Loop(todo, pool, workspace.metrics, learner, labels)
    loop.run()
    loop.store.close()
    return loop.summary()
