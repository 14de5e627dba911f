# pyright: reportMissingImports=false
# The extra is not installed where types are checked: it brings PyTorch.
"""PPO on one task, from scratch: what a common model-free method needs for it, to compare with.

The algorithm is that of Stable-Baselines3 (extra ``ppo``); environments, events, metrics,
checkpoints and evaluation are those of every other method. A checkpoint is written between two
updates; a run that continues from one begins new episodes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from sensei.envs.canonical import CanonicalEnv
from sensei.presets import RunConfig
from sensei.run import checkpoint
from sensei.run.interrupts import Interrupts
from sensei.run.progress import Progress
from sensei.run.tally import Tally
from sensei.run.video import write_video
from sensei.run.workspace import Workspace
from sensei.stages.setups import stage_input, stage_seed
from sensei.stages.solve import check_tasks
from sensei.types import Stopped, UsageError

LOG_STEPS = 1_000
"""Environment steps between two records, at least."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam remembers of a parameter."""


class Features(BaseFeaturesExtractor):
    """Convolutions that halve the image down to 4 pixels, and the vector (symlog) beside them.

    The library's own need 36 pixels.
    """

    def __init__(self, observation_space: Any, width: int = 256) -> None:
        """Make the layers for a ``spaces.Dict`` of images (c, h, w) and vectors (v,)."""
        super().__init__(observation_space, width)
        shapes: dict[str, Any] = {k: space.shape for k, space in observation_space.spaces.items()}
        layers, size = list[nn.Module](), shapes.get("vector", (0,))[0]
        if "image" in shapes:
            channels, side, _ = shapes["image"]
            while side > 4:
                layers += [nn.Conv2d(channels, 64, 4, stride=2, padding=1), nn.ReLU()]
                channels, side = 64, side // 2
            size += channels * side**2
        self.image = nn.Sequential(*layers, nn.Flatten())
        self.mix = nn.Sequential(nn.Linear(size, width), nn.ReLU())

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return features (n, width)."""
        parts = [self.image(observations["image"])] if "image" in observations else []
        if "vector" in observations:
            x = observations["vector"]
            parts.append(torch.sign(x) * torch.log1p(torch.abs(x)))
        return self.mix(torch.cat(parts, dim=1))


def solve(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Train on the task, or go on with it; return the counts."""
    if not config.solve.env_steps or config.solve.offline_updates:
        raise UsageError(
            f"solve.env_steps is {config.solve.env_steps} and solve.offline_updates "
            f"{config.solve.offline_updates}: PPO learns from steps alone, give steps and 0 updates"
        )
    envs = _environments(config, stage_seed(config, workspace.key))
    check_tasks(config, envs[0].spec_of_rows)
    model = _model(config, DummyVecEnv([lambda env=env: env for env in envs]))
    with (
        Interrupts() as asked,
        Progress(workspace.key, config.solve.env_steps) as progress,
    ):
        keeper = Keeper(config, workspace, envs, asked, progress)
        keeper.resume(model)
        left = config.solve.env_steps - model.num_timesteps
        if left > 0:
            model.learn(left, keeper, reset_num_timesteps=False)
        keeper.log()
        keeper.save()
    model.get_env().close()  # type: ignore[union-attr]
    return keeper.summary()


