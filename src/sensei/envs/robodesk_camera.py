"""Cameras on the RoboDesk scene, drawn without a screen by EGL or OSMesa."""

from __future__ import annotations

import atexit
import ctypes
import dataclasses
import functools
import importlib
import os
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sensei.envs.robodesk_scene import Picture, load_model, mujoco
from sensei.types import SenseiError

LABEL_SIZE = 224
"""Side of the annotator's picture, in pixels, as published."""

_BACKENDS = {"egl": ("libEGL.so.1", "libGL.so.1"), "osmesa": ("libOSMesa.so.8",)}
"""What each way of drawing needs of the system."""
_REMEDY = "apt-get install libosmesa6, or libegl1 libgl1, or give your own MUJOCO_GL=egl|osmesa"
_MAX_GEOMS = 1000


@dataclasses.dataclass(frozen=True)
class View:
    """A free camera: where it looks, from how far (metres) and from which angles (degrees)."""

    look_at: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom of what is kept, as shares of the picture."""


VIEWS = {
    # The paper's two cameras, from the side.
    "right": View((-0.136, 0.535, 0.645), 1.55, 180.0, -18.0),
    "left": View((-0.136, 0.535, 0.645), 1.05, 25.0, -15.0),
    # The camera of the robodesk package: 120 pixels, cropped.
    "top": View(
        (0.0, 0.535, 1.1), 1.8, 90.0, -60.0, (16.75 / 120, 25.0 / 120, 105.0 / 120, 88.75 / 120)
    ),
}


def backend() -> str:
    """Return how pictures are drawn, ``egl`` or ``osmesa``: MUJOCO_GL, else what the system has.

    Raises
    ------
    SenseiError
        Naming the Debian packages when a system library is missing.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked and asked not in _BACKENDS:
        raise SenseiError(f"MUJOCO_GL is {asked!r}, which needs a screen: give egl or osmesa")
    for name in [asked] if asked else _BACKENDS:
        if all(_loads(library) for library in _BACKENDS[name]):
            return name
    missing = " and ".join(_BACKENDS[asked] if asked else ("libEGL.so.1", "libOSMesa.so.8"))
    raise SenseiError(f"--env robodesk cannot draw, the system lacks {missing}: {_REMEDY}")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@functools.cache
def painter(picture: Picture, side: int) -> Painter:
    """Return this process's painter for pictures up to ``side``, shared by all environments."""
    made = Painter(picture, side)
    # Before the interpreter forgets the drawing library, which would then complain.
    atexit.register(made.close)
    return made


class Painter:
    """Draws the state of any environment with one picture quality, up to ``side`` pixels."""

    def __init__(self, picture: Picture, side: int) -> None:
        """Open a drawing context; raises ``SenseiError`` where the system cannot draw."""
        self._fast = picture == "fast"
        model = load_model(picture)
        side = 2 * max(side, LABEL_SIZE)
        # Only the size of the hidden window; what the model simulates stays as it is.
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, side)
        model.vis.global_.offheight = max(model.vis.global_.offheight, side)
        self._context = _open_context(side)
        engine = mujoco()
        self._scene = engine.MjvScene(model, _MAX_GEOMS)
        self._option = engine.MjvOption()
        if self._fast:
            self._scene.flags[engine.mjtRndFlag.mjRND_SHADOW] = 0
            self._scene.flags[engine.mjtRndFlag.mjRND_REFLECTION] = 0
        self._resources = engine.MjrContext(model, engine.mjtFontScale.mjFONTSCALE_100)
        engine.mjr_setBuffer(engine.mjtFramebuffer.mjFB_OFFSCREEN, self._resources)
        self._model = model

    def draw(self, data: Any, view: View, side: int) -> UInt8[np.ndarray, "side side 3"]:
        """Draw ``data`` from ``view`` as a square picture of ``side`` pixels.

        The picture is drawn larger and reduced by area, so that thin things do not flicker: at
        twice the size in ``fast``, at the annotator's size in ``full``.
        """
        drawn = 2 * side if self._fast else max(LABEL_SIZE, side)
        big = self._snap(data, view, drawn)
        if view.crop == (0.0, 0.0, 1.0, 1.0) and drawn == 2 * side:
            # The mean of 2×2 pixels, the same as resizing by area and ten times as fast.
            rows = big[0::2].astype(np.uint16) + big[1::2]
            return ((rows[:, 0::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)
        left, top, right, bottom = (share * drawn for share in view.crop)
        box = (left, top, right, bottom)
        small = Image.fromarray(big).resize((side, side), Image.Resampling.BOX, box=box)
        return np.array(small)

    def close(self) -> None:
        """Give the drawing context back; the painter is of no more use."""
        self._context.make_current()
        self._resources.free()
        self._context.free()

    def _snap(self, data: Any, view: View, side: int) -> UInt8[np.ndarray, "side side 3"]:
        engine = mujoco()
        self._context.make_current()
        camera = engine.MjvCamera()
        camera.lookat[:] = view.look_at
        camera.distance, camera.azimuth, camera.elevation = (
            view.distance,
            view.azimuth,
            view.elevation,
        )
        everything = engine.mjtCatBit.mjCAT_ALL
        engine.mjv_updateScene(
            self._model, data, self._option, None, camera, everything, self._scene
        )
        frame = engine.MjrRect(0, 0, side, side)
        pixels = np.empty((side, side, 3), np.uint8)
        engine.mjr_render(frame, self._scene, self._resources)
        engine.mjr_readPixels(pixels, None, frame, self._resources)
        return np.ascontiguousarray(pixels[::-1])


def _open_context(side: int) -> Any:
    name = backend()
    try:
        module = importlib.import_module(f"mujoco.{name}")
        context = module.GLContext(side, side)
        context.make_current()
    except Exception as error:  # every library has its own ways to fail here
        raise SenseiError(
            f"--env robodesk cannot draw by {name} ({' '.join(str(error).split())}): {_REMEDY}"
        ) from error
    return context
