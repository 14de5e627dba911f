"""The desk as a simulation: act with five numbers, read positions, save and restore.

One action moves the hand and lasts 10 steps of 2 ms; gravity is compensated all the while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from sensei.envs.robodesk_scene import Picture, load_model, mujoco

JOINTS = (
    "drawer",
    "slide",
    "red_button",
    "green_button",
    "blue_button",
    "ball",
    "upright_block",
    "flat_block",
)
"""What can be interacted with, in the order of the published tables."""
FREE = ("ball", "upright_block", "flat_block")
"""Those that lie loose."""
SUBSTEPS = 10
ARM = 9
"""Seven joints and two fingers."""

_HAND_SCALE = 0.01
"""Metres that the hand's target moves for an action of 1."""
_WRIST_SCALE = 0.02
"""Share of the wrist's range that it turns for an action of 1."""
_POSE = (-0.30, -0.4, 0.28, -2.5, 0.13, 1.87, 0.91, 0.01, 0.01)
"""The arm over the table, from which every episode starts, noise aside."""
_POSE_NOISE = 0.15
_DRAWER_NOISE, _SLIDE_NOISE = -0.10, 0.20
_PLACE_NOISE = {
    "flat_block": ((0.0, 0.3), (0.0, 0.07)),
    "ball": ((0.0, 0.48), (0.0, 0.08)),
    "upright_block": ((0.05, 0.35), (0.0, 0.05)),
}
"""Metres, least and most, that x and y are shifted by."""

# Inverse kinematics: damped least squares by Newton steps, dm_control's defaults.
_IK_JOINTS = 6
_IK_STEPS = 100
_IK_TOLERANCE = 1e-14
_IK_FAR, _IK_DAMPING = 0.1, 3e-2
_IK_MOST, _IK_STALLED = 2.0, 20.0
_IK_RANK = 1e-8


