"""A tiny environment in JAX with gymnax's interface, to try what serves such environments."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sensei.envs.gymnax import from_gymnax
from sensei.envs.jaxenvs import JaxEnv

SIZE = 4
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


class Params(eqx.Module):
    """What gymnax calls the parameters of an environment."""

    max_steps_in_episode: int = 12


class GoalState(NamedTuple):
    """Where the player and the goal are, and the number of steps."""

    at: Int[Array, 2]
    goal: Int[Array, 2]
    time: Any


class Choices(NamedTuple):
    """An action space."""

    n: int


class ReachGoal:
    """Walk north, east, south or west over 4 × 4 cells onto a goal: +1 and the end.

    The picture (16, 16, 3), from 0 to 1, has the player in red and the goal in green. Reaching the
    goal at the last step of the time limit is an end, not a cut. A slip, one move in eight, stays.
    """

    default_params = Params()

    def action_space(self, params: Params) -> Choices:
        """Four moves."""
        return Choices(len(_MOVES))

    def reset_env(self, key: Array, params: Params) -> tuple[Array, GoalState]:
        """Draw both places, never the same."""
        cells = jax.random.permutation(key, SIZE * SIZE)[:2]
        places = jnp.stack([cells // SIZE, cells % SIZE], -1)
        # A Python number, as resets of published environments have them.
        state = GoalState(places[0], places[1], 0)
        return self.picture(state), state

    def step_env(
        self, key: Array, state: GoalState, action: Int[Array, ""], params: Params
    ) -> tuple[Array, GoalState, Float[Array, ""], Bool[Array, ""], dict[str, Any]]:
        """Move, if inside and without a slip."""
        slips = jax.random.uniform(key) < 1 / 8
        moved = jnp.clip(state.at + jnp.array(_MOVES)[action], 0, SIZE - 1)
        state = GoalState(jnp.where(slips, state.at, moved), state.goal, state.time + 1)
        done = reached(state)
        cut = state.time >= params.max_steps_in_episode
        return self.picture(state), state, done.astype(float), done | cut, {}

    def reset(self, key: Array, params: Params) -> tuple[Array, GoalState]:
        """Reset."""
        return self.reset_env(key, params)

    def step(self, key: Array, state: GoalState, action: Any, params: Params) -> Any:
        """Step and reset by itself at an end, as gymnax does: the last picture is lost."""
        _, state, reward, done, info = self.step_env(key, state, action, params)
        fresh = self.reset_env(key, params)[1]
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, state)
        return self.picture(state), state, reward, done, info

    def picture(self, state: GoalState) -> Float[Array, "16 16 3"]:
        """Draw the cells, four pixels each."""
        cells = jnp.zeros((SIZE, SIZE, 3))
        cells = cells.at[tuple(state.goal)].set(jnp.array([0.0, 1.0, 0.0]))
        cells = cells.at[tuple(state.at)].set(jnp.array([1.0, 0.0, 0.0]))
        return cells.repeat(4, 0).repeat(4, 1)


def reached(state: GoalState) -> Bool[Array, ""]:
    """Say whether the player stands on the goal."""
    return (state.at == state.goal).all()


def reach_goal(max_episode_steps: int | None = None, image_size: int = 16) -> JaxEnv:
    """Make it with every extra: the score is minus the distance to the goal."""
    return from_gymnax(
        ReachGoal(),
        max_episode_steps=max_episode_steps,
        image_size=image_size,
        events=("moved", "success"),
        count=lambda before, after: jnp.stack([(before.at != after.at).any(), reached(after)]),
        score=lambda state: -jnp.abs(state.at - state.goal).sum(),
        label=lambda state: jnp.uint8(255.0 * ReachGoal().picture(state)).repeat(2, 0).repeat(2, 1),
        text=lambda state: f"Row {state.at[0]}, column {state.at[1]}",
    )
