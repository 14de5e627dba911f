"""Plain values and configurations turn into each other, and mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sensei.fields import field_names, nearest, read_file, to_plain, updated, with_dotted
from sensei.presets import RunConfig, preset
from sensei.types import UsageError


def test_dotted_names_reach_every_level() -> None:
    config = with_dotted(
        RunConfig(),
        {"seed": 3, "explore.env-steps": 10, "agent.size.deter": 64, "agent.go": [1, 0]},
    )
    assert (config.seed, config.explore.env_steps, config.agent.size.deter) == (3, 10, 64)
    assert config.agent.go == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("explore.env_stepz", 1, ["'explore.env_stepz'", "did you mean 'explore.env_steps'"]),
        ("env_steps", 1, ["did you mean", "env_steps'"]),
        ("qqqqqq", 1, ["no field 'qqqqqq'"]),
        ("explore", 1, ["explore is 1", "section"]),
        ("explore.env_steps", "many", ["explore.env_steps is 'many'", "whole number"]),
        ("explore.env_steps", 1.5, ["explore.env_steps is 1.5", "whole number"]),
        ("explore.env_steps", True, ["whole number"]),
        ("explore.train_ratio", "fast", ["explore.train_ratio", "a number"]),
        ("solve.keep_replay", 1, ["true or false"]),
        ("solve.task", 1, ["text"]),
        ("explore.method", "sensie", ["explore.method is 'sensie'", "sensei, p2e"]),
        ("agent.go", [1], ["agent.go is [1]", "2 values"]),
        ("agent.go", 1, ["a list of values"]),
        ("env.options", 1, ["a mapping"]),
        ("annotator.max_pairs", "x", ["whole number"]),
        ("annotator.flip_rate", 7, ["annotator.flip_rate", "between 0 and 1"]),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(name: str, value: Any, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        with_dotted(RunConfig(), {name: value})
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_numbers_as_yaml_writes_them() -> None:
    text = "explore: {env_steps: 1.0e+6, train_ratio: 64}\nagent: {learning_rate: 1e-4}\n"
    config = updated(RunConfig(), yaml.safe_load(text))
    assert config.explore.env_steps == 1_000_000 and isinstance(config.explore.env_steps, int)
    assert isinstance(config.explore.train_ratio, float)
    assert config.agent.learning_rate == 1e-4


def test_none_where_none_is_allowed() -> None:
    config = with_dotted(RunConfig(), {"annotator.max_pairs": 5})
    assert config.annotator.max_pairs == 5
    assert with_dotted(config, {"annotator.max_pairs": None}).annotator.max_pairs is None


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    go=st.tuples(st.floats(0, 10), st.floats(0, 10)),
    options=st.dictionaries(st.text("abc", min_size=1), st.integers() | st.booleans()),
)
def test_yaml_round_trip(seed: int, go: tuple[float, float], options: dict[str, Any]) -> None:
    config = with_dotted(preset(), {"seed": seed, "agent.go": go, "env.options": options})
    text = yaml.safe_dump(to_plain(config))
    assert updated(RunConfig(), yaml.safe_load(text)) == config


def test_field_names_cover_leaves_and_sections() -> None:
    names = field_names(RunConfig())
    assert {"seed", "agent", "agent.size", "agent.size.deter", "explore.method"} <= set(names)
    assert len(names) == len(set(names))


def test_nearest_by_last_part() -> None:
    assert nearest("xxxxxxxxxxx.env_steps", ["explore.env_steps", "seed"]) == "explore.env_steps"
    assert nearest("zzz", ["seed"]) is None


@pytest.mark.parametrize("text", ["- 1", "a: [", ""])
def test_files_that_hold_no_fields(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"--config .*c\.yaml"):
        read_file(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_file(tmp_path / "absent.yaml")
