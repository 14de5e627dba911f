"""Any gymnasium action space as one float32 vector: one-hot blocks first, then [-1, 1] numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from sensei.types import ActionSpec, SenseiError


@dataclasses.dataclass
class _Plan:
    """Sizes collected while a space is walked."""

    blocks: list[int] = dataclasses.field(default_factory=list)
    numbers: int = 0
    said: list[str] = dataclasses.field(default_factory=list)
    """What was found and what becomes of it, a line a part."""


_Decode = Callable[[list[int], np.ndarray], Any]
"""(choice of every block, the continuous part) → the action of one part of the space."""


class ActionCodec:
    """Translate action vectors into the actions that an environment expects."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        """Plan the translation; raises ``SenseiError`` for a space that has none."""
        plan = _Plan()
        self._decode = _decoder(space, plan, "action")
        self.said = plan.said
        self.spec = ActionSpec(discrete=tuple(plan.blocks), continuous=plan.numbers)
        self._ends = np.cumsum(plan.blocks).tolist()

    def decode(self, vector: np.ndarray) -> Any:
        """Return the environment's action for a vector (A,); numbers are clipped to [-1, 1].

        Raises
        ------
        SenseiError
            When the vector has the wrong length or is not finite.
        """
        if vector.shape != (self.spec.size,) or not np.isfinite(vector).all():
            raise SenseiError(
                f"action has shape {vector.shape} and values {vector.ravel()[:4].tolist()}…;"
                f" give {self.spec.size} finite numbers"
            )
        sizes = self.spec.discrete
        pairs = zip(self._ends, sizes, strict=True)
        choices = [int(vector[end - size : end].argmax()) for end, size in pairs]
        rest = vector[sum(sizes) :]
        return self._decode(choices, np.clip(rest, -1.0, 1.0))


def _decoder(space: spaces.Space[Any], plan: _Plan, name: str) -> _Decode:
    if isinstance(space, spaces.Dict):
        parts = {k: _decoder(sub, plan, f"{name}/{k}") for k, sub in space.spaces.items()}
        return lambda choices, rest: {k: part(choices, rest) for k, part in parts.items()}
    if isinstance(space, spaces.Tuple):
        items = [_decoder(sub, plan, f"{name}/{i}") for i, sub in enumerate(space.spaces)]
        return lambda choices, rest: tuple(item(choices, rest) for item in items)
    if isinstance(space, spaces.Discrete):
        plan.said.append(f"{name}: Discrete({space.n}) → one-hot")
        return _discrete(space, plan)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        plan.said.append(f"{name}: {space} → a one-hot block each")
    if isinstance(space, spaces.MultiDiscrete):
        return _multi(plan, space.nvec.ravel().tolist(), np.asarray(space.start), space.dtype)
    if isinstance(space, spaces.MultiBinary):
        zeros = np.zeros(space.shape, np.int64)
        return _multi(plan, [2] * zeros.size, zeros, space.dtype)
    if isinstance(space, spaces.Box):
        return _box(space, plan, name)
    raise SenseiError(
        f"{name} has the space {type(space).__name__}, which cannot be acted on;"
        " wrap the environment with gymnasium.wrappers.TransformAction"
    )


def _discrete(space: spaces.Discrete, plan: _Plan) -> _Decode:
    position, start = len(plan.blocks), int(space.start)
    plan.blocks.append(int(space.n))
    return lambda choices, rest: start + choices[position]


def _multi(plan: _Plan, sizes: list[int], start: np.ndarray, dtype: Any) -> _Decode:
    first = len(plan.blocks)
    plan.blocks.extend(sizes)
    last, shape = len(plan.blocks), start.shape
    return lambda choices, rest: (
        start + np.array(choices[first:last], np.int64).reshape(shape)
    ).astype(dtype)


def _box(space: spaces.Box, plan: _Plan, name: str) -> _Decode:
    if not space.is_bounded("both"):
        raise SenseiError(
            f"{name} is a Box without bounds, so its scale is unknown;"
            " wrap the environment with gymnasium.wrappers.RescaleAction or declare low and high"
        )
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    shape = "×".join(map(str, space.shape)) or "1"
    plan.said.append(f"{name}: Box {shape} in [{low.min():g}, {high.max():g}] → [-1, 1]")
    first = plan.numbers
    plan.numbers += int(np.prod(space.shape))
    last = plan.numbers
    dtype, whole = space.dtype, np.issubdtype(space.dtype, np.integer)

    def decode(_: list[int], rest: np.ndarray) -> np.ndarray:
        unit = (rest[first:last].reshape(space.shape).astype(np.float64) + 1.0) / 2.0
        value = low + unit * (high - low)
        # An array even where the Box has no axis, for which numpy would give a scalar.
        return np.asarray(np.clip(np.rint(value) if whole else value, low, high)).astype(dtype)

    return decode
