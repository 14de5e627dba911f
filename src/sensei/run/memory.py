"""Keep freed memory: the compiled step frees and asks for the same gigabyte at every update."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1


def keep_freed_memory() -> None:
    """Tell glibc to reuse large blocks instead of returning them to the kernel.

    Otherwise every update of an xs agent takes 84,000 page faults, a quarter of its processor time
    on two cores, and one of an s agent 540,000, a fifth (measured; none with this). Elsewhere than
    on glibc it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)  # any number would be 2 GB at most, less than s frees
    # Other arenas are made of 64 MB pieces and would fall back to mapping.
    mallopt(_M_ARENA_MAX, 1)
