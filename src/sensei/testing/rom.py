"""Build the package's own Game Boy game from its source: ``python -m sensei.testing.rom``.

Needs SDCC (Debian: ``apt-get install sdcc``). The built game is kept in the package, so only a
change of the source needs this.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from sensei.envs import roms
from sensei.types import SenseiError

SOURCE = Path(roms.__file__).with_name("keyquest.c")
BUILT = SOURCE.with_suffix(".gb")

_LOGO = slice(0x104, 0x134)
"""Where a cartridge's header has the console maker's logo."""
_OPTIONS = ("-msm83", "--opt-code-speed", "--data-loc", "0xC300")
"""Variables of the compiler's own begin behind those that the source puts at fixed places."""


def build(source: Path = SOURCE) -> bytes:
    """Compile a C source to a cartridge of 32 KiB, with the logo's bytes left zero.

    Raises
    ------
    SenseiError
        When SDCC is missing or refuses the source.
    """
    if shutil.which("sdcc") is None:
        raise SenseiError("sdcc is not installed: apt-get install sdcc")
    with tempfile.TemporaryDirectory() as folder:
        linked, cartridge = Path(folder, "game.ihx"), Path(folder, "game.gb")
        _call("sdcc", *_OPTIONS, "-o", str(linked), str(source))
        _call("makebin", "-Z", "-s", "32768", "-yn", "KEYQUEST", str(linked), str(cartridge))
        image = bytearray(cartridge.read_bytes())
    image[_LOGO] = bytes(_LOGO.stop - _LOGO.start)
    return bytes(image)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = " ".join(done.stderr.split()[-30:])
        raise SenseiError(f"{command[0]} failed: {last}; mend the source")


if __name__ == "__main__":
    print(f"{BUILT}: {BUILT.write_bytes(build())} bytes")
