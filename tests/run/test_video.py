"""A film holds the frames it was given, and can be made beside JAX's threads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import jax.numpy as jnp
import numpy as np
import pytest

from sensei.run.video import SHORT_SIDE, write_video
from sensei.types import SenseiError


def read(path: Path, height: int, width: int) -> np.ndarray:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_come_back_enlarged(tmp_path: Path, channels: int) -> None:
    jnp.zeros(1).block_until_ready()  # starts JAX's threads; a fork with a hook would warn
    levels = np.array([40, 120, 200], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (3, 16, 16, channels)).copy()
    write_video(tmp_path / "a" / "film.mp4", images)
    frames = read(tmp_path / "a" / "film.mp4", SHORT_SIDE, SHORT_SIDE)
    assert len(frames) == 3
    np.testing.assert_allclose(frames.mean((1, 2, 3)), levels, atol=4)


def test_odd_sides_lose_one_row(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", np.zeros((2, 257, 301, 3), np.uint8))
    assert len(read(tmp_path / "film.mp4", 256, 300)) == 2


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SenseiError, match="no images"):
        write_video(tmp_path / "film.mp4", np.zeros((0, 16, 16, 3), np.uint8))


def test_what_ffmpeg_says_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(SenseiError, match=r"film\.mp4 cannot be written: .*[Ii]s a directory"):
        write_video(tmp_path / "film.mp4", np.zeros((2, 16, 16, 3), np.uint8))
