"""Count what an update of each size costs: python benchmarks/costs.py

Prints the table ``COSTS`` of src/sensei/doctor.py. Operations are counted in the traced update,
bytes by XLA, which compiles the update and lays out its buffers, but never makes it. Both are
linear in the number of replayed steps and of imagined trajectories, bytes with a constant: so three
updates give the coefficients.
"""

from __future__ import annotations

import equinox as eqx
import numpy as np

from flops import count_flops
from sensei.core.config import SIZES, AgentConfig, Size
from sensei.core.training import train_step
from train_step import prepare, size_of

LENGTH = 64
UPDATES = ((16, 1), (16, 4), (4, 1))
"""Sequences, and from which of their states it imagines: every, or every fourth."""


def main() -> None:
    """Print one line a size."""
    terms = [(1, LENGTH * batch, LENGTH * batch / every) for batch, every in UPDATES]
    for name, size in SIZES.items():
        found = np.linalg.solve(terms, [costs(size, *update) for update in UPDATES])
        (parameters, _, kept), (_, *replayed), (_, *imagined) = found
        pairs = [f"({mflop:.1f}, {mb:.2f})" for mflop, mb in (replayed, imagined)]
        print(f'"{name}": Cost({parameters:_.0f}, {kept:.1f}, {", ".join(pairs)}),', flush=True)


def costs(size: Size, batch: int, every: int) -> tuple[int, float, float]:
    """Parameters, and MFLOP and MB of buffers of one update."""
    config = AgentConfig(size=size, batch=batch, length=LENGTH, imagine_every=every)
    fixed, state = prepare(config)
    step = train_step.__wrapped__  # type: ignore[attr-defined]  # before its own filter_jit
    flops = count_flops(eqx.filter_make_jaxpr(step)(fixed, state)[0])
    compiled = eqx.filter_jit(step, donate="all-except-first").lower(fixed, state).compile()
    buffers = compiled.compiled.memory_analysis()
    held = buffers.argument_size_in_bytes + buffers.temp_size_in_bytes
    return size_of(state.agent), flops / 1e6, held / 1e6


if __name__ == "__main__":
    main()
