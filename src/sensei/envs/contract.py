"""Make any ``gymnasium.Env`` speak in canonical rows, with the optional extras it happens to have.

Extras are found by name: ``render_label()``, ``oracle_score()``, and in ``info`` at every reset and
step ``events``, ``text`` and ``rewards``. A missing extra switches a feature off, nothing more.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float32, UInt8

from sensei.envs.actions import ActionCodec
from sensei.envs.observations import ObsReader
from sensei.envs.pictures import COLOURS, resize
from sensei.types import EnvSpec, ObsSpec, SenseiError

Row = dict[str, Any]
"""One moment of one environment; see ``row_fields`` for names, shapes and types."""


@dataclasses.dataclass(frozen=True)
class LabelView:
    """What an annotator sees of one moment."""

    image: UInt8[np.ndarray, "height width 3"]
    text: str


def row_fields(spec: EnvSpec) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and dtype of every entry of a row of this environment."""
    flag, real = np.dtype(np.bool_), np.dtype(np.float32)
    fields: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    if spec.obs.image is not None:
        fields["image"] = (spec.obs.image, np.dtype(np.uint8))
    if spec.obs.vector:
        fields["vector"] = ((len(spec.obs.vector),), real)
    return fields | {
        "prev_action": ((spec.action.size,), real),
        "reward": ((), real),
        "rewards": ((len(spec.rewards),), real),
        "is_first": ((), flag),
        "is_last": ((), flag),
        "is_terminal": ((), flag),
        "events": ((len(spec.events),), np.dtype(np.int32)),
        "score": ((), real),
    }


class Adapter:
    """One environment behind the canonical interface. Build it with ``wrap_env``."""

    def __init__(self, env: gymnasium.Env[Any, Any], image_size: int, render: bool) -> None:
        """Probe the environment with one reset to learn which extras it has."""
        self.env = env
        self.reader = ObsReader(_space(env, "observation_space"), image_size, rendered=render)
        self.codec = ActionCodec(_space(env, "action_space"))
        self.rendered = render
        self.label = _extra(env, "render_label")
        self._oracle = _extra(env, "oracle_score")
        self._observation, self._info = self._reset(0)
        self.spec = self._make_spec()

    def reset(self, seed: int) -> Row:
        """Start an episode and return its first row; the same seed gives the same episode."""
        self._observation, self._info = self._reset(seed)
        none = np.zeros(self.spec.action.size, np.float32)
        return self._row(none, 0.0, first=True, terminated=False, truncated=False)

    def step(self, action_vector: Float32[np.ndarray, " a"]) -> Row:
        """Act and return the row that follows.

        Raises
        ------
        SenseiError
            When the environment returns anything else than it declares.
        """
        result = self.env.step(self.codec.decode(action_vector))
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            raise SenseiError(_old_step(self.env, result))
        self._observation, reward, terminated, truncated, self._info = result
        return self._row(
            np.array(action_vector, np.float32),
            self._number(reward),
            first=False,
            terminated=bool(terminated),
            truncated=bool(truncated),
        )

    def label_frame(self) -> LabelView:
        """Return what an annotator sees now: the label picture, else render(), else the image."""
        return LabelView(_rgb(self._label_picture()), str(self._info.get("text", "")))

    def look(self, observation: Any) -> dict[str, np.ndarray]:
        """Turn an observation of the environment's own into the agent's image and vector."""
        self._observation = observation
        seen = {}
        if self.spec.obs.image is not None:
            seen["image"] = self._image()
        if self.spec.obs.vector:
            seen["vector"] = self.reader.vector(observation)
        return seen

    def decode(self, action_vector: Float32[np.ndarray, " a"]) -> Any:
        """Turn an action vector into an action of the environment's own."""
        return self.codec.decode(action_vector)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _reset(self, seed: int) -> tuple[Any, dict[str, Any]]:
        try:
            result = self.env.reset(seed=seed)
        except TypeError as error:
            if _takes_seed(self.env):
                raise
            raise SenseiError(
                f"{_name(self.env)}.reset() takes no seed and options, so episodes could not be"
                " repeated; write it as def reset(self, *, seed=None, options=None)"
            ) from error
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
            return result
        raise SenseiError(
            f"{_name(self.env)}.reset() must return (observation, info), not"
            f" {type(result).__name__}; it is written for the old gym: port it to gymnasium"
        )

    def _make_spec(self) -> EnvSpec:
        obs = self.reader.spec
        if self.rendered:
            size = self.reader.image_size
            obs = ObsSpec(image=(size, size, 3), vector=obs.vector)
        if obs.image is None and not obs.vector:
            raise SenseiError(
                f"{_name(self.env)} shows neither picture nor numbers;"
                " set the option render=true to learn from render()"
            )
        return EnvSpec(
            obs=obs,
            action=self.codec.spec,
            events=tuple(self._info.get("events", ())),
            rewards=tuple(self._info.get("rewards", ())),
            has_label_picture=self.label is not None or self.env.render_mode == "rgb_array",
            has_oracle=self._oracle is not None,
            has_text="text" in self._info,
        )

    def _row(
        self,
        prev_action: np.ndarray,
        reward: float,
        *,
        first: bool,
        terminated: bool,
        truncated: bool,
    ) -> Row:
        row: Row = self.look(self._observation)
        score = math.nan if self._oracle is None else float(self._oracle())
        return row | {
            "prev_action": prev_action,
            "reward": np.float32(reward),
            "rewards": self._named("rewards", self.spec.rewards, np.float32),
            "is_first": np.bool_(first),
            "is_last": np.bool_(terminated or truncated),
            "is_terminal": np.bool_(terminated),
            "events": self._named("events", self.spec.events, np.int32),
            "score": np.float32(score),
        }

    def _number(self, reward: Any) -> float:
        try:
            value = float(np.asarray(reward).item())
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise SenseiError(
                f"{_name(self.env)} returned the reward {reward}; rewards must be finite numbers"
            )
        return value

    def _image(self) -> UInt8[np.ndarray, "size size channel"]:
        if self.rendered:
            return resize(_rgb(self._rendering()), self.reader.image_size).copy()
        return self.reader.image(self._observation)

    def _rendering(self) -> np.ndarray:
        return self._picture(self.env.render(), "render()", "make it with render_mode='rgb_array'")

    def _label_picture(self) -> np.ndarray:
        if self.label is not None:
            return self._picture(self.label(), "render_label()", "return such an array").copy()
        if self.env.render_mode == "rgb_array":
            return self._rendering().copy()
        picture = next(self.reader.raw_images(self._observation), None)
        if picture is None:
            raise SenseiError(
                f"{_name(self.env)} has no picture for an annotator; give it render_label(), or"
                " render_mode='rgb_array'"
            )
        return picture

    def _picture(self, value: Any, source: str, remedy: str) -> np.ndarray:
        """Check a picture that no space declares."""
        picture = np.asarray(value)
        coloured = picture.ndim == 3 and picture.shape[-1] in COLOURS
        if picture.dtype != np.uint8 or not (coloured or picture.ndim == 2):
            raise SenseiError(
                f"{_name(self.env)}.{source} gave {picture.dtype} {picture.shape}, not uint8"
                f" (height, width, 3); {remedy}"
            )
        return picture

    def _named(self, key: str, names: tuple[str, ...], dtype: type) -> np.ndarray:
        values: dict[str, Any] = self._info.get(key, {})
        if len(values) > len(names) or not values.keys() <= set(names):
            new = ", ".join(sorted(values.keys() - set(names)))
            raise SenseiError(
                f"info[{key!r}] has the new name {new}; return every name at every reset and step"
            )
        return np.array([values.get(name, 0) for name in names], dtype)


