"""Episodes as MP4, by the ffmpeg that imageio-ffmpeg carries."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8

from sensei.types import SenseiError

SHORT_SIDE = 256
"""Small pictures are enlarged by a whole factor to about this many pixels."""


def write_video(path: Path, images: UInt8[np.ndarray, "t h w c"], fps: int = 15) -> None:
    """Write frames (T, H, W, C) as H.264, enlarged so that a person can see the pixels.

    Of other than three channels the first is shown. ffmpeg is started directly: the wrapper of
    imageio-ffmpeg forks with a hook, which is not safe beside JAX's threads.
    """
    if len(images) == 0 or images.shape[-1] == 0:
        raise SenseiError(f"the video {path} cannot be written: there are no images")
    path.parent.mkdir(parents=True, exist_ok=True)
    factor = max(1, SHORT_SIDE // images.shape[1])
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    # H.264 with shared colours needs even sides; an odd one loses its last row.
    height, width = (side * factor // 2 * 2 for side in images.shape[1:3])
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)),
        *("-i", "-", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "25"),
        *("-movflags", "+faststart", str(path)),
    ]
    # A session of its own, so that Ctrl-C reaches the run, which then ends the film properly.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        # ffmpeg may give up in the middle; what it says is raised below.
        with contextlib.suppress(BrokenPipeError):
            for image in images:
                large = image.repeat(factor, 0).repeat(factor, 1)[:height, :width]
                process.stdin.write(large.tobytes())
            process.stdin.close()
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        reason = said.splitlines()[-1] if said else f"exit code {process.returncode}"
        raise SenseiError(f"the video {path} cannot be written: {reason}")
