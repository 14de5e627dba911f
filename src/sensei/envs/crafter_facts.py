"""How far a Crafter player has come, read from what the picture shows: inventory and surroundings.

Shared by the game on the CPU (``crafter.py``) and Craftax-Classic, its rewriting in JAX
(``craftax.py``), so a count may be a number or an array of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVELS = (
    ("sapling", "wood"),
    ("wood_pickaxe",),
    ("stone", "coal"),
    ("stone_pickaxe",),
    ("iron",),
    ("iron_pickaxe",),
    ("diamond",),
)
"""Items that show level 1, 2, … to 7: each is needed for the next."""

LEADS_ON = (
    ("tree",),
    ("table",),
    ("stone", "coal"),
    ("table",),
    ("iron",),
    ("furnace",),
    ("diamond",),
    (),
)
"""What in sight leads from level 0, 1, … to the next."""

NEAR = 0.5
"""Added to the level where something in sight leads on."""


def level(held: Mapping[str, Any]) -> Any:
    """Return the highest level, 0 to 7, that the counts in ``held`` show; a number or an array."""
    reached: Any = 0
    for number, items in enumerate(LEVELS, start=1):
        has = sum(held[item] for item in items) > 0
        reached = reached + has * (number - reached)
    return reached
