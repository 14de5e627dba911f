"""Count what an update of each size costs: python benchmarks/costs.py

Prints the table ``COSTS`` of src/sensei/doctor.py. The update is traced, never compiled, with
imagination from every state and from every fourth; both costs are linear in the number of replayed
steps and of imagined trajectories, so two traces give the two coefficients of each.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax

from flops import count_flops
from sensei.core.agent import Setup, make_agent, make_state
from sensei.core.config import SIZES, AgentConfig, Size
from sensei.core.methods import method_channels, method_gate
from sensei.core.reward_model import RewardModel
from sensei.core.training import train_step
from train_step import SPEC, random_batch

BATCH, LENGTH, EVERY = 16, 64, 4
_WRAPPERS = ("pjit", "jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint")
_FREE = ("broadcast_in_dim", "reshape", "convert_element_type")
"""What XLA never writes to memory by itself."""


def main() -> None:
    """Print one line a size."""
    steps = BATCH * LENGTH
    for name, size in SIZES.items():
        parameters, *all_states = traced(size, 1)
        _, *some_states = traced(size, EVERY)
        pairs = zip(all_states, some_states, strict=True)
        imagined = [(every - some) / (1 - 1 / EVERY) / steps / 1e6 for every, some in pairs]
        replayed = [
            every / steps / 1e6 - each for every, each in zip(all_states, imagined, strict=True)
        ]
        (r_flop, r_bytes), (i_flop, i_bytes) = replayed, imagined
        print(
            f'"{name}": Cost({parameters:_}, ({r_flop:.1f}, {r_bytes:.2f}), '
            f"({i_flop:.1f}, {i_bytes:.2f})),",
            flush=True,
        )


def traced(size: Size, every: int) -> tuple[int, float, float]:
    """Parameters, floating-point operations and bytes of intermediate results of one update."""
    config = AgentConfig(size=size, batch=BATCH, length=LENGTH, imagine_every=every)
    channels = method_channels("sensei", config)
    setup = Setup(
        SPEC,
        config,
        channels,
        method_gate("sensei", config),
        heads=("task", "semantic"),
        shaping=(),
    )
    key = jax.random.key(0, impl="rbg")
    reward_model = eqx.filter_eval_shape(lambda k: RewardModel(SPEC.obs, members=5, key=k), key)
    state = eqx.filter_eval_shape(lambda k: make_state(setup, make_agent(setup, key=k), key=k), key)
    fixed = (setup, reward_model, random_batch(BATCH, LENGTH))
    jaxpr = eqx.filter_make_jaxpr(train_step.__wrapped__)(fixed, state)[0]
    arrays = [x for x in jax.tree.leaves(state.agent) if isinstance(x, jax.ShapeDtypeStruct)]
    parameters = sum(math.prod(x.shape) for x in arrays if x.dtype.kind == "f")
    return parameters, count_flops(jaxpr), count_bytes(jaxpr)


def count_bytes(jaxpr: Any) -> float:
    """Bytes of the results of all operations, four a number; a scan's body is not held, so only
    what it hands out counts."""
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        if equation.primitive.name in _WRAPPERS and inner is not None:
            total += count_bytes(inner)
        elif equation.primitive.name not in _FREE:
            total += sum(4.0 * math.prod(out.aval.shape) for out in equation.outvars)
    return total


if __name__ == "__main__":
    main()
