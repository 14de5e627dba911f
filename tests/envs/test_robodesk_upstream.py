"""RoboDesk's rewards against the formulas of the package that its scene comes from.

That package's own class runs here on our simulation: the modules that it imports, which are not
installed, are stood in for, and its names are looked up in MuJoCo's data.
"""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from sensei.envs import robodesk_scene
from sensei.envs.robodesk_physics import FREE, Desk
from sensei.envs.robodesk_tasks import SUCCESSES, Scene, dense, success
from sensei.types import SenseiError

pytest.importorskip("mujoco")
try:
    SOURCE = robodesk_scene.scene_path().parents[1] / "robodesk.py"
except SenseiError as error:
    pytest.skip(str(error), allow_module_level=True)

PUBLISHED = [task for task in SUCCESSES if not task.endswith(("_easy", "_medium"))]


class Named:
    """MuJoCo's data by name, as dm_control gives it."""

    def __init__(self, desk: Desk) -> None:
        data = desk.data
        self.data = self
        self.qpos = Field(lambda name: data.joint(name).qpos)
        self.xpos = Field(lambda name: data.body(name).xpos)
        self.site_xpos = Field(lambda name: data.site(name).xpos)
        self.geom_xpos = Field(lambda name: data.geom(name).xpos)


class Field:
    """One of its arrays."""

    def __init__(self, find: Any) -> None:
        self.find = find

    def __getitem__(self, name: str) -> np.ndarray:
        return self.find(name)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's class, on a desk of ours that has begun an episode."""
    for name in ("gym", "dm_control", "dm_control.utils"):
        monkeypatch.setitem(sys.modules, name, MagicMock(Env=object))
    spec = importlib.util.spec_from_file_location("their_robodesk", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    desk = Desk("fast")
    desk.reset(np.random.default_rng(0))
    made = module.RoboDesk()
    made.desk, made.physics = desk, SimpleNamespace(named=Named(desk))
    made.original_pos = {name: desk.place(name) for name in FREE}
    return made


def scatter(desk: Desk, rng: np.random.Generator) -> None:
    """Put each thing anywhere, the loose ones above, below and beside the desk."""
    desk.move("drawer", rng.uniform(-0.3, 0.0))
    desk.move("slide", rng.uniform(0.0, 0.6))
    for colour in ("red", "green", "blue"):
        desk.move(f"{colour}_button", rng.choice([0.0, -0.0046]))
    for name in FREE:
        if rng.random() < 0.6:
            desk.move(name, rng.uniform((-0.5, 0.4, 0.1), (0.6, 1.2, 1.0)))
    desk.data.qpos[:7] += rng.normal(0.0, 0.3, 7)
    desk.move("ball", desk.place("ball"))


def test_every_task_is_worth_what_the_package_says(theirs: Any) -> None:
    assert len(PUBLISHED) == 18
    scene, rng = Scene(theirs.desk, dict(theirs.original_pos)), np.random.default_rng(1)
    done = dict.fromkeys(PUBLISHED, 0.0)
    for _ in range(200):
        scatter(theirs.desk, rng)
        for task in PUBLISHED:
            assert success(task, scene) == float(theirs._get_task_reward(task, "success")), task
            expected = float(theirs._get_task_reward(task, "dense_reward"))
            assert dense(task, scene) == pytest.approx(expected, abs=1e-12), task
            done[task] += success(task, scene)
    never = {task for task, times in done.items() if not times}
    assert never <= {"stack", *(f"{name}_off_table" for name in FREE)}


def test_the_packages_live_view_is_not_repeated(theirs: Any) -> None:
    """Its reset keeps a view of where things are, so there nothing ever counts as moved."""
    desk = theirs.desk
    scene = Scene(desk, {name: desk.place(name) for name in FREE})
    theirs.original_pos = {name: theirs.physics.named.data.xpos[name] for name in FREE}
    desk.move("ball", (-0.9, 0.7, 0.5))
    desk.move("flat_block", desk.place("flat_block") + 0.05)
    assert theirs._get_task_reward("ball_off_table", "success") == 1.0
    assert success("ball_off_table", scene) == 0.0
