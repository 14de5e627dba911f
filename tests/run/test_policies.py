"""Random actions, alone and between those of a policy."""

from __future__ import annotations

import numpy as np
import pytest

from sensei.run.policies import Interludes, RandomPolicy
from sensei.types import ActionSpec

EPSILON, REPEAT = 0.05, 8.0
STEPS, ENVS = 4_000, 5


def played(spec: ActionSpec, epsilon: float, ends: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The actions of a policy that always chooses −1, interrupted, and where episodes begin."""
    rng = np.random.default_rng(0)
    interludes = Interludes(RandomPolicy(spec, ENVS, 1.0, rng), epsilon, REPEAT)
    first = np.random.default_rng(1).random((STEPS, ENVS)) < ends
    chosen = np.full((ENVS, spec.size), -1.0, np.float32)
    return np.stack([interludes({"is_first": f}, chosen) for f in first]), first


@pytest.mark.parametrize("spec", [ActionSpec((5,), 0), ActionSpec((), 3)])
def test_share_and_length_of_interludes(spec: ActionSpec) -> None:
    actions, _ = played(spec, EPSILON)
    own = (actions == -1.0).all(2)
    # An interlude of mean R follows on average 1/ε − 1 steps of the policy, since one may follow
    # another at once: R ε / (R ε + 1 − ε) of the time.
    share = REPEAT * EPSILON / (REPEAT * EPSILON + 1.0 - EPSILON)
    assert (~own).mean() == pytest.approx(share, abs=0.03)
    begins = np.diff((~own).astype(int), axis=0, prepend=0) == 1
    assert (~own).sum() / begins.sum() == pytest.approx(REPEAT / (1.0 - EPSILON), rel=0.1)
    inside = ~own[1:] & ~own[:-1]
    same = (actions[1:] == actions[:-1]).all(2)[inside].mean()
    assert same > 1.0 - 1.0 / REPEAT  # but where one follows another at once, mostly


def test_interludes_end_with_the_episode() -> None:
    actions, first = played(ActionSpec((5,), 0), EPSILON, ends=0.05)
    begun = (actions != -1.0).any(2)[first].mean()
    assert begun == pytest.approx(EPSILON, abs=0.02)


def test_without_epsilon_the_policy_acts_and_nothing_is_drawn() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    interludes = Interludes(RandomPolicy(ActionSpec((5,), 0), ENVS, 1.0, rng), 0.0, REPEAT)
    chosen = np.ones((ENVS, 5), np.float32)
    assert interludes({"is_first": np.zeros(ENVS, bool)}, chosen) is chosen
    assert rng.bit_generator.state == before
