"""RoboDesk's 18 tasks and 3 eased ones: when they are done, and how near they are.

Thresholds and weights are those of the package ``robodesk`` 1.0.0. One thing is mended: it compares
objects with a live view of where they are instead of where they began, so there nothing ever counts
as moved.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float64

from sensei.envs.robodesk_physics import FREE, Desk

RewardForm = Literal["dense", "sparse", "success"]

_OPEN_SLIDE = {"open_slide": 0.55, "open_slide_easy": 0.45}
_OPEN_DRAWER = {"open_drawer": -0.2, "open_drawer_medium": -0.15, "open_drawer_easy": -0.1}
_COLOURS = ("red", "green", "blue")
_LIT = -0.00453
_STACKED = np.array([0.0, 0.0, 0.0377804])
"""From the flat block's centre to that of the upright block lying on it."""
STACK_ERROR = 0.04
_OFF_TABLE = 0.6
_BIN = np.array([[0.28, 0.52], [0.38, 0.62], [0.0, 0.4]])
_SHELF_X, _SHELF_Y = 0.2, 1.0
_SHELF_MIDDLE = np.array([0.4, 1.1])
_LIFTED = {"upright_block": 0.86, "ball": 0.81, "flat_block": 0.78}
_STILL = 0.01
"""Metres that an object may stir and still count as not moved."""
_MAX_MOVE = 5.0
_GRIP = np.array([0.15, 0.0, 0.0])
"""From where the hand is best to the slide's handle."""

SUCCESSES = (
    *_OPEN_SLIDE,
    *_OPEN_DRAWER,
    *(f"push_{colour}" for colour in _COLOURS),
    "stack",
    *(f"{name}_off_table" for name in FREE),
    *(f"{name}_in_bin" for name in FREE),
    *(f"{name}_in_shelf" for name in FREE),
    *(f"lift_{name}" for name in FREE),
)
"""Names of the 21 success signals, which are the tasks."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """What tasks look at: a desk now, and where its loose objects were when the episode began."""

    desk: Desk
    began: dict[str, Float64[np.ndarray, " 3"]]

    def moved(self, name: str) -> float:
        """Return how far an object is from where it began, in metres."""
        return float(np.linalg.norm(self.desk.place(name) - self.began[name]))

    def near(self, place: np.ndarray) -> float:
        """Return 1 where the hand is at ``place``, falling to 0 at a metre."""
        return max(0.0, 1.0 - float(np.linalg.norm(self.desk.hand - place)))

    def stack_error(self) -> float:
        """Return how far the upright block is from lying on the flat one, in metres."""
        offset = self.desk.place("upright_block") - self.desk.place("flat_block")
        return float(np.linalg.norm(_STACKED - offset))


def successes(scene: Scene) -> dict[str, float]:
    """Return all success signals, 0 or 1, in the order of ``SUCCESSES``."""
    return {task: success(task, scene) for task in SUCCESSES}


def success(task: str, scene: Scene) -> float:
    """Return 1 where ``task`` is done, else 0."""
    desk = scene.desk
    if task in _OPEN_SLIDE:
        return float(desk.position("slide") > _OPEN_SLIDE[task])
    if task in _OPEN_DRAWER:
        return float(desk.position("drawer") < _OPEN_DRAWER[task])
    if task.startswith("push_"):
        return float(desk.light(task.removeprefix("push_")) < _LIT)
    if task == "stack":
        return float(scene.stack_error() < STACK_ERROR)
    name, place = _object_of(task), desk.place(_object_of(task))
    if task.endswith("_off_table"):
        return float(place[2] < _OFF_TABLE and all(scene.moved(o) < _STILL for o in _others(name)))
    if task.endswith("_in_bin"):
        return float(((place > _BIN[:, 0]) & (place < _BIN[:, 1])).all())
    if task.endswith("_in_shelf"):
        return float(place[0] > _SHELF_X and place[1] > _SHELF_Y)
    return float(place[2] > _LIFTED[name])


def dense(task: str, scene: Scene) -> float:
    """Return how near ``task`` is to being done, 0 to 1."""
    return min(1.0, max(0.0, _closeness(task, scene)))


def _closeness(task: str, scene: Scene) -> float:
    desk = scene.desk
    if task in _OPEN_SLIDE:
        still = [float(scene.moved(name) < _STILL) for name in ("flat_block", "upright_block")]
        kept = 0.33 * sum(still) + 0.34 * (scene.moved("ball") < _STILL)
        near = scene.near(desk.handles["slide"] - _GRIP)
        return 0.9 * (0.75 * desk.position("slide") / 0.6 + 0.25 * near) + 0.1 * kept
    if task in _OPEN_DRAWER:
        near = scene.near(desk.handles["drawer"])
        return 0.75 * abs(desk.position("drawer")) / 0.3 + 0.25 * near
    if task.startswith("push_"):
        colour = task.removeprefix("push_")
        return 0.25 * success(task, scene) + 0.75 * scene.near(desk.place(f"{colour}_button"))
    if task == "stack":
        return scene.near(desk.place("upright_block")) - scene.stack_error()
    return _closeness_of_object(task, _object_of(task), scene)


def _closeness_of_object(task: str, name: str, scene: Scene) -> float:
    place, near = scene.desk.place(name), scene.near(scene.desk.place(name))
    stays = [1.0 - scene.moved(other) / _MAX_MOVE for other in _others(name)]
    if task.endswith("_off_table"):
        sunk = 1.0 - place[2] / scene.began[name][2]
        return 0.75 * min(1.0, max(0.0, 0.8 * sunk + 0.1 * sum(stays))) + 0.25 * near
    if task.endswith("_in_bin"):
        return 0.5 * near + 0.5 * success(task, scene)
    if task.endswith("_in_shelf"):
        toward = 1.0 - float(np.linalg.norm(_SHELF_MIDDLE - place[:2]))
        there = 0.33 * near + 0.33 * toward + 0.34 * success(task, scene)
        return 0.5 * there + 0.25 * sum(stays)
    risen = min(1.0, max(0.0, 10.0 * (place[2] - scene.began[name][2])))
    return 0.85 * risen + 0.15 * near


def _object_of(task: str) -> str:
    return next(name for name in FREE if name in task)


def _others(name: str) -> list[str]:
    return [other for other in FREE if other != name]
