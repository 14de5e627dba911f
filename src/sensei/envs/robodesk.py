"""RoboDesk (Kannan, Hafner, Finn, Erhan, 2021) as SENSEI used it, on today's MuJoCo."""

from __future__ import annotations

import dataclasses
from typing import Any, cast, get_args

import gymnasium
import numpy as np
from jaxtyping import Float64, UInt8

from sensei.envs.robodesk_camera import LABEL_SIZE, VIEWS, painter
from sensei.envs.robodesk_physics import FREE, JOINTS, Desk
from sensei.envs.robodesk_scene import Picture
from sensei.envs.robodesk_tasks import (
    STACK_ERROR,
    SUCCESSES,
    RewardForm,
    Scene,
    dense,
    success,
    successes,
)
from sensei.types import UsageError

MOVING = 0.02
"""Speed above which an object counts as moved: m/s, published."""

# The published rule of the oracle, in metres from the hand.
_CLOSE, _AT_HAND, _FAR_MEAN, _FAR_LEAST = 0.145, 0.122, 0.65, 0.45
_DRAWER_OPEN = -0.18


@dataclasses.dataclass(frozen=True)
class RoboDeskState:
    """A moment of an episode, to return to."""

    physics: Float64[np.ndarray, " n"]
    began: Float64[np.ndarray, "3 3"]
    """Where ball, upright and flat block were at the start."""
    steps: int
    succeeded: bool


