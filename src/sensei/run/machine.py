"""What a run was made with: versions, hardware, the commit and the command, without secrets."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("sensei-rl", "jax", "jaxlib", "equinox", "optax", "numpy", "gymnasium", "nle")
_SECRET_FLAG = re.compile(r"(?i)(secret|password|token|credential|api[-_]?key)(?![-_]env)[^=]*$")
_SECRET_TEXT = re.compile(r"(?<=://)[^/@\s]+@|\b(sk|hf|ghp|xox[bp])[-_][\w-]{8,}")


def versions() -> dict[str, str]:
    """Return the installed version of Python and of every package the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory and, once a stage has used JAX, its devices."""
    facts = {"cpu": _cpu_model(), "cores": usable_cores(), "memory_gb": round(memory_gb(), 1)}
    # Importing JAX here would start the accelerator for stages that never touch it.
    if "jax" in sys.modules:
        devices = sys.modules["jax"].devices()
        facts["jax_devices"] = [f"{device.platform}:{device.device_kind}" for device in devices]
    return facts


def usable_cores() -> int:
    """Count the cores this process may use, which in a container is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gb() -> float:
    """Return the machine's memory in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


@functools.cache
def matrix_gflops(size: int = 1024) -> float:
    """Measure how fast the usable cores multiply float32 matrices just now, in GFLOP a second.

    The best of five products: half a second at most, also beside other work.
    """
    square, seconds = np.ones((size, size), np.float32), []
    for _ in range(5):
        began = time.perf_counter()
        np.matmul(square, square)
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(seconds) / 1e9


def commit() -> str | None:
    """Return the commit of the source tree this package runs from, or None outside of one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def without_secrets(command: Sequence[str]) -> list[str]:
    """Return a command line fit for a file that is shared: secrets become ``***``."""
    cleaned, hide_next = [], False
    for word in command:
        flag, equals, _ = word.partition("=")
        secret = flag.startswith("-") and bool(_SECRET_FLAG.search(flag))
        if hide_next and not word.startswith("-"):
            cleaned.append("***")
        else:
            cleaned.append(f"{flag}=***" if secret and equals else _SECRET_TEXT.sub("***", word))
        hide_next = secret and not equals
    return cleaned


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1].strip() if match else platform.machine()
