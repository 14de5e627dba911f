"""Environments written in JAX: many copies step as one compiled program on the device.

A ``Game`` is an environment as pure functions of one copy, a ``Program`` those functions compiled,
a ``Batch`` the copies themselves. ``JaxEnv`` is one copy as a gymnasium environment; a shard of the
pool asks it for a batch instead of stepping copies in turn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int32, PyTree, UInt8, UInt32

State = Any
"""A game's own pytree of arrays."""


@dataclasses.dataclass(frozen=True)
class Game:
    """One environment as pure functions; none of them knows of batches or of time limits."""

    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Discrete | gymnasium.spaces.Box
    reset: Callable[[jax.Array], tuple[State, jax.Array]]
    """A key to the first state and observation."""
    step: Callable[[jax.Array, State, jax.Array], tuple[State, jax.Array, jax.Array, jax.Array]]
    """Key, state and action to state, observation, reward and whether the episode is over."""
    max_episode_steps: int
    """The time limit, which truncates."""
    events: tuple[str, ...] = ()
    count: Callable[[State, State], jax.Array] | None = None
    """States before and after a step to (E,) counts of ``events``."""
    score: Callable[[State], jax.Array] | None = None
    """How interesting a state is."""
    label: Callable[[State], jax.Array] | None = None
    """The picture for an annotator, (height, width, 3) uint8; without, the observation."""
    text: Callable[[State], str] | None = None
    """What an annotator may read, from a state on the host; not compiled."""


class Moment(NamedTuple):
    """What the last step led to, or the reset; in a batch with the copies on the first axis."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    events: Any
    score: Any


class Carry(NamedTuple):
    """Everything that a copy is."""

    state: State
    key: UInt32[jax.Array, "*n 2"]
    """Of the episode: what a step draws depends on the seed and the step's number alone."""
    steps: Int32[jax.Array, "*n"]
    moment: Moment


class Program:
    """A game's functions, compiled once for all its batches."""

    def __init__(self, game: Game) -> None:
        """Prepare; each function is compiled when it is first called."""
        self.game = game
        self._dtypes = _step_dtypes(game)
        self.begin = jax.jit(self._begin)
        self.advance = jax.jit(jax.vmap(self._advance))
        self.spread = jax.jit(_spread, static_argnums=1)
        self.place = jax.jit(_place)
        self.label = jax.jit(lambda carry, i: self._label(_pick(carry.state, i)))
        self.pick = jax.jit(lambda carry, i: _pick(carry.state, i))

    def _begin(self, seed: Int32[jax.Array, ""]) -> Carry:
        k_reset, k_steps = jax.random.split(jax.random.PRNGKey(seed))
        state, observation = self.game.reset(k_reset)
        state = self._typed(state)
        none = jnp.zeros(len(self.game.events), jnp.int32)
        no = jnp.array(False)
        moment = Moment(observation, jnp.float32(0.0), no, no, none, self._score(state))
        return Carry(state, k_steps, jnp.int32(0), moment)

    def _advance(self, carry: Carry, action: jax.Array, active: Bool[jax.Array, ""]) -> Carry:
        """Step one copy, or leave it as it is where not ``active``."""
        game, key = self.game, jax.random.fold_in(carry.key, carry.steps)
        state, observation, reward, over = game.step(key, carry.state, action)
        state, steps = self._typed(state), carry.steps + 1
        over = jnp.reshape(over, ()).astype(bool)
        cut = ~over & (steps >= game.max_episode_steps)
        events = carry.moment.events
        if game.count is not None:
            events = game.count(carry.state, state).astype(jnp.int32)
        reward = jnp.reshape(reward, ()).astype(jnp.float32)
        moment = Moment(observation, reward, over, cut, events, self._score(state))
        new = Carry(state, carry.key, steps, moment)
        return jax.tree.map(lambda after, before: jnp.where(active, after, before), new, carry)

    def _score(self, state: State) -> Float32[jax.Array, ""]:
        if self.game.score is None:
            return jnp.float32(jnp.nan)
        return jnp.reshape(self.game.score(state), ()).astype(jnp.float32)

    def _label(self, state: State) -> UInt8[jax.Array, "height width 3"]:
        assert self.game.label is not None
        return self.game.label(state)

    def _typed(self, state: State) -> State:
        return jax.tree.map(lambda x, dtype: jnp.asarray(x, dtype), state, self._dtypes)


