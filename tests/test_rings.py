"""An import never points outward, and what starts often imports little."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sensei

ROOT = Path(sensei.__file__).parent
RINGS = (
    {"types", "fields", "ranges"},
    {"core"},
    {"data", "envs", "annotate"},
    {"run"},
    # presets are the stages' configurations put together.
    {"stages", "presets"},
    {"report", "web", "doctor", "arguments", "player", "export", "importing", "study"},
    {"testing", "cli", "__init__", "__main__"},
)
RANK = {part: rank for rank, ring in enumerate(RINGS) for part in ring}


def part_of(name: str) -> str:
    """``sensei.run.metrics`` → ``run``; the package itself → ``__init__``."""
    return [*name.split("."), "__init__"][1]


def imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in inner:
            continue  # not imported when the program runs
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def modules() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("module", modules())
def test_no_import_points_outward(module: str) -> None:
    own = part_of("sensei." + module.removesuffix(".py").replace("/", "."))
    assert own in RANK, f"{module} belongs to no ring"
    for name in imports(ROOT / module):
        if name.split(".")[0] == "sensei" and part_of(name) in RANK:
            assert RANK[part_of(name)] <= RANK[own], f"{module} imports {name}"


@pytest.mark.parametrize(
    "statement",
    [
        "import sensei",
        "import sensei.envs.pool",
        "import sensei.data.label_store",
        "import sensei.annotate.annotator",
        "import sensei.arguments",
        "import sensei.doctor",
        "import sensei.stages.pipeline",
    ],
)
def test_light_parts_do_not_bring_jax(statement: str) -> None:
    code = f"{statement}; import sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_package_and_function_of_the_same_name_live_together() -> None:
    code = (
        "import sensei; from sensei.run.workspace import Workspace; import sensei.stages.pipeline;"
        "assert sensei.run.__name__ == 'run' and callable(sensei.run);"
        "from sensei.run import metrics; assert metrics.__name__ == 'sensei.run.metrics'"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
