"""Stage 7, report: one self-contained page, of whatever stages are finished."""

from __future__ import annotations

import importlib
from typing import Any

from sensei.presets import RunConfig
from sensei.run.workspace import Workspace

BUILDER = "sensei.report.build"
"""Found by name, as the pipeline finds its stages: the page reads every stage, so it is the ring
outside theirs."""


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Write ``index.html`` and ``report.json``; return where, and how large."""
    return importlib.import_module(BUILDER).run(config, workspace)