def evaluate(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Play the episodes that every other method is evaluated on; return scores by way of acting."""
    solved = workspace.folder(stage_input(workspace, "solve")) / "checkpoint.safetensors"
    return {
        way: _play(config, workspace.here / way, solved, way == "mode")
        for way in ("sampled", "mode")
    }


class Keeper(BaseCallback):
    """Counts, logs, saves and stops, as the loop does for the other methods."""

    def __init__(
        self,
        config: RunConfig,
        workspace: Workspace,
        envs: list[CanonicalEnv],
        asked: Interrupts,
        progress: Progress,
    ) -> None:
        super().__init__()
        self.config, self.workspace, self.envs = config, workspace, envs
        self.asked, self.progress = asked, progress
        self.tally = Tally(envs[0].spec_of_rows.events, len(envs))
        self.logged_at = self.saved_at = 0
        self.path = workspace.here / "checkpoint.safetensors"

    def resume(self, model: PPO) -> None:
        """Bring a model just made to the last checkpoint, if there is one."""
        self.model = model
        if not checkpoint.exists(self.path):
            self.workspace.metrics.truncate_after(self.workspace.key, -1)
            return
        tree, meta = checkpoint.load(self.path, _tree(model))
        _restore(model, tree)
        model.num_timesteps, model._n_updates = meta["env_steps"], meta["updates"]
        model.set_random_seed(stage_seed(self.config, self.workspace.key) + meta["env_steps"])
        self.logged_at = self.saved_at = meta["env_steps"]
        self.tally.restore(meta["tally"])
        self.tally.running_return[:], self.tally.running_length[:] = 0.0, 0
        for env, episode in zip(self.envs, meta["episodes"], strict=True):
            env.episode = episode
        self.workspace.metrics.truncate_after(self.workspace.key, meta["env_steps"])

    def save(self) -> None:
        """Write the networks, the optimiser and the counters."""
        self.saved_at = self.model.num_timesteps
        meta = {
            "env_steps": self.model.num_timesteps,
            "updates": self.model._n_updates,  # type: ignore[attr-defined]
            "episodes": [env.episode for env in self.envs],
            "tally": self.tally.state(),
        }
        checkpoint.save(self.path, _tree(self.model), meta)

    def log(self) -> None:
        """Write a record of what happened since the last one."""
        steps = self.model.num_timesteps
        if steps == self.logged_at:
            return
        losses = self.model.logger.name_to_value
        names = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl")
        shown = {f"loss/{name}": float(losses[f"train/{name}"]) for name in names}
        shown = shown if "train/value_loss" in losses else {}
        record = self.tally.record(steps - self.logged_at) | shown
        updates = self.model._n_updates  # type: ignore[attr-defined]
        self.workspace.metrics.write(self.workspace.key, steps, updates, record)
        self.logged_at = steps

    def summary(self) -> dict[str, Any]:
        """Return what was done, JSON-able."""
        return {
            "env_steps": self.model.num_timesteps,
            "updates": self.model._n_updates,  # type: ignore[attr-defined]
            "episodes": self.tally.episodes,
            "events": dict(zip(self.tally.names, self.tally.events.tolist(), strict=True)),
            "restarts": 0,
        }

    def _on_rollout_start(self) -> None:
        """Between two updates: the only place where everything is whole."""
        steps = self.model.num_timesteps
        if steps - self.logged_at >= LOG_STEPS:
            self.log()
        if self.asked.requested or steps - self.saved_at >= self.config.solve.save_every:
            self.log()
            self.save()
        if self.asked.requested:
            raise Stopped(f"{self.workspace.key} stopped and saved at {steps} environment steps")

    def _on_step(self) -> bool:
        rows = [info["row"] for info in self.locals["infos"]]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        self.tally.rows(stacked, np.asarray(self.locals["rewards"], np.float64))
        over = stacked["is_last"]  # the row of the reset that followed is not among them
        self.tally.running_return[over], self.tally.running_length[over] = 0.0, 0
        self.progress.update(self.num_timesteps, episodes=self.tally.episodes)
        return self.num_timesteps < self.config.solve.env_steps


def _environments(config: RunConfig, seed: int) -> list[CanonicalEnv]:
    task = config.solve.task
    return [CanonicalEnv(config.env, seed, i, task) for i in range(config.env.num_envs)]


def _model(config: RunConfig, envs: DummyVecEnv) -> PPO:
    ppo = config.ppo
    model = PPO(
        "MultiInputPolicy",
        envs,
        learning_rate=ppo.learning_rate,
        n_steps=ppo.rollout,
        batch_size=ppo.batch,
        n_epochs=ppo.epochs,
        gamma=ppo.discount,
        gae_lambda=ppo.trace,
        clip_range=ppo.clip,
        ent_coef=ppo.entropy,
        policy_kwargs={"features_extractor_class": Features},
        seed=config.seed,
    )
    model.set_logger(configure(None, []))
    return model


def _tree(model: Any) -> dict[str, Any]:
    """The networks' and the optimiser's numbers; those that Adam does not have yet are 0."""
    optimiser = model.policy.optimizer
    had = optimiser.state_dict()["state"]
    moments = {}
    for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
        like = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS[1:], torch.zeros_like(parameter))}
        moments[str(i)] = {name: _array(had.get(i, like)[name]) for name in MOMENTS}
    policy = {name: _array(value) for name, value in model.policy.state_dict().items()}
    return {"policy": policy, "moments": moments}


def _restore(model: PPO, tree: dict[str, Any]) -> None:
    _restore_policy(model, tree["policy"])
    optimiser = model.policy.optimizer
    state = {
        int(i): {name: torch.from_numpy(value) for name, value in moments.items()}
        for i, moments in tree["moments"].items()
    }
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _restore_policy(model: PPO, policy: dict[str, np.ndarray]) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in policy.items()}
    model.policy.load_state_dict(tensors)


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()


def _play(config: RunConfig, folder: Path, solved: Path, greedy: bool) -> dict[str, Any]:
    envs = _environments(config, stage_seed(config, f"evaluate/{greedy}"))
    model = _model(config, DummyVecEnv([lambda env=env: env for env in envs]))
    _restore_policy(model, checkpoint.load_part(solved, _tree(model)["policy"], "['policy']"))
    each = -(-config.evaluate.episodes // len(envs))
    turns = [env for env in envs for _ in range(each)][: config.evaluate.episodes]
    returns, lengths, happened = [], [], []
    for i, env in enumerate(turns):
        rewards, events, images = _episode(model, env, greedy)
        returns.append(float(np.sum(rewards)))
        lengths.append(len(rewards))
        happened.append((np.array(events) > 0).any(0))
        if i < config.evaluate.videos and images:
            write_video(folder / f"episode-{i}.mp4", np.stack(images))
    names = envs[0].spec_of_rows.events
    model.get_env().close()  # type: ignore[union-attr]
    return {
        "episodes": len(returns),
        "returns": returns,
        "mean_return": float(np.mean(returns)),
        "lengths": lengths,
        "events": dict(zip(names, np.mean(happened, 0).tolist(), strict=True)),
    }


def _episode(
    model: PPO, env: CanonicalEnv, greedy: bool
) -> tuple[list[float], list[np.ndarray], list[np.ndarray]]:
    """Play one episode; return its rewards, its rows' events and its images."""
    obs, info = env.reset()
    rewards, events, images, over = [], [info["row"]["events"]], [], False
    while not over:
        images += [obs["image"]] if "image" in obs else []
        action, _ = model.predict(obs, deterministic=greedy)  # type: ignore[arg-type]
        obs, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        events.append(info["row"]["events"])
        over = terminated or truncated
    return rewards, events, images
