"""Any gymnasium observation as one uint8 image and one named float32 vector.

A space is walked once and gives a list of leaves; each leaf knows how to check a value and how to
turn it into pixels or numbers. Anything that does not fit what the space declares is an error that
names the key, so a broken environment is found at its first wrong observation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, UInt8

from sensei.envs.pictures import is_picture, picture_shape, pixels, resize
from sensei.types import ObsSpec, SenseiError

_MAX_VECTOR = 65536
"""More numbers than this in one observation are surely a picture that is not declared as one."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of the observation: where it is and what it becomes."""

    path: tuple[str | int, ...]
    space: spaces.Space[Any]
    is_image: bool

    @property
    def name(self) -> str:
        """The path as users write it, ``camera/left``; ``obs`` for a bare array."""
        return "/".join(str(part) for part in self.path) or "obs"


def leaves(space: spaces.Space[Any], path: tuple[str | int, ...] = ()) -> list[Leaf]:
    """List the arrays inside a possibly nested space, in the space's own order.

    Raises
    ------
    SenseiError
        For a space with no numbers in it, such as ``Text``, ``Graph`` or ``Sequence``.
    """
    if isinstance(space, spaces.Dict):
        return [leaf for key, sub in space.spaces.items() for leaf in leaves(sub, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, sub in enumerate(space.spaces) for leaf in leaves(sub, (*path, i))]
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return [Leaf(path, space, is_picture(space))]
    name = "/".join(str(part) for part in path) or "obs"
    raise SenseiError(
        f"observation {name!r} has the space {type(space).__name__}, which is neither picture nor"
        " numbers; drop it with gymnasium.wrappers.FilterObservation or return it in info['text']"
    )


def entry_names(leaf: Leaf) -> list[str]:
    """Name each number that a leaf adds to the vector."""
    space, name = leaf.space, leaf.name
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return [f"{name}={value}" for value in range(start, start + int(space.n))]
    if isinstance(space, spaces.MultiDiscrete):
        sizes = space.nvec.ravel().tolist()
        return [f"{name}[{i}]={value}" for i, n in enumerate(sizes) for value in range(n)]
    count = int(np.prod(space.shape or (1,)))
    return [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]


def numbers(value: np.ndarray, leaf: Leaf) -> Float32[np.ndarray, " n"]:
    """Turn a checked value into the numbers named by ``entry_names``; choices become one-hot."""
    space = leaf.space
    if isinstance(space, spaces.Discrete):
        return _one_hot(np.array([value - space.start]), [int(space.n)], leaf.name)
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hot((value - space.start).ravel(), space.nvec.ravel().tolist(), leaf.name)
    with np.errstate(over="ignore"):
        real = np.asarray(value, np.float32).ravel()
    if not np.isfinite(real).all():
        big = f"the number {value.ravel()[_where_bad(real)]:g}"
        raise _misfit(leaf, big, "numbers that float32 can hold")
    return real


def _one_hot(values: np.ndarray, sizes: list[int], name: str) -> Float32[np.ndarray, " n"]:
    blocks = []
    for value, size in zip(values.tolist(), sizes, strict=True):
        if not 0 <= value < size:
            raise SenseiError(
                f"observation {name!r} is choice {value} of {size};"
                " return a value inside the declared space"
            )
        blocks.append(np.eye(size, dtype=np.float32)[int(value)])
    return np.concatenate(blocks)


def checked(value: Any, leaf: Leaf) -> np.ndarray:
    """Return the value as an array after comparing it with what the space declares.

    Raises
    ------
    SenseiError
        Naming the key, what came and what was declared.
    """
    space = leaf.space
    array = np.asarray(value)
    if array.shape != (space.shape or ()):
        raise _misfit(leaf, f"shape {array.shape}", f"{space.shape}")
    if space.dtype is not None and not _fits(array, space.dtype):
        raise _misfit(leaf, f"dtype {array.dtype}", f"{space.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _misfit(leaf, f"{_first_bad(array)} at {_where_bad(array)}", "finite numbers")
    return array


def _fits(array: np.ndarray, declared: np.dtype[Any]) -> bool:
    if array.dtype == declared:
        return True
    if array.dtype.kind in "iub" and declared.kind in "iub":
        # Python ints arrive as int64; only uint8 pictures must really be bytes.
        return array.ndim < 2 or np.can_cast(array.dtype, declared, "same_kind")
    return np.can_cast(array.dtype, declared, "same_kind")


def _where_bad(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])


def _first_bad(array: np.ndarray) -> float:
    return float(array[_where_bad(array)])


def _misfit(leaf: Leaf, got: str, expected: str) -> SenseiError:
    return SenseiError(
        f"observation {leaf.name!r} has {got} but its observation_space says {expected};"
        " make the environment return what it declares"
    )


def said(leaf: Leaf, size: int) -> str:
    """Say in a line what a leaf is and what becomes of it."""
    shape, kind = tuple(leaf.space.shape or ()), type(leaf.space).__name__
    sides = "×".join(map(str, shape))
    picture = picture_shape(shape) if leaf.is_image else None
    if picture is None:
        names = entry_names(leaf)
        some = ", ".join(names if len(names) < 4 else [names[0], "…", names[-1]])
        return f"numbers {leaf.name!r}: {kind} {sides}".rstrip() + f" → {some}"
    order = ", channels first" if picture.channels_first else ""
    stack = f", {picture.frames} frames" if len(shape) == 4 else ""
    how = "" if picture.height == picture.width == size else " by area"
    small = f"{size}×{size}×{picture.frames * picture.channels}"
    return f"image {leaf.name!r}: {sides} {leaf.space.dtype}{order}{stack} → {small}{how}"


def take(observation: Any, leaf: Leaf) -> Any:
    """Follow a leaf's path into a nested observation."""
    for depth, part in enumerate(leaf.path):
        try:
            observation = observation[part]
        except (KeyError, IndexError, TypeError) as error:
            missing = "/".join(str(p) for p in leaf.path[: depth + 1])
            raise SenseiError(
                f"observation lacks {missing!r}, which its observation_space declares;"
                " return every key at every step"
            ) from error
    return observation


class ObsReader:
    """Read observations of one space: an image (H, W, C), a vector (V,), or both."""

    def __init__(self, space: spaces.Space[Any], image_size: int, rendered: bool = False) -> None:
        """Plan the reading of ``space``; ``rendered`` leaves the image to ``render()``."""
        found = leaves(space)
        self.images = [] if rendered else [leaf for leaf in found if leaf.is_image]
        self.vectors = [leaf for leaf in found if not leaf.is_image]
        self.image_size = image_size
        names = tuple(name for leaf in self.vectors for name in entry_names(leaf))
        if len(names) > _MAX_VECTOR:
            longest = max(self.vectors, key=lambda leaf: len(entry_names(leaf)))
            raise SenseiError(
                f"observation has {len(names)} numbers, most in {longest.name!r}, {longest.space};"
                " declare a picture as Box(0, 255, (H, W, C), uint8), drop what is not needed with"
                " gymnasium.wrappers.FilterObservation"
            )
        channels = sum(self._channels(leaf) for leaf in self.images)
        image = (image_size, image_size, channels) if channels else None
        self.spec = ObsSpec(image=image, vector=names)

    def raw_images(self, observation: Any) -> Iterator[UInt8[np.ndarray, "height width channel"]]:
        """Yield every image in its own size, checked."""
        for leaf in self.images:
            assert isinstance(leaf.space, spaces.Box)
            yield pixels(checked(take(observation, leaf), leaf), leaf.space)

    def image(self, observation: Any) -> UInt8[np.ndarray, "size size channel"]:
        """Return all images resized and stacked on channels, as a copy."""
        small = [resize(image, self.image_size) for image in self.raw_images(observation)]
        return small[0].copy() if len(small) == 1 else np.concatenate(small, axis=-1)

    def vector(self, observation: Any) -> Float32[np.ndarray, " v"]:
        """Return all numbers as one vector, in the order of ``spec.vector``."""
        parts = [numbers(checked(take(observation, leaf), leaf), leaf) for leaf in self.vectors]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def said(self) -> list[str]:
        """Say in a line for each array what was found and what becomes of it."""
        return [said(leaf, self.image_size) for leaf in (*self.images, *self.vectors)]

    @staticmethod
    def _channels(leaf: Leaf) -> int:
        shape = picture_shape(tuple(leaf.space.shape or ()))
        return shape.frames * shape.channels if shape else 0
