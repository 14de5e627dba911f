"""Every documented dial changes the resolved configuration, in the documented order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sensei.arguments import Dials, resolve
from sensei.core.config import SIZES
from sensei.fields import to_plain, with_dotted
from sensei.presets import RunConfig, preset
from sensei.run.stage_record import flatten
from sensei.run.workspace import Workspace
from sensei.types import UsageError


def config_of(*words: str) -> RunConfig:
    return resolve("run", words)[1]


def differences(*words: str) -> dict[str, Any]:
    """What the words change, the folder's name apart."""
    default, config = flatten(to_plain(config_of())), flatten(to_plain(config_of(*words)))
    return {k: v for k, v in config.items() if v != default.get(k) and k != "dir"}


def test_no_words_are_keychest_quick() -> None:
    assert config_of() == preset("keychest", "quick")
    assert resolve("run", [])[0] == Dials()


def test_environment_and_method_choose_the_preset() -> None:
    assert config_of("--env", "gym:CartPole-v1") == preset("gym:CartPole-v1")
    assert config_of("--method", "p2e") == preset(method="p2e")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--annotator", "noisy"], {"annotator.kind": "noisy"}),
        (["--seed", "3"], {"seed": 3}),
        (["--generations", "2"], {"generations": 2}),
        (["--task", "open"], {"solve.task": "open"}),
        (["--task", "open", "close"], {"solve.task": "open", "solve.more_tasks": ["close"]}),
        (["--explore.env-steps", "7"], {"explore.env_steps": 7}),
        (["--explore.env_steps", "7"], {"explore.env_steps": 7}),
        (["--explore.env-steps=7"], {"explore.env_steps": 7}),
        (["--agent.go", "0", "2"], {"agent.go": [0.0, 2.0]}),
        (["--agent.size.deter", "64"], {"agent.size.deter": 64}),
        (["--solve.no-keep-replay"], {"solve.keep_replay": False}),
        (["--env.options.level", "hard"], {"env.options.level": "hard"}),
        (["--env.options.n=3"], {"env.options.n": 3}),
        (["--env.options.max-steps", "3"], {"env.options.max_steps": 3}),
        (["--annotator.model", "a/b"], {"annotator.model": "a/b"}),
    ],
)
def test_dials_and_fields(words: list[str], expected: dict[str, Any]) -> None:
    found = differences(*words)
    found.pop("env.options", None)
    assert found == expected


def test_presets_budgets_sizes() -> None:
    assert config_of("keyroom", "--budget", "paper") == preset("keyroom", "paper")
    assert config_of("--size", "s").agent.size == SIZES["s"]
    assert config_of("--env", "keyroom").agent.go == preset("keyroom").agent.go
    both = config_of("keyroom", "--env", "gym:A-v1")
    assert both.env.name == "gym:A-v1" and both.agent.go == preset("keyroom").agent.go


def test_folders_follow_the_dials() -> None:
    words = ["--method", "p2e", "--seed", "2", "--size", "s", "--budget", "day"]
    assert config_of(*words).dir == "runs/keychest-day-s-p2e-seed2"
    assert config_of("--dir", "here").dir == "here"


def test_flags_for_the_command_itself() -> None:
    dials, config = resolve("run", ["--dry-run", "--force", "--print-config", "tiny"])
    assert (dials.dry_run, dials.force, dials.print_config) == (True, True, True)
    assert config == preset("tiny")


def test_every_field_is_a_flag() -> None:
    """Whatever a configuration holds can be set by its name: nothing is out of reach."""
    wanted = flatten(to_plain(preset("keyroom", "paper", "l", "vlm")))
    words: list[str] = []
    for name, value in wanted.items():
        if isinstance(value, bool):
            section, _, last = name.rpartition(".")
            words.append(f"--{name}" if value else f"--{section}.no-{last}")
        elif not isinstance(value, dict):
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    assert flatten(to_plain(config_of(*words))) == wanted


def test_precedence(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"explore": {"env_steps": 11, "prefill": 22}, "seed": 5}))
    config = config_of("--config", str(path), "--explore.prefill", "33", "--method", "vlm")
    assert (config.explore.env_steps, config.explore.prefill, config.seed) == (11, 33, 5)
    assert config.explore.method == "vlm"
    assert config.annotate.pairs == preset().annotate.pairs


def test_a_run_is_its_own_preset(tmp_path: Path) -> None:
    own = with_dotted(preset("tiny", "smoke"), {"seed": 9, "dir": "elsewhere"})
    Workspace(tmp_path, say=print).adopt(to_plain(own), {})
    config = config_of("--dir", str(tmp_path), "--evaluate.episodes", "3")
    assert config == with_dotted(own, {"dir": str(tmp_path), "evaluate.episodes": 3})
    # Naming a budget asks for the preset's numbers again, of the same environment.
    assert config_of("--dir", str(tmp_path), "--budget", "day").env == preset("tiny").env


