"""What exploring and solving train, by method."""

from __future__ import annotations

import pytest

from sensei.fields import with_dotted
from sensei.presets import preset
from sensei.stages.setups import exploration_setup, task_setup
from sensei.types import ActionSpec, EnvSpec, ObsSpec

ENV = EnvSpec(ObsSpec(None, ("x",)), ActionSpec((3,)), rewards=("extra",))


@pytest.mark.parametrize(
    ("method", "heads", "shaping"),
    [
        ("sensei", ("task", "extra", "semantic"), ("semantic",)),
        ("vlm", ("task", "extra", "semantic"), ("semantic",)),
        ("p2e", ("task", "extra"), ()),
        ("rnd", ("task", "extra", "rnd"), ()),
        ("dreamer", ("task", "extra"), ("task",)),
    ],
)
def test_heads_and_what_shapes_the_representation(
    method: str, heads: tuple[str, ...], shaping: tuple[str, ...]
) -> None:
    """Solving a task adds what it is about and keeps what R_ψ taught; the error of random network
    distillation is exploration's own."""
    config = preset("tiny", method=method)
    explore, solve = exploration_setup(config, ENV, method), task_setup(config, ENV, "extra")
    assert (explore.heads, explore.shaping) == (heads, shaping)
    assert solve.heads == tuple(head for head in heads if head != "rnd")
    assert solve.shaping == ("extra", *shaping)
    assert [channel.name for channel in solve.channels] == ["extra"]


def test_the_task_shapes_once() -> None:
    assert task_setup(preset("tiny", method="dreamer"), ENV, "task").shaping == ("task",)


def test_r_psi_shapes_nothing_without_a_weight() -> None:
    config = with_dotted(preset("tiny"), {"agent.semantic_scale": 0.0})
    assert exploration_setup(config, ENV, "sensei").shaping == ()
    assert task_setup(config, ENV, "task").shaping == ("task",)


def test_a_task_is_guided_by_r_psi_where_it_is_told() -> None:
    config = with_dotted(preset("tiny"), {"solve.potential": 0.5})
    (guided,), (plain,) = (task_setup(c, ENV, "task").channels for c in (config, preset("tiny")))
    assert (guided.potential, plain.potential) == (0.5, 0.0)


def test_a_task_has_an_entropy_of_its_own_where_one_is_given() -> None:
    config = with_dotted(preset("tiny"), {"solve.entropy": 3e-4})
    assert exploration_setup(config, ENV, "sensei").config.entropy == 3e-3
    assert task_setup(config, ENV, "task").config.entropy == 3e-4
    assert task_setup(preset("tiny"), ENV, "task").config.entropy == 3e-3
