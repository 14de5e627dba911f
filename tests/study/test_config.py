"""What the words of ``sensei study`` mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensei.study.command import read_words
from sensei.study.config import STUDIES, StudyConfig, named, read_condition
from sensei.study.plan import members
from sensei.types import UsageError


@pytest.mark.parametrize("name", STUDIES)
def test_every_named_study_can_be_planned(name: str) -> None:
    assert len(members(named(name, "smoke"))) >= 3  # as many labels as smoke has are no change


def test_the_smoke_study_is_the_whole_matrix_on_the_built_in_environment() -> None:
    config = named(budget="smoke")
    assert config.envs == ("tiny",) and config.seeds == (0,)
    assert {member.group for member in members(config)} == {
        "sensei", "p2e", "vlm", "fixed", "dreamer", "rnd", "random",
    }  # fmt: skip


def test_words() -> None:
    words = "labels --seeds 3 4 --processes=2 --envs tiny --size s --agent.go 1 0 --dry-run"
    config, switches = read_words(words.split())
    assert config.seeds == (3, 4) and config.processes == 2 and config.envs == ("tiny",)
    assert config.words == ("--size", "s", "--agent.go", "1", "0") and switches == {"dry_run"}
    assert config.dir == "studies/labels"


def test_a_study_continues_from_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("methods: [p2e]\nseeds: [7]\nwords: ['--size', 's']\n")
    config, _ = read_words(["--dir", str(tmp_path), "--seeds", "7", "8", "--size", "s"])
    assert config.methods == ("p2e",) and config.seeds == (7, 8)
    assert config.words == ("--size", "s")


def test_conditions() -> None:
    assert read_condition("default").fields == {}
    one = read_condition("agent.go=[1,0],agent.gate=return")
    assert one.fields == {"agent.go": [1, 0], "agent.gate": "return"}
    assert one.name == "go=[1,0],gate=return"
    assert read_condition("noisy:annotator.flip_rate=0.2").name == "noisy"
    half = read_condition("explore.env_steps*=0.5,generations=2")
    assert half.fields == {"generations": 2} and half.factors == {"explore.env_steps": 0.5}
    assert half.name == "env_steps*=0.5,generations=2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lables", "did you mean 'labels'?"),
        ("--methods sense", "methods is .* give one of"),
        ("--method p2e", "give --methods"),
        ("--seeds a", "seeds is .* whole number"),
        ("--seeds", "has no value"),
        ("--seeds 1 1", "names one thing twice"),
        ("--budget smoke quick", "has 2 values"),
        ("--budget qick", "give one of smoke"),
        ("--conditions gate", "cannot be read"),
        ("--conditions explore.env_steps*=half", "multiplies by no number"),
        ("--conditions x:agent.gate=a x:agent.gate=b", "one name"),
    ],
)
def test_mistakes_are_named(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_words(words.split())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (StudyConfig(conditions=("agent.gat=return",)), "did you mean"),
        (StudyConfig(conditions=("seed=3",)), "give --envs and --seeds"),
        (StudyConfig(conditions=("agent.gate*=2",)), "multiplies agent.gate, which is 'reward'"),
        (StudyConfig(envs=("keychst",)), "did you mean 'keychest'"),
        (StudyConfig(words=("--explore.env-stepz", "1")), "did you mean"),
    ],
)
def test_mistakes_in_the_runs_are_named(config: StudyConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        members(config)