def test_saved_configuration_runs_again(tmp_path: Path) -> None:
    own = with_dotted(preset("keyroom", "day", "s", "fixed"), {"env.options": {"a": 1}})
    Workspace(tmp_path, say=print).adopt(to_plain(own), {})
    assert config_of("--config", str(tmp_path / "config.yaml")) == own


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explore.env-stepz", "1"], "did you mean 'explore.env_steps'"),
        (["--metod", "p2e"], "did you mean 'method'"),
        (["--explore.env-steps", "abc"], "explore.env_steps is 'abc': give a whole number"),
        (["--explore.env-steps"], "--explore.env-steps has no value"),
        (["--explore.method", "x"], "explore.method is 'x': give one of sensei"),
        (["--agent.go", "3"], "2 values"),
        (["--seed", "x"], "seed is 'x': give a whole number"),
        (["--annotator", "x"], "annotator.kind is 'x': give one of auto"),
        (["--env.options.a"], "--env.options.a has no value"),
        (["--explore", "3"], "no field 'explore'"),
        (["tiny", "keyroom"], "cannot read 'tiny keyroom'"),
        (["--budget"], "cannot read '--budget'"),
        (["--config", "absent.yaml"], "--config absent.yaml cannot be read"),
        (["--generations", "2", "--method", "p2e"], "--generations 1"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config_of(*words)
    assert message in str(caught.value)


def test_help_shows_dials_first_and_the_preset_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        resolve("run", ["tiny", "--help"])
    text = capsys.readouterr().out
    assert text.index("--budget") < text.index("--env.name") < text.index("--solve.task")
    assert "(default: tiny)" in text


def test_fields_hold_together_on_the_preset_or_the_run_itself(tmp_path: Path) -> None:
    """A field that the bare defaults would refuse, because another one of the base allows it."""
    assert config_of("keychest", "--explore.offline-updates", "9").explore.keep_collected
    own = with_dotted(preset("tiny"), {"annotate.sampler": "uncertain", "annotate.rounds": 2})
    Workspace(tmp_path, say=print).adopt(to_plain(own), {})
    assert config_of("--dir", str(tmp_path), "--annotate.rounds", "3").annotate.rounds == 3
    with pytest.raises(UsageError, match=r"annotate\.rounds is 3, but nothing is decided"):
        config_of("tiny", "--annotate.rounds", "3")


@pytest.mark.parametrize(
    "words",
    [
        ["--explore.env-steps", "7", "tiny"],
        ["--explore.env-steps=7", "tiny"],
        ["--solve.no-keep-replay", "tiny"],
        ["--annotator.members", "oracle", "noisy", "--seed", "0", "tiny"],
        ["--agent.go", "0", "2", "tiny"],
    ],
)
def test_the_preset_may_come_after_fields(words: list[str]) -> None:
    assert config_of(*words).env.name == "tiny"


def test_a_run_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("explore:\n  old_field: 1\n")
    with pytest.raises(UsageError, match=r"config\.yaml: no field 'explore\.old_field'.*manifest"):
        config_of("--dir", str(tmp_path))


def test_a_file_is_put_on_the_preset_of_its_environment(tmp_path: Path) -> None:
    """What belongs to KeyChest, say its 300,000 steps of D_init, is not for another's file."""
    (tmp_path / "mine.yaml").write_text("env:\n  name: gym:Mine-v0\nexplore:\n  method: p2e\n")
    file = ("--config", str(tmp_path / "mine.yaml"))
    assert config_of(*file) == preset("gym:Mine-v0", method="p2e")
    assert config_of("tiny", *file).explore == preset("tiny", method="p2e").explore


@pytest.mark.parametrize("env", ["3", "{name: 3}", "[name]"])
def test_a_file_with_a_wrong_environment(tmp_path: Path, env: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"env: {env}\n")
    with pytest.raises(UsageError, match=r"env.* is|no preset '3'"):
        config_of("--config", str(tmp_path / "mine.yaml"))


def test_a_picture_is_judged_by_the_whole_configuration(tmp_path: Path) -> None:
    """60 pixels are 5 squares, which the file asks for; they are not 4, the default."""
    (tmp_path / "mine.yaml").write_text("agent:\n  squares: 5\n")
    words = ("--config", str(tmp_path / "mine.yaml"), "--env.image-size", "60")
    assert config_of("keychest", *words).agent.squares == 5
    with pytest.raises(UsageError, match=r"env\.image_size is 60: give a multiple of 16"):
        config_of("keychest", "--env.image-size", "60")
