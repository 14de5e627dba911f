"""A trained agent to use: load it from a run, give it observations, take its actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from sensei.core.agent import act, start_acting
from sensei.envs import make_adapter
from sensei.presets import RunConfig, saved_config
from sensei.run import checkpoint
from sensei.run.stage_record import stage_key
from sensei.run.workspace import Workspace
from sensei.stages.setups import exploration_setup, fresh_state, task_setup
from sensei.types import UsageError


def load(
    run: str | Path, task: str | None = None, *, greedy: bool = False, seed: int = 0
) -> Player:
    """Load the agent of a run: the one that solved ``task``, else the one that explored.

    Args:
        run: the run's folder.
        task: a solved task, e.g. ``"task"``; None takes the explorer.
        greedy: act by the mode of the policy instead of a sample.
        seed: of the sampled actions.

    Raises:
        UsageError: the run has no such agent yet.
    """
    workspace = Workspace(run)
    config = saved_config(workspace)
    if config.explore.method == "ppo":
        raise UsageError(f"{run} was solved by PPO, whose policy is not ours to load: evaluate it")
    if task is None and config.explore.method == "random":
        raise UsageError(f"{run} explored by chance: there is no explorer, name a solved task")
    key = stage_key("solve", task=task) if task else "explore"
    if not checkpoint.exists(workspace.folder(key) / "checkpoint.safetensors"):
        raise UsageError(f"{run} has no {key} yet: sensei {key.split('/')[0]} --dir {run}")
    return Player(config, workspace.folder(key), task, greedy, seed)


class Player:
    """An agent and its memory of the running episode."""

    def __init__(
        self, config: RunConfig, folder: Path, task: str | None, greedy: bool, seed: int
    ) -> None:
        self._adapter = make_adapter(config.env, seed)
        spec = self._adapter.spec
        if task is None:
            setup = exploration_setup(config, spec, config.explore.method)
        else:
            setup = task_setup(config, spec, task)
        state = fresh_state(setup, config.seed)
        path = folder / "checkpoint.safetensors"
        self.agent = checkpoint.load_part(path, state.agent, "['state'].agent")
        self.spec, self.greedy, self._seed = spec, greedy, seed
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next observation begins an episode."""
        key = jax.random.key(self._seed, impl="rbg")
        self._carry = start_acting(self.agent, 1, key=key)
        self._previous = np.zeros((1, self.spec.action.size), np.float32)
        self._first = True

    def act(self, observation: Any) -> Any:
        """Look at one observation of the environment's own and return an action of its own."""
        seen = self._adapter.look(observation)
        rows: dict[str, Any] = {name: value[None] for name, value in seen.items()}
        rows |= {"prev_action": self._previous, "is_first": np.array([self._first])}
        self._carry, action = act(self.agent, self._carry, rows, self.greedy)
        self._previous, self._first = np.asarray(action), False
        return self._adapter.decode(self._previous[0])
