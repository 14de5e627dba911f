"""The comparison takes its steps in turn, and says what it leaves out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FAKE = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
from peer_protocol import Program, serve

def build(algorithm, preset):
    def step():
        print("noise that is no answer")
        with open(preset_log, "a") as file:
            file.write(algorithm + " ")
    preset_log = __file__.replace("peer_sensei.py", preset)
    return Program(step, 7, lambda: 3e9, ("numpy",))

serve(build)
"""


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch):
    """The program as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("peers", None)
    import peers

    return peers


def test_programs_take_turns(
    peers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "peer_sensei.py").write_text(FAKE)
    monkeypatch.setattr(peers, "HERE", tmp_path)
    entries = tuple(peers.Entry(name, "sensei", name) for name in ("a", "b"))
    monkeypatch.setattr(peers, "ENTRIES", (*entries, peers.Entry("c", "torchrl", "c")))
    peers.main(peers.Args(steps=3, json=tmp_path / "out.json"))
    found = json.loads((tmp_path / "out.json").read_text())
    assert [program["name"] for program in found["programs"]] == ["a", "b"]
    for program in found["programs"]:
        assert len(program["seconds"]) == 3 and min(program["seconds"]) == program["seconds_min"]
        assert (program["parameters"], program["gflop"]) == (7, 3.0)
    # Two of warm-up each, then one of each in turn.
    assert (tmp_path / "1m").read_text().split() == ["a", "a", "b", "b", *"ababab"]
    out = capfd.readouterr().out
    assert "torchrl is left out" in out and "pip install torch==2.13.0 torchrl==0.14.1" in out
    assert "noise" not in out


def test_an_interpreter_without_the_peers_is_noticed(peers) -> None:
    assert peers.installed("json", Path(sys.executable))
    assert not peers.installed("no_such_package", Path(sys.executable))