class RoboDesk(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """An arm over a desk with a drawer, a slide, three buttons, a ball and two blocks.

    Actions: hand dx, dy, dz, wrist and gripper, five numbers in [-1, 1]; each is repeated for
    ``action_repeat`` × 20 ms. Observation: ``image`` (S, S, 3) uint8 from the first of ``cameras``,
    ``image_NAME`` from each further one, and with ``robot_state`` the arm's nine joints and the
    hand's place, ``robot`` (12,). Episodes end by time alone.

    ``info["events"]`` counts for each object whether it moves at the end of the step (published),
    and whether it moves and the robot touched it within the step; ``info["rewards"]`` are the
    success signals of all tasks.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)
    events = (*(f"{name}_moved" for name in JOINTS), *(f"{name}_pushed" for name in JOINTS))
    tasks = SUCCESSES

    def __init__(
        self,
        task: str = "open_drawer_medium",
        reward: str = "sparse",
        cameras: tuple[str, ...] | list[str] | str = ("right",),
        label_camera: str = "right",
        picture: str = "fast",
        noise: bool = True,
        robot_state: bool = False,
        action_repeat: int = 2,
        max_episode_steps: int = 250,
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """Set the desk up; ``noise=False`` starts every episode in the middle, for evaluation.

        ``reward`` of ``task``: dense (0 to 1), sparse (1 while it is done) or success (1 once),
        summed over the repeats.
        """
        self.cameras = (cameras,) if isinstance(cameras, str) else tuple(cameras)
        _check("task", task, SUCCESSES)
        _check("reward", reward, get_args(RewardForm))
        _check("picture", picture, get_args(Picture))
        for camera in self.cameras:
            _check("cameras", camera, tuple(VIEWS))
        _check("label_camera", label_camera, tuple(VIEWS))
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise UsageError(f"env option cameras is {self.cameras}: give each camera once")
        numbers = {
            "action_repeat": action_repeat,
            "max_episode_steps": max_episode_steps,
            "image_size": image_size,
        }
        for name, number in numbers.items():
            if number < 1:
                raise UsageError(f"env option {name} is {number}: give 1 or more")
        self.task, self.reward, self.label_camera = task, reward, label_camera
        self.picture = cast(Picture, picture)
        self.noise, self.robot_state = noise, robot_state
        self.action_repeat, self.max_episode_steps = action_repeat, max_episode_steps
        self.image_size, self.render_mode = image_size, render_mode
        self.desk = Desk(self.picture)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(self._spaces())
        self._start(None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Put everything back; the same seed gives the same start."""
        super().reset(seed=seed, options=options)
        self._start(self.np_random if self.noise else None)
        return self._observe(), self._info(dict.fromkeys(self.events, 0))

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act for ``action_repeat`` × 20 ms."""
        total = 0.0
        self.desk.touched = set()
        wanted = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        for _ in range(self.action_repeat):
            self.desk.act(wanted)
            total += self._earn()
        self.steps += 1
        truncated = self.steps >= self.max_episode_steps
        return self._observe(), total, False, truncated, self._info(self._count())

    def render_label(self) -> UInt8[np.ndarray, "224 224 3"]:
        """Draw the annotator's picture, 224×224."""
        return self._draw(self.label_camera, LABEL_SIZE)

    def render(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> UInt8[np.ndarray, "224 224 3"]:
        """Draw the picture for a person."""
        return self.render_label()

    def oracle_score(self) -> float:
        """Return the published rule as a grade: 3 good · 2 interesting · 1 neither · 0 bad.

        *Interesting*: any object moves, the hand is within 0.145 m of a loose object or a handle,
        the drawer is open or the blocks are stacked. *Good*: interesting, and something within
        0.122 m. *Bad*: not interesting, everything beyond 0.45 m and 0.65 m in the mean.
        """
        gaps = np.array(list(self._distances().values()))
        interesting = (
            any(self.desk.velocity(name) > MOVING for name in JOINTS)
            or float(gaps.min()) < _CLOSE
            or self.desk.position("drawer") < _DRAWER_OPEN
            or self.scene.stack_error() < STACK_ERROR
        )
        if interesting:
            return 3.0 if gaps.min() < _AT_HAND else 2.0
        return 0.0 if gaps.mean() > _FAR_MEAN and gaps.min() > _FAR_LEAST else 1.0

    def save_state(self) -> RoboDeskState:
        """Return this moment; ``restore_state`` continues from it to the last bit."""
        began = np.stack([self.scene.began[name] for name in FREE])
        return RoboDeskState(self.desk.state(), began, self.steps, self.succeeded)

    def restore_state(self, state: RoboDeskState) -> dict[str, np.ndarray]:
        """Go back to a saved moment, of this copy or another, and return its observation."""
        self.desk.restore(state.physics)
        began = {name: place.copy() for name, place in zip(FREE, state.began, strict=True)}
        self.scene = Scene(self.desk, began)
        self.steps, self.succeeded = state.steps, state.succeeded
        return self._observe()

    def _start(self, noise: np.random.Generator | None) -> None:
        self.desk.reset(noise)
        self.scene = Scene(self.desk, {name: self.desk.place(name) for name in FREE})
        self.steps, self.succeeded = 0, False

    def _spaces(self) -> dict[str, gymnasium.spaces.Space[Any]]:
        shape = (self.image_size, self.image_size, 3)
        found: dict[str, gymnasium.spaces.Space[Any]] = {
            name: gymnasium.spaces.Box(0, 255, shape, np.uint8) for name in self._image_names()
        }
        if self.robot_state:
            found["robot"] = gymnasium.spaces.Box(-np.inf, np.inf, (12,), np.float32)
        return found

    def _image_names(self) -> dict[str, str]:
        """Map the observation's keys to cameras."""
        names = ("image", *(f"image_{camera}" for camera in self.cameras[1:]))
        return dict(zip(names, self.cameras, strict=True))

    def _observe(self) -> dict[str, np.ndarray]:
        seen = {
            name: self._draw(camera, self.image_size)
            for name, camera in self._image_names().items()
        }
        if self.robot_state:
            seen["robot"] = np.concatenate([self.desk.arm, self.desk.hand]).astype(np.float32)
        return seen

    def _draw(self, camera: str, side: int) -> UInt8[np.ndarray, "side side 3"]:
        return painter(self.picture, self.image_size).draw(self.desk.data, VIEWS[camera], side)

    def _earn(self) -> float:
        if self.reward == "dense":
            return dense(self.task, self.scene)
        done = success(self.task, self.scene)
        if self.reward == "sparse":
            return done
        fresh = done if not self.succeeded else 0.0
        self.succeeded = self.succeeded or bool(done)
        return fresh

    def _count(self) -> dict[str, int]:
        moving = {name: int(self.desk.velocity(name) > MOVING) for name in JOINTS}
        pushed = {f"{name}_pushed": int(moving[name] and name in self.desk.touched)
                  for name in JOINTS}  # fmt: skip
        return {f"{name}_moved": count for name, count in moving.items()} | pushed

    def _info(self, events: dict[str, int]) -> dict[str, Any]:
        return {"events": events, "rewards": successes(self.scene)}

    def _distances(self) -> dict[str, float]:
        places = {name: self.desk.place(name) for name in FREE} | self.desk.handles
        hand = self.desk.hand
        return {name: float(np.linalg.norm(hand - place)) for name, place in places.items()}


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"env option {option} is {value!r}: give one of {', '.join(known)}")
