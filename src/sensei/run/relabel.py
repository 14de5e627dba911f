"""A reward model that becomes better while the loop runs.

What is sampled from the replay is given its semantic reward at that moment, so a better R_ψ
relabels all of it. Who asks and what is learned is not the loop's affair; when it comes into use
is, because a killed run has to go on as if it had not been killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sensei.core.reward_model import RewardModel

if TYPE_CHECKING:
    from sensei.run.loop import Loop


@runtime_checkable
class Relabel(Protocol):
    """Works on R_ψ in rounds, beside the loop.

    A round is planned, the loop saves, and the round begins; its R_ψ is taken when the next one is
    due. So the step from which it is used does not depend on how long the round has taken.
    """

    def due(self, env_steps: int) -> bool:
        """Whether the next round is to begin after so many environment steps."""
        ...

    def take(self) -> tuple[RewardModel, dict[str, float]]:
        """Wait for the round that is going on, if one is; return R_ψ and what is to be logged."""
        ...

    def plan(self, env_steps: int, cursor: int) -> None:
        """Decide on the next round, about label frames of rows before ``cursor``."""
        ...

    def begin(self) -> None:
        """Begin the planned round, or begin it again after a resume, and return at once."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold of the plan; JSON-able."""
        ...

    def restore(self, state: dict[str, Any]) -> RewardModel:
        """Take the plan back; return the R_ψ that was in use."""
        ...


def go_on(loop: Loop) -> None:
    """Begin the round again in which the run was stopped, if it was in one."""
    if loop.learner is not None and loop.learner.relabel is not None:
        loop.learner.relabel.begin()


def turn(loop: Loop) -> None:
    """When a round is due, use what the last one has taught R_ψ and begin the next."""
    learner = loop.learner
    relabel = learner and learner.relabel
    if learner is None or relabel is None or not relabel.due(loop.env_steps):
        return
    with loop.tally.timed("labels"):
        learner.reward_model, shown = relabel.take()
        loop.replay.forget_rises()
    for name, value in shown.items():
        loop.tally.recent[f"online/{name}"].append(value)
    relabel.plan(loop.env_steps, loop.store.steps)
    loop.save()
    relabel.begin()