def wrap_env(env: Any, image_size: int = 64, render: bool = False) -> Adapter:
    """Make any gymnasium environment canonical.

    ``image_size`` is the side of the agent's square image. ``render`` takes that image from
    ``render()``, for environments whose observation has none.

    Raises
    ------
    SenseiError
        Naming what cannot be used and the wrapper that helps.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise SenseiError(f"{_name(env)} holds many environments; name it in --env module:callable")
    if not isinstance(env, gymnasium.Env):
        raise SenseiError(
            f"{_name(env)} is not a gymnasium.Env; port it, or wrap it with the package shimmy"
        )
    return Adapter(env, image_size, render)


def _extra(env: gymnasium.Env[Any, Any], name: str) -> Any:
    """Find an optional method on the environment or under its wrappers."""
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None


def _name(env: Any) -> str:
    return type(getattr(env, "unwrapped", env)).__name__


def _space(env: gymnasium.Env[Any, Any], name: str) -> gymnasium.Space[Any]:
    space = getattr(env, name, None)
    if isinstance(space, gymnasium.Space):
        return space
    raise SenseiError(
        f"{_name(env)}.{name} is a {type(space).__module__}.{type(space).__name__}, not a space of"
        " gymnasium; declare it with gymnasium.spaces"
    )


def _takes_seed(env: gymnasium.Env[Any, Any]) -> bool:
    """Tell whether the environment under all wrappers has gymnasium's ``reset``."""
    try:
        inspect.signature(env.unwrapped.reset).bind(seed=0, options=None)
    except TypeError:
        return False
    return True


def _old_step(env: gymnasium.Env[Any, Any], result: Any) -> str:
    count = len(result) if isinstance(result, tuple) else 1
    if count == 5:
        return (
            f"{_name(env)}.step() returned a {type(result[4]).__name__} as info;"
            " return a dict there, {} if there is nothing to tell"
        )
    return (
        f"{_name(env)}.step() returned {count} values, not 5 (observation, reward, terminated,"
        " truncated, info); it is written for the old gym: port it, or use the package shimmy"
    )


def _rgb(picture: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """Show any picture as RGB: grey is repeated, of more channels the first three are kept."""
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.shape[-1] < 3:
        return np.repeat(picture[:, :, :1], 3, axis=-1)
    return np.ascontiguousarray(picture[:, :, :3])
