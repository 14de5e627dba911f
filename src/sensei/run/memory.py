"""Keep freed memory: the compiled step frees and asks for the same gigabyte at every update."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_INT_MAX = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc to reuse large blocks instead of returning them to the kernel.

    Otherwise every update of an xs agent takes 84,000 page faults, a quarter of its processor time
    on two cores (measured; 14,000 faults and a twentieth with this). Elsewhere than on glibc it
    does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
    # Other arenas are made of 64 MB pieces and would fall back to mapping.
    mallopt(_M_ARENA_MAX, 1)
