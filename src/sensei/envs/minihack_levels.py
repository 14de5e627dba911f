"""The two levels of the paper as NetHack level descriptions, and their compiler.

All randomness is inside the compiled level (shuffled places), so a reset costs milliseconds; a
level generated anew for every episode would have to be compiled each time, ten times as long.
"""

from __future__ import annotations

import importlib
import itertools
import pathlib
import subprocess

from sensei.types import SenseiError


def keyroom(room: int, inner: int) -> str:
    """KeyRoom: a square room, in it a locked square room with the stairs down, and a key somewhere.

    The named key is NetHack's own artifact for rogues: it unlocks at the first try.
    """
    return f"""
LEVEL: "mylevel"
ROOM: "ordinary", lit, (3,3), (center,center), ({room},{room}) {{
  SUBROOM: "ordinary", lit, random, ({inner},{inner}) {{
    STAIR: random, down
    ROOMDOOR: false, locked, random, random
  }}
  OBJECT: ('(',"skeleton key"), random, blessed, 0, name:"The Master Key of Thievery"
}}
"""


_GRID = """\
----------
|..|..|..|
|..|..|..|
----..----
|..|..|..|
|..|..|..|
----..----
|..|..|..|
|..|..|..|
----------
"""
_ROWS = ((1, 2), (4, 5), (7, 8))


def _places(cells: list[tuple[int, int]]) -> str:
    return "{ " + ",".join(f"({x},{y})" for x, y in cells) + " }"


def _cells(columns: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(itertools.product(columns, itertools.chain(*_ROWS)))


def _doors() -> str:
    """One ordinary closed door from the corridor to each room, at a random one of two cells."""
    lines = []
    walls = itertools.product((3, 6), _ROWS)
    for letter, (x, rows) in zip("abcdef", walls, strict=True):
        name = f"$door_{letter}"
        lines += [f"{name} = {_places([(x, y) for y in rows])}", f"SHUFFLE: {name}"]
        lines.append(f"DOOR: closed, {name}[0]")
    return "\n".join(lines)


def keychest() -> str:
    """KeyChestCorridor-S4: the map of MiniGrid's KeyCorridorS4R3, with a chest for the ball.

    Three rooms of 2×2 on either side of a corridor. The key lies in a random room on the left, the
    chest in a random room on the right, each in a random cell; the player starts in the corridor's
    middle. The boulder in the chest keeps it too heavy to be picked up.
    """
    return f"""
MAZE: "mylevel", ' '
FLAGS: noteleport,hardfloor
INIT_MAP: solidfill,' '
GEOMETRY: center,center
MAP
{_GRID}ENDMAP
REGION: (0,0,9,9), lit, "ordinary"
{_doors()}
$key = {_places(_cells((1, 2)))}
SHUFFLE: $key
OBJECT: ('(',"skeleton key"), $key[0], blessed, 0
$chest = {_places(_cells((7, 8)))}
SHUFFLE: $chest
CONTAINER: ('(',"chest"), not_trapped, $chest[0] {{
  OBJECT: ('`',"boulder")
}}
BRANCH: (4,4,5,5), (0,0,0,0)
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
