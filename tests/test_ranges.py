"""Numbers with which nothing could be done are refused by name."""

from __future__ import annotations

import pytest

from sensei import ranges
from sensei.fields import field_names, with_dotted
from sensei.presets import RunConfig
from sensei.types import UsageError


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("agent.batch", 0, "agent.batch is 0: give 1 or more"),
        ("agent.length", 1, "agent.length is 1: give 2 or more"),
        ("agent.size.deter", 0, "agent.size.deter is 0: give 1 or more"),
        ("agent.quantile", 1.5, "agent.quantile is 1.5: give a number from 0 to 1"),
        ("agent.learning_rate", float("nan"), "agent.learning_rate is nan: give 0 or more"),
        ("solve.entropy", -0.1, "solve.entropy is -0.1: give 0 or more"),
        ("evaluate.episodes", 0, "evaluate.episodes is 0: give 1 or more"),
        ("explore.replay_gb", 0.0, "explore.replay_gb is 0.0: give 0.001 or more"),
        ("generations", 0, "generations is 0: give 1 or more"),
    ],
)
def test_a_number_out_of_range_is_refused(field: str, value: float, told: str) -> None:
    with pytest.raises(UsageError) as error:
        with_dotted(RunConfig(), {field: value})
    assert str(error.value) == told


def test_weights_may_be_negative_and_what_is_off_may_be_unset() -> None:
    config = {"agent.task_weight": -1.0, "distill.damping": -0.5, "solve.entropy": None}
    assert with_dotted(RunConfig(), config).agent.task_weight == -1.0


def test_every_range_is_that_of_a_field() -> None:
    assert set(ranges._RANGES) <= set(field_names(RunConfig()))
