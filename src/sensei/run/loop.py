"""The one loop: environments, replay and learner. Collect, explore, solve and evaluate differ by
arguments.

A killed loop continues as if it had not been killed: a checkpoint holds parameters, optimiser,
every random state, counters and the replay's cursor, and the unfinished episodes are re-enacted
from their seeds and stored actions.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sensei.core.agent import Setup, TrainState, start_acting
from sensei.core.reward_model import RewardModel, judge_with
from sensei.data.episodes import EpisodeStore
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame
from sensei.data.replay import Replay
from sensei.envs.contract import row_fields
from sensei.envs.pool import EnvPool
from sensei.run import relabel, saving
from sensei.run.compilation import fast_train_step
from sensei.run.interrupts import Interrupts
from sensei.run.metrics import Metrics
from sensei.run.policies import AgentPolicy, Interludes, RandomPolicy, Rows
from sensei.run.progress import Progress
from sensei.run.relabel import Relabel
from sensei.run.strips import Strips
from sensei.run.tally import Tally, task_reward
from sensei.types import SenseiError, Stopped

LOG_ROUNDS = 128
"""Rounds of all environments between two records; what is fetched from the device waits for it."""
OFFLINE_UPDATES = 512
"""Updates between two records, and two checkpoints, while no environment runs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What one use of the loop does."""

    key: str
    """Stage key: names the metrics and the label frames."""
    folder: Path
    """Where checkpoint and episodes go."""
    env_steps: int
    """Environment steps over all environments; a reset is not a step."""
    train_ratio: float = 0.0
    """Replayed steps per environment step."""
    prefill: int = 0
    """Steps by random actions before the first update."""
    rise_share: float = 0.0
    """Share of a batch's windows that go through a rise of R_ψ."""
    own_weight: float = 1.0
    """How often one of the loop's own windows is replayed for each of the sources'."""
    offline_updates: int = 0
    """Updates before the first step."""
    save_every: int = 5_000
    replay_gb: float = 4.0
    label_frames: int = 0
    """Label frames wanted from the whole stage."""
    strip: int = 0
    """Steps between the two moments that a label frame shows; 0: it shows one."""
    action_repeat: float = 1.0
    """Mean steps that a random action is held."""
    epsilon: float = 0.0
    """Chance, each time the agent chooses, that a random action is held instead."""
    epsilon_repeat: float = 1.0
    """Mean steps for which it is."""
    episodes_each: int = 0
    """Stop when every environment has finished this many episodes; 0: do not stop for that."""
    greedy: bool = False
    task: str = "task"
    """Reward that the episodes' returns add up."""
    generation: int = 1
    seed: int = 0

    def part(self, name: str) -> Job:
        """The same job as one of several of its stage, with a folder and metrics of its own."""
        return dataclasses.replace(self, key=f"{self.key}/{name}", folder=self.folder / name)


@dataclasses.dataclass
class Learner:
    """What is trained, and on what besides the loop's own episodes."""

    setup: Setup
    state: TrainState
    reward_model: RewardModel | None = None
    sources: tuple[EpisodeStore, ...] = ()
    """Earlier stages' episodes, sampled along with the loop's own."""
    relabel: Relabel | None = None
    """What replaces ``reward_model`` by a better one now and then."""


