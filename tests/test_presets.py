"""Presets hold the published numbers, and every one of them is a whole configuration."""

from __future__ import annotations

import itertools

import pytest
import yaml

from sensei.core.config import SIZES
from sensei.fields import to_plain, updated
from sensei.presets import PRESETS, RunConfig, preset, run_dir
from sensei.types import UsageError

BUDGETS = ("smoke", "quick", "day", "paper")
METHODS = ("sensei", "p2e", "vlm", "fixed", "dreamer", "rnd", "random")


@pytest.mark.parametrize(("name", "budget"), [*itertools.product(PRESETS, BUDGETS)])
def test_every_preset_survives_its_own_file(name: str, budget: str) -> None:
    config = preset(name, budget)
    assert updated(RunConfig(), yaml.safe_load(yaml.safe_dump(to_plain(config)))) == config
    assert config.env.name == name


def test_published_numbers() -> None:
    keychest, keyroom = preset("keychest", "paper"), preset("keyroom", "paper")
    assert (keychest.agent.quantile, keychest.agent.explore, keychest.agent.go) == (
        0.9,
        (0.25, 1.0),
        (1.0, 0.05),
    )
    assert (keyroom.agent.explore, keyroom.agent.go) == ((0.3, 1.0), (1.0, 0.1))
    for config in (keychest, keyroom):
        assert config.collect.policy == "p2e"
        assert config.collect.env_steps == config.explore.env_steps == 500_000
        assert config.annotate.pairs == 100_000
        assert config.explore.train_ratio == 512
        assert (config.agent.batch, config.agent.length, config.agent.horizon) == (16, 64, 15)
        assert config.agent.size == SIZES["s"]


def test_what_helps_r_psi_alone_is_of_methods_with_r_psi() -> None:
    """So Plan2Explore begins from an empty replay, as published."""
    sensei, vlm, p2e = (preset("keychest", "quick", method=m) for m in ("sensei", "vlm", "p2e"))
    assert sensei.explore.keep_collected and sensei.explore.rise_share == 0.5
    assert (vlm.collect, vlm.annotate) == (sensei.collect, sensei.annotate)
    assert not p2e.explore.keep_collected
    assert (p2e.explore.offline_updates, p2e.explore.rise_share) == (0, 0.0)
    assert (sensei.solve.own_weight, p2e.solve.own_weight) == (10.0, 1.0)
    assert p2e.collect == preset("crafter", "quick").collect
    assert sensei.env == p2e.env and sensei.explore.epsilon == p2e.explore.epsilon == 0.3
    sensei, p2e = (preset("keyroom", "quick", method=m) for m in ("sensei", "p2e"))
    assert (sensei.agent.saliency_scale, p2e.agent.saliency_scale) == (40.0, 0.0)
    assert sensei.env == p2e.env and sensei.explore.epsilon == p2e.explore.epsilon == 0.3


def test_published_numbers_of_robodesk() -> None:
    paper = preset("robodesk", "paper")
    assert (paper.agent.quantile, paper.agent.explore, paper.agent.go) == (
        0.75,
        (0.1, 1.0),
        (1.0, 0.0),
    )
    assert (paper.agent.size, paper.explore.env_steps) == (SIZES["m"], 1_000_000)
    assert (paper.annotate.pairs, paper.env.num_envs) == (200_000, 4)
    assert paper.dir == "runs/robodesk-paper"
    assert preset("robodesk", "paper", "s").agent.size == SIZES["s"]
    assert preset("robodesk", "quick").explore == preset("crafter", "quick").explore


def test_budgets_grow() -> None:
    steps = [preset(budget=budget).explore.env_steps for budget in BUDGETS]
    assert steps == sorted(steps) and len(set(steps)) == len(steps)


@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str) -> None:
    config = preset(method=method)
    assert config.explore.method == method
    assert config.uses_reward == (method in ("sensei", "vlm", "fixed"))


@pytest.mark.parametrize("size", list(SIZES))
def test_sizes(size: str) -> None:
    assert preset(size=size).agent.size == SIZES[size]


@pytest.mark.parametrize("name", ["gym:CartPole-v1", "my_project.envs:make"])
def test_own_environments_need_no_preset(name: str) -> None:
    config = preset(name, "smoke")
    assert config.env.name == name
    assert config.dir.startswith("runs/") and ":" not in config.dir


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "keychset"}, "did you mean 'keychest'"),
        ({"name": "zzz"}, "gym:ID or module:callable"),
        ({"budget": "qick"}, "--budget is 'qick': did you mean 'quick'"),
        ({"size": "zzzz"}, "--size is 'zzzz': give one of xs, s, m, l"),
        ({"method": "p2"}, "--method is 'p2': did you mean 'p2e'"),
    ],
)
def test_unknown_names(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        preset(**arguments)
    assert words in str(caught.value)


def test_folders_differ_where_the_run_does() -> None:
    assert run_dir("keychest", "quick") == "runs/keychest-quick"
    assert run_dir("gym:A/B-v1", "day", "s", "p2e", 3) == "runs/gym-A-B-v1-day-s-p2e-seed3"


def test_generations_need_labels() -> None:
    with pytest.raises(UsageError, match="--generations 1"):
        updated(preset(method="p2e"), {"generations": 2})
    with pytest.raises(UsageError, match="1 or more"):
        RunConfig(generations=0)