class Desk:
    """One simulated desk and arm."""

    def __init__(self, picture: Picture) -> None:
        """Load the scene; ``picture`` decides how it looks, not how it moves."""
        self.model = load_model(picture)
        self.data = mujoco().MjData(self.model)
        self._inner = mujoco().MjData(self.model)
        self._bounds = self.model.actuator_ctrlrange.copy()
        name = self.model.joint
        self._at = {j: int(name(_joint(j)).qposadr[0]) for j in JOINTS}
        self._dof = {j: int(name(_joint(j)).dofadr[0]) for j in JOINTS}
        self._light = {c: int(name(f"{c}_light").qposadr[0]) for c in ("red", "green", "blue")}
        self._hand = int(self.model.site("end_effector").id)
        self._slide_handle = int(self.model.site("slide_handle").id)
        self._drawer_handle = int(self.model.geom("drawer_handle").id)
        self._owner = _owners(self.model, self._dof)
        self._state_size = mujoco().mj_stateSize(self.model, self._everything)
        self.touched: set[str] = set()

    def reset(self, noise: np.random.Generator | None) -> None:
        """Begin an episode: objects and arm where ``noise`` puts them, or all at the middle."""
        draw = noise.random if noise is not None else _middle
        engine, data = mujoco(), self.data
        engine.mj_resetData(self.model, data)
        data.qpos[self._at["drawer"]] += _DRAWER_NOISE * draw()
        data.qpos[self._at["slide"]] += _SLIDE_NOISE * draw()
        for name, spans in _PLACE_NOISE.items():
            for axis, (low, high) in enumerate(spans):
                data.qpos[self._at[name] + axis] += low + (high - low) * draw()
        low, high = self._bounds[:, 0], self._bounds[:, 1]
        shift = np.array([draw() for _ in range(ARM)])
        data.qpos[:ARM] = np.array(_POSE) + _POSE_NOISE * (low + (high - low) * shift)
        engine.mj_forward(self.model, data)
        self.touched = set()

    def act(self, action: Float[np.ndarray, " 5"]) -> None:
        """Follow one action for 20 ms: hand dx, dy, dz, wrist and gripper, each in [-1, 1]."""
        engine, data = mujoco(), self.data
        data.ctrl[:ARM] = self._targets(action)
        for _ in range(SUBSTEPS):
            data.qfrc_applied[:ARM] = data.qfrc_bias[:ARM]
            # In this order positions and contacts belong to the velocities at the end.
            engine.mj_step2(self.model, data)
            engine.mj_step1(self.model, data)
            self._note_contacts()

    def velocity(self, joint: str) -> float:
        """Return the speed of a joint; of a loose object the largest linear component."""
        first = self._dof[joint]
        return float(np.abs(self.data.qvel[first : first + (3 if joint in FREE else 1)]).max())

    def position(self, joint: str) -> float:
        """Return how far a drawer, slide or button is moved."""
        return float(self.data.qpos[self._at[joint]])

    def light(self, colour: str) -> float:
        """Return how far a button's light is raised; it is on below -0.00453."""
        return float(self.data.qpos[self._light[colour]])

    def place(self, body: str) -> Float64[np.ndarray, " 3"]:
        """Return where a body is, as a copy."""
        return self.data.body(body).xpos.copy()

    @property
    def hand(self) -> Float64[np.ndarray, " 3"]:
        """Where the end effector is."""
        return self.data.site_xpos[self._hand].copy()

    @property
    def handles(self) -> dict[str, Float64[np.ndarray, " 3"]]:
        """Where the handles of drawer and slide are."""
        return {
            "drawer": self.data.geom_xpos[self._drawer_handle].copy(),
            "slide": self.data.site_xpos[self._slide_handle].copy(),
        }

    @property
    def arm(self) -> Float64[np.ndarray, " 9"]:
        """The angles of the arm's joints and the openings of the fingers."""
        return self.data.qpos[:ARM].copy()

    def move(self, joint: str, value: float | Sequence[float] | np.ndarray) -> None:
        """Put a joint, or the centre of a loose object, at a value; nothing moves then."""
        at = self._at[joint]
        values = np.atleast_1d(np.asarray(value, np.float64))
        self.data.qpos[at : at + len(values)] = values
        if joint.endswith("_button"):
            self.data.qpos[self._light[joint.removesuffix("_button")]] = values[0]
        self.data.qvel[:] = 0.0
        mujoco().mj_forward(self.model, self.data)

    def state(self) -> Float64[np.ndarray, " n"]:
        """Return everything that the future depends on."""
        saved = np.empty(self._state_size)
        mujoco().mj_getState(self.model, self.data, saved, self._everything)
        return saved

    def restore(self, state: Float64[np.ndarray, " n"]) -> None:
        """Undo ``state``: what follows is the same to the last bit."""
        mujoco().mj_setState(self.model, self.data, state, self._everything)
        mujoco().mj_step1(self.model, self.data)

    @property
    def _everything(self) -> int:
        return int(mujoco().mjtState.mjSTATE_INTEGRATION)

    def _targets(self, action: np.ndarray) -> Float64[np.ndarray, " 9"]:
        """Return the target of every actuator."""
        targets = np.empty(ARM)
        targets[: ARM - 2] = self._reach(self.hand + _HAND_SCALE * action[:3])[: ARM - 2]
        low, high = self._bounds[6]
        turned = self.data.qpos[6] + _WRIST_SCALE * (low + (high - low) * (action[3] + 1) / 2)
        targets[6] = np.clip(turned, low, high)
        low, high = self._bounds[7]
        targets[7:] = low + (high - low) * (action[4] + 1) / 2
        return targets

    def _reach(self, goal: np.ndarray) -> Float64[np.ndarray, " nq"]:
        """Solve for the joints that put the hand at ``goal``, starting from where they are.

        The smallest change is taken where many would do. (dm_control leaves that part of the
        solution to rounding errors, so trajectories differ between machines there.)
        """
        engine, inner = mujoco(), self._inner
        inner.qpos[:] = self.data.qpos
        jacobian = np.empty((3, self.model.nv))
        for _ in range(_IK_STEPS):
            engine.mj_kinematics(self.model, inner)
            engine.mj_comPos(self.model, inner)
            error = goal - inner.site_xpos[self._hand]
            distance = float(np.linalg.norm(error))
            if distance < _IK_TOLERANCE:
                break
            engine.mj_jacSite(self.model, inner, jacobian, None, self._hand)
            change = _least_squares(jacobian[:, :_IK_JOINTS], error, distance > _IK_FAR)
            size = float(np.linalg.norm(change))
            if distance > _IK_STALLED * size:
                break
            inner.qpos[:_IK_JOINTS] += change * min(1.0, _IK_MOST / size)
        return inner.qpos

    def _note_contacts(self) -> None:
        """Remember which objects the robot touches."""
        contact = self.data.contact
        if len(contact.dist) == 0:
            return
        first, second = self._owner[contact.geom].T
        robot = (first == _ROBOT) != (second == _ROBOT)
        for owner in np.maximum(first, second)[robot & (np.maximum(first, second) >= 0)]:
            self.touched.add(JOINTS[owner])


_ROBOT, _REST = -1, -2


def _joint(name: str) -> str:
    return f"{name}_joint" if name in ("drawer", "slide") else name


def _middle() -> float:
    return 0.5


def _least_squares(jacobian: np.ndarray, error: np.ndarray, damped: bool) -> np.ndarray:
    if damped:
        square = jacobian.T @ jacobian + _IK_DAMPING * np.eye(_IK_JOINTS)
        return np.linalg.solve(square, jacobian.T @ error)
    return np.linalg.lstsq(jacobian, error, rcond=_IK_RANK)[0]


def _owners(model: Any, dofs: dict[str, int]) -> np.ndarray:
    """Tell for every geom whose it is: the robot's, an object's (its index) or the rest's."""
    bodies = np.full(model.nbody, _REST)
    base = int(model.body("panda0_link0").id)
    objects = {int(model.dof_bodyid[dof]): JOINTS.index(name) for name, dof in dofs.items()}
    for body in range(model.nbody):
        parent = int(model.body_parentid[body])
        inherited = bodies[parent] if body else _REST
        bodies[body] = _ROBOT if body == base else objects.get(body, inherited)
    return bodies[model.geom_bodyid]
