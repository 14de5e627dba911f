"""Our own training step, timed beside the peers by peers.py: ``peer_sensei.py sensei 1m``."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax

from flops import count_flops
from peer_protocol import BATCH, HORIZON, LENGTH, Program, serve
from sensei.core.config import SIZES, AgentConfig
from sensei.core.training import train_step
from sensei.run.compilation import fast_train_step, keep_compiled_programs
from sensei.run.memory import keep_freed_memory
from train_step import prepare, size_of

SIZE = {"1m": "xs", "12m": "s"}


def build(method: str, preset: str, train: Callable | None = None) -> Program:
    """Make an agent of one method and its training step, in a process set up as for a run.

    ``train`` is the step compiled in another way than for a run.
    """
    keep_freed_memory()
    if train is None:
        keep_compiled_programs()
    train = train or fast_train_step()
    config = AgentConfig(size=SIZES[SIZE[preset]], batch=BATCH, length=LENGTH, horizon=HORIZON)
    fixed, state = prepare(config, method)
    parameters = sum(size_of(part) for part in vars(state.agent).values())

    def step() -> None:
        nonlocal state
        state, metrics = train(fixed, state)
        jax.block_until_ready((state, metrics))

    def count() -> float:
        return count_flops(eqx.filter_make_jaxpr(train_step.__wrapped__)(fixed, state)[0])

    return Program(step, parameters, count, ("sensei-rl", "jax"))


if __name__ == "__main__":
    serve(build)
