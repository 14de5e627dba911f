"""The published levels as NetHack level descriptions, and their compiler.

All randomness is inside the compiled level (shuffled places), so a reset costs milliseconds; a
level generated anew for every episode would have to be compiled each time, ten times as long.
"""

from __future__ import annotations

import importlib
import itertools
import pathlib
import subprocess
from collections.abc import Iterable

from sensei.types import SenseiError


def keyroom(width: int, height: int, inner: int) -> str:
    """KeyRoom: a room, in it a locked square room with the stairs down, and a key somewhere.

    The named key is NetHack's own artifact for rogues: it unlocks at the first try.
    """
    return f"""
LEVEL: "mylevel"
ROOM: "ordinary", lit, (3,3), (center,center), ({width},{height}) {{
  SUBROOM: "ordinary", lit, random, ({inner},{inner}) {{
    STAIR: random, down
    ROOMDOOR: false, locked, random, random
  }}
  OBJECT: ('(',"skeleton key"), random, blessed, 0, name:"The Master Key of Thievery"
}}
"""


Cell = tuple[int, int]
"""A column and a row of a drawn map, from its upper left corner."""

MAZE = """
MAZE: "mylevel", ' '
FLAGS: noteleport,hardfloor
INIT_MAP: solidfill,' '
"""


def _places(cells: Iterable[Cell]) -> str:
    return "{ " + ",".join(f"({x},{y})" for x, y in cells) + " }"


def _one_of(name: str, cells: Iterable[Cell]) -> str:
    """Name a random one of ``cells``: ``$name[0]``."""
    return f"${name} = {_places(cells)}\nSHUFFLE: ${name}"


def key_and_chest(keys: Iterable[Cell], chests: Iterable[Cell]) -> str:
    """Put the key and the chest; the boulder in it keeps it too heavy to be picked up."""
    return f"""{_one_of("key", keys)}
OBJECT: ('(',"skeleton key"), $key[0], blessed, 0
{_one_of("chest", chests)}
CONTAINER: ('(',"chest"), not_trapped, $chest[0] {{
  OBJECT: ('`',"boulder")
}}"""


def keychest(inner: int) -> str:
    """KeyChestCorridor: the map of MiniGrid's KeyCorridor with 3 rows, with a chest for the ball.

    Three rooms on either side of a corridor, ``inner`` cells wide as all of it: 2 is S4, the
    paper's, 1 is S3. The key lies in a random room on the left, the chest in a random room on the
    right, each in a random cell; the player starts in the corridor's middle. Each room has one
    ordinary closed door at a random place of its wall to the corridor.
    """
    pitch = inner + 1
    left, middle, right = (range(at + 1, at + pitch) for at in (0, pitch, 2 * pitch))
    rows = [range(at + 1, at + pitch) for at in (0, pitch, 2 * pitch)]
    wall, room = "-" * pitch, "|" + "." * inner
    open_wall = wall + "-" + "." * inner + "-" + wall
    solid, cells = "-" * (3 * pitch + 1), "\n".join([room * 3 + "|"] * inner)
    doors = []
    for letter, (x, ys) in zip("abcdef", itertools.product((pitch, 2 * pitch), rows), strict=True):
        doors.append(_one_of(f"door_{letter}", [(x, y) for y in ys]))
        doors.append(f"DOOR: closed, $door_{letter}[0]")
    all_rows = [y for ys in rows for y in ys]
    drawn = "\n".join([solid, cells, open_wall, cells, open_wall, cells, solid])
    centre = rows[1]
    return f"""{MAZE}GEOMETRY: center,center
MAP
{drawn}
ENDMAP
REGION: (0,0,{3 * pitch},{3 * pitch}), lit, "ordinary"
{chr(10).join(doors)}
{key_and_chest(itertools.product(left, all_rows), itertools.product(right, all_rows))}
BRANCH: ({middle[0]},{centre[0]},{middle[-1]},{centre[-1]}), (0,0,0,0)
"""


def compile_level(description: str, folder: pathlib.Path) -> None:
    """Compile ``description`` and put it into the NetHack data of ``folder``, once per game.

    Raises
    ------
    SenseiError
        When NetHack's level compiler refuses the level or bash is missing.
    """
    base = importlib.import_module("minihack.base")
    source = folder / "sensei.des"
    source.write_text(description)
    command = [
        base.PATCH_SCRIPT,
        str(folder),
        base.HACKDIR,
        base.LIB_DIR,
        str(source),
    ]
    before = (folder / "nhdat").stat().st_ino
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SenseiError(f"cannot compile the MiniHack level: {error}; install bash") from error
    if done.returncode != 0 or "error" in done.stderr or (folder / "nhdat").stat().st_ino == before:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SenseiError(
            f"cannot compile the MiniHack level: {' '.join(last) or 'no compiled level'};"
            " reinstall with pip install 'sensei-rl[minihack]'"
        )
