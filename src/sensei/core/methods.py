"""Methods as lists of reward channels."""

from __future__ import annotations

import dataclasses
import functools

from sensei.core.config import AgentConfig, Gate
from sensei.core.imagination import Rollout
from sensei.core.sensei import Channel

METHODS = ("sensei", "p2e", "vlm", "fixed", "dreamer", "rnd", "random")


@functools.cache  # one function a name, so that equal setups share their compiled step
def arrived(name: str):
    """The reward of a transition is the head's prediction for the state it arrives in."""

    def reward(rollout: Rollout):
        return rollout.predicted[name][1:]

    return reward


def disagreed(rollout: Rollout):
    """The reward of a transition is the ensemble's spread about it."""
    return rollout.disagreement


def semantic(explore: float = 1.0, go: float = 1.0) -> Channel:
    """r̂_sem: what R_ψ would find interesting."""
    return Channel("semantic", arrived("semantic"), explore, go)


def disagreement(explore: float = 1.0, go: float = 1.0) -> Channel:
    """r_dis: what the world model cannot predict yet."""
    return Channel("disagreement", disagreed, explore, go, normalise=True)


def novelty(explore: float = 1.0, go: float = 1.0) -> Channel:
    """The error of random network distillation, on arriving in a state."""
    return Channel("rnd", arrived("rnd"), explore, go, normalise=True)


def task(weight: float = 1.0, name: str = "task", potential: float = 0.0) -> Channel:
    """The environment's own reward, or one of its named extra rewards."""
    return Channel(name, arrived(name), weight, weight, potential=potential)


def method_channels(method: str, config: AgentConfig) -> tuple[Channel, ...]:
    """The channels of a method. ``random`` has none."""
    (alpha_e, beta_e), (alpha_g, beta_g) = config.explore, config.go
    both = (semantic(alpha_e, alpha_g), disagreement(beta_e, beta_g))
    channels = {
        "sensei": both,
        "fixed": both,
        "p2e": (disagreement(),),
        "vlm": (semantic(),),
        "dreamer": (task(),),
        "rnd": (novelty(),),
        "random": (),
    }[method]
    extra = config.task_weight > 0 and method not in ("dreamer", "random")
    if config.centre_rewards and method != "dreamer":  # its reward is the environment's
        channels = tuple(dataclasses.replace(c, centre=True) for c in channels)
    return (*channels, task(config.task_weight)) if extra else channels


def method_gate(method: str, config: AgentConfig) -> Gate:
    """The gate of a method: only ``sensei`` has two sides to choose between."""
    return config.gate if method == "sensei" else "fixed"
