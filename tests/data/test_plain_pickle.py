"""A pickled array is read, and nothing that a pickle says is ever done."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensei.data.plain_pickle import map_array
from sensei.types import SenseiError

IMAGES = np.random.default_rng(0).integers(256, size=(5, 2, 1, 8, 6, 3)).astype(np.uint8)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [IMAGES, np.asfortranarray(IMAGES), IMAGES[::2, ::-1]],
    ids=["plain", "fortran", "strided"],
)
def test_an_array_comes_back(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    np.testing.assert_array_equal(map_array(path), array)


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_large_array_is_mapped_and_not_loaded(tmp_path: Path, protocol: int) -> None:
    """Beyond 64 KiB the pickler writes the bytes outside its frames, as for a published file."""
    array = np.arange(3 * 2 * 128 * 128 * 3, dtype=np.uint32).astype(np.uint8)
    array = array.reshape(3, 2, 128, 128, 3)
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    found = map_array(path)
    assert isinstance(found, np.memmap) and not found.flags.writeable
    np.testing.assert_array_equal(found, array)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def with_dtype(kind: str) -> bytes:
    """The pickle of an array, its dtype's name replaced by another of the same length."""
    return pickle.dumps(IMAGES, protocol=4).replace(b"u1", kind.encode())


TOUCH = "touch OWNED"
MALICIOUS: dict[str, tuple[bytes, str]] = {
    "system": (pickle.dumps(Calls(os.system, TOUCH), 4), r"it names posix\.system"),
    "system in a list": (pickle.dumps([Calls(os.system, TOUCH)]), "opcode EMPTY_LIST"),
    "system by protocol 0": (b"cposix\nsystem\n(S'touch OWNED'\ntR.", "opcode STRING"),
    "eval": (pickle.dumps(Calls(eval, "open('OWNED', 'w')"), 5), r"names builtins\.eval"),
    "numpy that runs": (
        pickle.dumps(Calls(np.load, "evil.npy"), protocol=4), r"it names numpy(\.lib.*)?\.load"
    ),
    "call of a call": (
        opcodes(b"cnumpy.core.multiarray\n_reconstruct\n", b")R", b")R"), "it holds a call"
    ),
    "system inside an array": (
        pickle.dumps(IMAGES, protocol=4)[:-1] + pickle.dumps(Calls(os.system, TOUCH))[2:],
        "no plain pickle",
    ),
    "object array": (pickle.dumps(np.array([{}, None], object), protocol=4), "no plain pickle"),
    "pointers as pixels": (with_dtype("O8"), "numbers are not bytes"),
    "floats": (pickle.dumps(np.zeros(4), protocol=5), "numbers are not bytes"),
    "a dict": (pickle.dumps({"images": IMAGES}), "opcode EMPTY_DICT"),
    "persistent object": (opcodes(b"Pfile\n"), "opcode PERSID"),
    "a text without end": (opcodes(b"X\xff\xff\xff\xffnumpy"), "a text of 4294967295 bytes"),
    "a number without end": (opcodes(b"\x8b\xff\xff\xff\x7f1"), "opcode LONG4"),
    "no pickle": (b"PK\x03\x04 this is a zip", "no plain pickle"),
    "nothing": (b"", "ends or has no valid opcode"),
    "protocol 2": (pickle.dumps(IMAGES, protocol=2), "a text of 2190 bytes"),
    "shape too large": (
        pickle.dumps(IMAGES, protocol=4).replace(b"K\x05K\x02K\x01", b"K\xffK\xffK\xff"),
        "does not fit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALICIOUS)
def test_everything_else_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data, reason = MALICIOUS[name]
    path = tmp_path / "images.pickle"
    path.write_bytes(data)
    with pytest.raises(SenseiError, match=reason) as caught:
        map_array(path)
    assert "Nothing in it was run" in str(caught.value) and "images.npy" in str(caught.value)
    assert os.listdir(tmp_path) == ["images.pickle"]


def test_the_malicious_pickle_would_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the test above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(MALICIOUS["system"][0])
    assert (tmp_path / "OWNED").exists()


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole, path = pickle.dumps(IMAGES, protocol=5), tmp_path / "a.pickle"
    for length in (1, 3, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SenseiError, match="not read"):
            map_array(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """Changed bytes give an error or an array of bytes, never another exception."""
    small = bytearray(
        pickle.dumps(IMAGES[:1, :1, :, :2, :2], protocol=data.draw(st.integers(3, 5)))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        small[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.pickle"
    path.write_bytes(bytes(small))
    with contextlib.suppress(SenseiError):
        assert map_array(path).dtype == np.uint8


def test_memo_bombs_take_no_time(tmp_path: Path) -> None:
    """Tuples of the tuple before, fifty times: 2⁵⁰ entries if anybody ever wrote them out."""
    doubling = b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(50))
    path = tmp_path / "a.pickle"
    path.write_bytes(opcodes(b")", doubling))
    with pytest.raises(SenseiError, match="it holds a tuple"):
        map_array(path)
    pickletools.dis(path.read_bytes(), out=io.StringIO())  # it is a valid pickle
