"""The RoboDesk scene on today's MuJoCo: where it lies, and a version that is quick to draw.

The scene (Apache-2.0) comes with the PyPI package ``robodesk``, which is never imported: its module
needs packages that are long gone. What is changed for drawing never touches the physics: the links'
visual meshes have no mass and collide with nothing.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pathlib
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from sensei.types import SenseiError

Picture = Literal["fast", "full"]
"""``full`` is the scene as it ships; ``fast`` draws the same things in a hundredth of the time."""

_LINK_CELL, _HAND_CELL = 0.015, 0.008
"""Sides, in metres, of the cells in which the robot's vertices are merged for ``fast``."""
_KEPT = "finger"
"""The fingers are small already and must stay thin."""
_SLICES = 12
"""Faces around a ball or a cylinder in ``fast``; MuJoCo's own number is 28."""
_STL_HEADER = 84
_STL_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@functools.cache
def mujoco() -> Any:
    """Return the module ``mujoco`` (most of it is C, without types).

    Raises
    ------
    SenseiError
        When the extra ``robodesk`` is not installed.
    """
    try:
        return importlib.import_module("mujoco")
    except ImportError as error:
        raise SenseiError(
            "--env robodesk needs the extra `robodesk`: pip install 'sensei-rl[robodesk]'"
            f" ({error})"
        ) from error


def scene_path() -> pathlib.Path:
    """Find the scene's XML without importing the package that it comes with.

    Raises
    ------
    SenseiError
        When the package is not installed.
    """
    try:
        package = importlib.metadata.distribution("robodesk")
    except importlib.metadata.PackageNotFoundError as error:
        raise SenseiError(
            "--env robodesk needs the scene of the package robodesk: pip install --no-deps"
            " robodesk==1.0.0 (the extra `robodesk` brings it for Python 3.11 and 3.12)"
        ) from error
    return pathlib.Path(str(package.locate_file("robodesk/assets/desk.xml")))


@functools.cache
def load_model(picture: Picture) -> Any:
    """Compile the scene; all environments of a process share the result and leave it alone.

    Raises
    ------
    SenseiError
        When the extra ``robodesk`` is not installed.
    """
    path = scene_path()
    spec = mujoco().MjSpec.from_file(str(path))
    if picture == "fast":
        _make_fast(spec, path.parent)
    return spec.compile()


def _make_fast(spec: Any, folder: pathlib.Path) -> None:
    """Leave out what costs most: shadows, smoothing samples, and a hundred thousand triangles."""
    quality = spec.visual.quality
    quality.shadowsize = quality.offsamples = 0
    quality.numslices = quality.numstacks = _SLICES
    for mesh in spec.meshes:
        if mesh.name.endswith("_viz") and not mesh.name.startswith(_KEPT):
            cell = _HAND_CELL if mesh.name.startswith("hand") else _LINK_CELL
            vertices, faces = merge_vertices(*read_stl(folder / mesh.file), cell)
            mesh.file = ""
            mesh.uservert, mesh.userface = vertices.ravel().tolist(), faces.ravel().tolist()


def read_stl(path: pathlib.Path) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Read a binary STL file as vertices, each once, and the three of every face."""
    records = np.frombuffer(path.read_bytes(), _STL_FACE, offset=_STL_HEADER)
    corners = records["corners"].reshape(-1, 3)
    vertices, index = np.unique(corners, axis=0, return_inverse=True)
    return vertices.astype(np.float64), index.reshape(-1, 3)


def merge_vertices(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], cell: float
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """Merge the vertices of each cubic cell into their mean; faces that collapse are dropped.

    The simplest of mesh simplifications (Rossignac and Borrel, 1993): no vertex moves by more than
    the cell's diagonal, so the outline stays.
    """
    cells = np.floor(vertices / cell).astype(np.int64)
    _, index = np.unique(cells, axis=0, return_inverse=True)
    index = index.ravel()
    count = np.bincount(index)
    merged = np.stack([np.bincount(index, vertices[:, i]) / count for i in range(3)], axis=1)
    kept = index[faces]
    a, b, c = kept.T
    kept = kept[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(kept, axis=1), axis=0, return_index=True)
    return merged, kept[np.sort(first)]