class Batch:
    """N copies of a game. Reset each before the first step."""

    def __init__(self, program: Program, count: int) -> None:
        """Hold ``count`` copies, still without a state."""
        self.program, self.count = program, count
        self._carry: Carry | None = None

    def reset(self, index: int, seed: int) -> None:
        """Start an episode of one copy; the same seed gives the same episode."""
        one = self.program.begin(np.int32(seed & 0x7FFF_FFFF))
        if self._carry is None:
            # The other copies are placeholders until their own reset.
            self._carry = self.program.spread(one, self.count)
        self._carry = self.program.place(self._carry, np.int32(index), one)

    def step(self, actions: np.ndarray, active: Bool[np.ndarray, " n"]) -> None:
        """Advance the ``active`` copies by their actions (N, ...); does not wait for the device."""
        assert self._carry is not None
        actions = actions.astype(action_dtype(self.program.game))
        self._carry = self.program.advance(self._carry, actions, active)

    def moment(self) -> Moment:
        """Wait for the device and return the last moment of every copy."""
        assert self._carry is not None
        return jax.device_get(self._carry.moment)

    def label(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """Draw one copy's picture for an annotator."""
        return np.asarray(self.program.label(self._carry, np.int32(index)))

    def text(self, index: int) -> str:
        """Say what an annotator may read of one copy; empty where the game has no text."""
        if self.program.game.text is None:
            return ""
        return self.program.game.text(jax.device_get(self.program.pick(self._carry, index)))


class JaxEnv(gymnasium.Env[np.ndarray, Any]):
    """One copy of a game for whoever wants a gymnasium environment."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, game: Game) -> None:
        """Show the extras that the game has: a contract's extras are found by name."""
        self.game = game
        self._program = Program(game)
        self._batch = Batch(self._program, 1)
        self.observation_space = game.observation_space
        self.action_space = game.action_space
        if game.score is not None:
            self.oracle_score = lambda: float(self._batch.moment().score[0])
        if game.label is not None:
            self.render_label = lambda: self._batch.label(0)
            self.render_mode = "rgb_array"

    def make_batch(self, count: int) -> Batch:
        """Return ``count`` copies that step together."""
        return Batch(self._program, count)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same seed gives the same episode."""
        super().reset(seed=seed, options=options)
        self._batch.reset(0, int(self.np_random.integers(2**31)) if seed is None else seed)
        moment = self._batch.moment()
        return moment.observation[0], self._info(moment)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act."""
        self._batch.step(np.asarray(action)[None], np.ones(1, np.bool_))
        m = self._batch.moment()
        ends = bool(m.terminated[0]), bool(m.truncated[0])
        return m.observation[0], float(m.reward[0]), *ends, self._info(m)

    def render(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> UInt8[np.ndarray, "height width 3"] | None:
        """Return the annotator's picture for a person, or None where the game draws none."""
        return None if self.game.label is None else self._batch.label(0)

    def _info(self, moment: Moment) -> dict[str, Any]:
        counts = (int(count) for count in moment.events[0])
        info: dict[str, Any] = {"events": dict(zip(self.game.events, counts, strict=True))}
        return info | ({"text": self._batch.text(0)} if self.game.text else {})


def action_dtype(game: Game) -> np.dtype[Any]:
    """Return the type of actions on the device; gymnasium's choices are of 64 bits."""
    whole = isinstance(game.action_space, gymnasium.spaces.Discrete)
    return np.dtype(np.int32 if whole else np.float32)


def _pick(batched: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda x: x[index], batched)


def _spread(one: Carry, count: int) -> Carry:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), one)


def _place(carry: Carry, index: jax.Array, one: Carry) -> Carry:
    return jax.tree.map(lambda many, x: many.at[index].set(x), carry, one)


def _step_dtypes(game: Game) -> PyTree:
    """Return the type of each array of a state that holds both a reset's and a step's values.

    Resets often give Python numbers where steps give arrays, and every change of type would be
    another compilation.
    """
    key = jax.eval_shape(jax.random.PRNGKey, 0)
    action = jax.ShapeDtypeStruct(game.action_space.shape or (), action_dtype(game))
    first, _ = jax.eval_shape(game.reset, key)
    then, *_ = jax.eval_shape(game.step, key, first, action)
    return jax.tree.map(lambda a, b: jnp.promote_types(a.dtype, b.dtype), first, then)
