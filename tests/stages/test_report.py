"""The report stage is part of the plan, and finds the page's builder without importing it."""

from __future__ import annotations

import importlib
import subprocess
import sys

from sensei.stages import report
from sensei.stages.pipeline import stage_body


def test_the_builder_is_found_by_name() -> None:
    assert callable(importlib.import_module(report.BUILDER).run)
    assert stage_body("report") is report.run


def test_importing_the_stage_brings_no_jax() -> None:
    code = "import sensei.stages.report, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
