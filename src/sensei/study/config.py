"""What a study compares: environments × methods × conditions × seeds, as one small dataclass."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal, get_args

import tyro
import yaml

from sensei.fields import nearest
from sensei.presets import Budget
from sensei.stages.config import EXPLORING, Method
from sensei.types import UsageError

Until = Literal["explore", "solve", "evaluate", "report"]

DEFAULT = "default"
"""The condition that changes nothing."""


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Every run of a study; saved as ``study.yaml``, from which the same study continues."""

    dir: str = "studies/methods"
    """Folder of the study."""
    budget: Budget = "quick"
    """How long each stage works."""
    envs: tuple[str, ...] = ("keychest",)
    """Environments: presets, gym:ID or module:callable."""
    methods: tuple[Method, ...] = EXPLORING
    """Methods of exploration; ppo does not explore and is compared in what it solves."""
    conditions: tuple[str, ...] = (DEFAULT,)
    """Changes of fields to compare, each FIELD=VALUE or NAME:FIELD=VALUE,FIELD=VALUE; "default"
    changes nothing, FIELD*=FACTOR multiplies a number."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each of these."""
    until: Until = "evaluate"
    """Last stage of every run."""
    processes: int = 0
    """Runs at a time, one core each; 0 = as many as there are cores."""
    score: float | None = None
    """Return whose first crossing is compared: steps of solve until 50 episodes have it as their
    mean."""
    also: tuple[str, ...] = ()
    """Folders of results that the same study wrote on other machines (its results/): compared with
    what is here, where a run that is finished there is not made again."""
    words: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Further words of sensei run that hold for every run, such as --explore.env-steps 50000."""

    def __post_init__(self) -> None:
        """Reject what would compare nothing, or one thing twice."""
        for name in ("envs", "methods", "conditions", "seeds"):
            values = getattr(self, name)
            if not values:
                raise UsageError(f"{name} is empty: give one or more")
            if len(set(values)) < len(values):
                raise UsageError(f"{name} names one thing twice ({values}): give each once")
        if self.processes < 0:
            raise UsageError(f"processes is {self.processes}: give 0 or more")
        names = [condition.name for condition in map(read_condition, self.conditions)]
        if len(set(names)) < len(names):
            raise UsageError(f"two conditions have one name ({names}): give NAME:FIELD=VALUE")


@dataclasses.dataclass(frozen=True)
class Condition:
    """One way to change the runs."""

    name: str
    """In folders, tables and figures; empty for the one that changes nothing."""
    fields: dict[str, Any]
    """Dotted name → value."""
    factors: dict[str, int | float] = dataclasses.field(default_factory=dict)
    """Dotted name → what the run's own value is multiplied by."""


def read_condition(word: str) -> Condition:
    """Read ``default``, ``FIELD=VALUE`` or ``NAME:FIELD=VALUE,FIELD*=FACTOR``; values are YAML."""
    if word == DEFAULT:
        return Condition("", {})
    match = re.fullmatch(r"(?:(?P<name>[\w-]+):)?(?P<changes>[\w.-]+\*?=.*)", word)
    if match is None:
        raise UsageError(
            f"--conditions {word!r} cannot be read: write {DEFAULT}, agent.gate=return, or "
            "noisy:annotator.kind=noisy,annotator.flip_rate=0.2"
        )
    # A comma inside a value, as in agent.go=[1,0], is not followed by another field's name.
    parts = [part.split("=", 1) for part in re.split(r",(?=[\w.-]+\*?=)", match["changes"])]
    values = {name: yaml.safe_load(value) for name, value in parts}
    factors = {name[:-1]: value for name, value in values.items() if name.endswith("*")}
    if wrong := [f"{n}*={f}" for n, f in factors.items() if not isinstance(f, int | float)]:
        raise UsageError(f"--conditions {word!r}: {wrong[0]} multiplies by no number, say 0.5")
    fields = {name: value for name, value in values.items() if not name.endswith("*")}
    short = [f"{name.rpartition('.')[2]}={value}" for name, value in parts]
    return Condition(match["name"] or ",".join(short), fields, factors)


STUDIES: dict[str, tuple[str, dict[str, Any]]] = {
    "methods": ("every method", {}),
    "gates": (
        "what switches between going and exploring",
        {
            "methods": ("sensei",),
            "conditions": (
                *(f"{gate}:agent.gate={gate}" for gate in ("reward", "return", "range")),
                "fixed:explore.method=fixed",
            ),
        },
    ),
    "labels": (
        "how many labels are needed",
        {
            "methods": ("sensei",),
            "conditions": (*(f"pairs{n}:annotate.pairs={n}" for n in (100, 300, 1000)), DEFAULT),
        },
    ),
    "noise": (
        "how wrong labels may be: the oracle's with a share exchanged",
        {
            "methods": ("sensei",),
            "conditions": (
                *(
                    f"flip{100 * rate:.0f}:annotator.kind=noisy,annotator.flip_rate={rate}"
                    for rate in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
                ),
            ),
        },
    ),
    "bias": (
        "labels of an annotator that often says “first”, asked in one order and in both",
        {
            "methods": ("sensei",),
            "conditions": (
                *(
                    f"bias{100 * bias:.0f}-{orders}:annotator.kind=noisy,annotator.flip_rate=0,"
                    f"annotator.position_bias={bias},annotator.orders={orders}"
                    for bias in (0.3, 0.6, 0.8)
                    for orders in ("first", "both")
                ),
                "exact:annotator.kind=oracle",
            ),
        },
    ),
    "damping": (
        "how much less is worth what the members of R_ψ disagree about",
        {
            "methods": ("sensei",),
            "conditions": (
                DEFAULT,
                "half:distill.damping=0.5",
                "one:distill.damping=1.0",
                "two:distill.damping=2.0",
            ),
        },
    ),
    "generations": (
        "as many labels again, of D_init or in the middle of exploring, which is as long in all",
        {
            "methods": ("sensei",),
            "conditions": (
                DEFAULT,
                "more:annotate.pairs*=2",
                "two:generations=2,explore.env_steps*=0.5,explore.label_frames*=0.5",
            ),
        },
    ),
}
"""Studies by name: what they ask, and the fields that differ from the defaults."""


def named(name: str = "methods", budget: str = "quick") -> StudyConfig:
    """Return a study by name; the smoke budget tries it on the built-in environment, one seed.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in STUDIES:
        near = nearest(name, STUDIES)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(STUDIES)};"
        raise UsageError(f"no study {name!r}: {hint} --dir names a folder of your own")
    if budget not in get_args(Budget):
        raise UsageError(f"--budget is {budget!r}: give one of {', '.join(get_args(Budget))}")
    place = f"studies/{name}" + ("" if budget == "quick" else f"-{budget}")
    fields: dict[str, Any] = {"dir": place, "budget": budget} | STUDIES[name][1]
    if budget == "smoke":
        fields |= {"envs": ("tiny",), "seeds": (0,)}
    return StudyConfig(**fields)