class Loop:
    """One run of a ``Job``; without a ``Learner`` actions are random and nothing is trained."""

    def __init__(
        self,
        job: Job,
        pool: EnvPool,
        metrics: Metrics,
        learner: Learner | None = None,
        labels: LabelStore | None = None,
    ) -> None:
        self.job, self.pool, self.metrics = job, pool, metrics
        self.learner, self.labels = learner, labels
        self.rng = np.random.default_rng([job.seed, 1])
        self.random = RandomPolicy(pool.spec.action, pool.num_envs, job.action_repeat, self.rng)
        self.interludes = Interludes(self.random, job.epsilon, job.epsilon_repeat)
        self.agent = self._agent_policy()
        self.tally = Tally(pool.spec.events, pool.num_envs)
        self.finished = np.zeros(pool.num_envs, np.int64)
        self.frames: list[Frame] = []
        self.strips = Strips(job.strip)
        self.env_steps = self.updates = self.saved_at = self.logged_at = 0
        self.credit = 0.0
        self.rows = _no_rows(pool)
        self.store = self._open_store()
        saving.resume(self)
        sources = learner.sources if learner else ()
        self.replay = Replay([*sources, self.store], job.rise_share, job.own_weight)

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.job.folder / "checkpoint.safetensors"

    def run(self, interrupts: Interrupts | None = None) -> None:
        """Work until the job is done. A request to stop saves and raises ``Stopped``."""
        with interrupts or Interrupts() as asked:
            self._judge_replay()
            self._train_offline(asked)
            relabel.go_on(self)
            self._play(asked)
        self._log()
        self.save()

    def summary(self) -> dict[str, Any]:
        """What was done, JSON-able."""
        return {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "episodes": self.tally.episodes,
            "events": dict(zip(self.tally.names, self.tally.events.tolist(), strict=True)),
            "restarts": self.pool.restarts,
        }

    def _done(self) -> bool:
        if self.job.episodes_each and (self.finished >= self.job.episodes_each).all():
            return True
        return self.env_steps >= self.job.env_steps

    def _round(self) -> None:
        """One step of every environment, and the updates that are due meanwhile."""
        with self.tally.timed("act"):
            actions = self._actions()
        self.pool.step_async(actions, self._wanted_labels())
        self._train()
        with self.tally.timed("environments"):
            rows, views = self.pool.step_wait()
        self.rows = rows
        self.take(rows, views)
        steps = int((~rows["is_first"]).sum())
        self.env_steps += steps
        if self.learner and self.env_steps > self.job.prefill:
            self.credit += steps * self.job.train_ratio / self._replayed()
        if self.store.steps % LOG_ROUNDS == 0:
            self._log()

    def _actions(self) -> np.ndarray:
        if not self.store.steps:
            return self.random.held  # the first call resets and ignores them
        if self.agent is None or self.env_steps < self.job.prefill:
            return self.random(self.rows)
        return self.interludes(self.rows, self.agent(self.rows))

    def _wanted_labels(self) -> np.ndarray | None:
        if not self.job.label_frames or self.labels is None:
            return None
        share = self.job.label_frames / max(self.job.env_steps, 1)
        return self.strips.wanted(self.rng.random(self.pool.num_envs) < self.strips.chance(share))

    def take(self, rows: Rows, views: list) -> None:
        """Store and count one round of rows."""
        self.store.append(rows)
        self.tally.rows(rows, task_reward(rows, self.pool.spec, self.job.task))
        self.finished += rows["is_last"]
        self.frames += self.strips.frames(rows, views, self._frame)

    def _frame(self, env: int, text: str, picture: bytes) -> Frame:
        rows = self.rows
        score = float(rows["score"][env])
        return Frame(
            stage=self.job.key,
            generation=self.job.generation,
            env=env,
            episode=int(self.pool.episode_index[env]),
            step=self.store.steps - 1,
            picture=picture,
            obs=encode_png(rows["image"][env]) if "image" in rows else None,
            vector=tuple(float(x) for x in rows["vector"][env]) if "vector" in rows else (),
            text=text,
            score=None if np.isnan(score) else score,
        )

    def _replayed(self) -> int:
        assert self.learner is not None
        config = self.learner.setup.config
        return config.batch * config.length

    def _train(self) -> None:
        """Dispatch the updates that are due; the device works while the environments do."""
        while self.learner and self.credit >= 1.0 and self._enough():
            self.credit -= 1.0
            self._update()

    def _enough(self) -> bool:
        assert self.learner is not None
        config = self.learner.setup.config
        return bool(self.replay.windows(config.length).any())

    def _update(self) -> None:
        learner = self.learner
        assert learner is not None and self.agent is not None
        config = learner.setup.config
        with self.tally.timed("replay"):
            self._find_rises()
            batch: Any = self.replay.sample(self.rng, config.batch, config.length)
        with self.tally.timed("update"):
            fixed = (learner.setup, learner.reward_model, batch)
            # Waiting for the last update here keeps at most one in flight.
            jax.block_until_ready(learner.state.key)
            learner.state, metrics = fast_train_step()(fixed, learner.state)
        self.agent.agent = learner.state.agent
        self.tally.device.append(metrics)
        self.updates += 1

    def _find_rises(self) -> None:
        model = self.learner and self.learner.reward_model
        if model is not None and self.replay.rise_share:
            self.replay.look(judge_with(model))

    def _judge_replay(self) -> None:
        """Find the rises in all that is there already: half a minute for 300,000 rows."""
        if self.replay.rise_share:
            rows = self.replay.rows
            with Progress(self.job.key, rows, "rows judged") as progress:
                progress.update(0)
                self._find_rises()
                progress.update(rows)

    def _train_offline(self, asked: Interrupts) -> None:
        if not self.learner or self.updates >= self.job.offline_updates:
            return
        if not self._enough():
            raise SenseiError(
                f"{self.job.key}: no earlier episodes to make {self.job.offline_updates} "
                "updates from: set offline_updates to 0, or keep the replay and explore longer"
            )
        with Progress(self.job.key, self.job.offline_updates, "updates") as progress:
            while self.updates < self.job.offline_updates:
                self._update()
                progress.update(self.updates)
                if self.updates % OFFLINE_UPDATES == 0:
                    self._log()
                    self.save()
                if asked.requested:
                    self._stop()

    def _play(self, asked: Interrupts) -> None:
        """Step the environments until the job is done, and learn meanwhile."""
        with Progress(self.job.key, max(self.job.env_steps, 1)) as progress:
            while not self._done():
                self._round()
                relabel.turn(self)
                progress.update(self.env_steps, **self._shown())
                if self.env_steps - self.saved_at >= self.job.save_every:
                    self.save()
                if asked.requested:
                    self._stop()

    def _shown(self) -> dict[str, Any]:
        return {"updates": self.updates, "episodes": self.tally.episodes}

    def _log(self) -> None:
        if self.env_steps == self.logged_at and not self.tally.device:
            return
        record = self.tally.record(self.env_steps - self.logged_at)
        self.metrics.write(self.job.key, self.env_steps, self.updates, record)
        self.logged_at = self.env_steps

    def _stop(self) -> None:
        self.save()
        raise Stopped(f"{self.job.key} stopped and saved at {self.env_steps} environment steps")

    def save(self) -> None:
        """Write everything that a killed run needs to go on."""
        saving.save(self)
        self.saved_at = self.env_steps

    def _open_store(self) -> EpisodeStore:
        folder = self.job.folder / "episodes"
        if (folder / "index.json").exists():
            return EpisodeStore.open(folder, max_gb=self.job.replay_gb)
        fields = row_fields(self.pool.spec)
        return EpisodeStore(folder, fields, self.pool.num_envs, self.job.replay_gb)

    def _agent_policy(self) -> AgentPolicy | None:
        if self.learner is None:
            return None
        agent = self.learner.state.agent
        key = jax.random.key(self.job.seed + 1, impl="rbg")
        return AgentPolicy(agent, start_acting(agent, self.pool.num_envs, key=key), self.job.greedy)


def _no_rows(pool: EnvPool) -> Rows:
    fields = row_fields(pool.spec)
    return {
        name: np.zeros((pool.num_envs, *shape), dtype) for name, (shape, dtype) in fields.items()
    }
