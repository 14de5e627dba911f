"""Time the real training step: python benchmarks/train_step.py --size xs --json out.json

The full SENSEI step on random data: world model, 8-member ensemble, semantic and disagreement
critics, actor, imagination from all B·T states, compiled and run as in the loop: another process
compiles it into a cache that was empty, and is part of the seconds to compile. ``--without-p2e`` is
plain DreamerV3, for comparison with programs that have no ensemble; ``--imagine-every`` and
``--length`` are those of a preset.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from flops import count_flops
from sensei.core.agent import Setup, TrainState
from sensei.core.config import SIZES, AgentConfig
from sensei.core.methods import method_channels, method_gate
from sensei.core.reward_model import RewardModel
from sensei.core.training import train_step
from sensei.run.compilation import fast_train_step
from sensei.run.memory import keep_freed_memory
from sensei.stages.setups import fresh_state
from sensei.types import ActionSpec, EnvSpec, ObsSpec

SPEC = EnvSpec(ObsSpec((64, 64, 3)), ActionSpec((6,)))
"""64×64×3 pixels and six discrete actions, as in the published comparison of peers."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What is timed."""

    size: Literal["xs", "s", "m", "l"] = "xs"
    method: Literal["sensei", "p2e", "dreamer"] = "sensei"
    without_p2e: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Plain DreamerV3, as ``--method dreamer``."""
    batch: int = 16
    length: int = 64
    imagine_every: int = 1
    steps: int = 5
    """Timed steps after two of warm-up."""
    json: Path | None = None
    """Write the figures here too."""


def main(args: Args) -> None:
    """Print and save one measurement."""
    keep_freed_memory()
    args = dataclasses.replace(args, method="dreamer") if args.without_p2e else args
    config = AgentConfig(
        size=SIZES[args.size],
        batch=args.batch,
        length=args.length,
        imagine_every=args.imagine_every,
    )
    fixed, state = prepare(config, args.method)
    parameters = {name: size_of(part) for name, part in vars(state.agent).items()}
    timed, compile_seconds, flops = measure(fixed, state, args.steps)
    seconds, busy = zip(*timed, strict=True)
    peak = matmul_peak()
    result = {
        "what": f"{args.method} {args.size}, batch {args.batch} x {args.length}, "
        f"imagination from every {args.imagine_every}. state",
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "compile_seconds": compile_seconds,
        "seconds_median": statistics.median(seconds),
        "seconds_min": min(seconds),
        "processor_seconds_median": statistics.median(busy),
        "replayed_steps_per_second": args.batch * args.length / statistics.median(seconds),
        "parameters": parameters,
        "gflop": flops / 1e9,
        "matmul_peak_gflops": peak / 1e9,
        "utilisation": flops / min(seconds) / peak,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def prepare(config: AgentConfig, method: str = "sensei") -> tuple[tuple, TrainState]:
    """What the training step takes: (setup, R_ψ, random batch) and an untrained agent's state."""
    semantic = ("semantic",) if method == "sensei" else ()
    setup = Setup(
        SPEC, config, method_channels(method, config), method_gate(method, config),
        heads=("task", *semantic), shaping=("task",) if method == "dreamer" else (),
    )  # fmt: skip
    key = jax.random.key(0, impl="rbg")
    reward_model = RewardModel(SPEC.obs, members=5, key=key) if semantic else None
    fixed = (setup, reward_model, random_batch(config.batch, config.length))
    return fixed, fresh_state(setup, 0)


def measure(
    fixed: tuple, state: TrainState, steps: int
) -> tuple[list[tuple[float, float]], float, float]:
    """Seconds of each step, the clock's and the processor's; of compilation; operations a step."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)  # an empty one
        compiled = fast_train_step().compiled(fixed, state)
    compile_seconds = time.perf_counter() - began
    timed = []
    for _ in range(steps + 2):
        began, busy = time.perf_counter(), time.process_time()
        state, metrics = compiled(fixed, state)
        jax.block_until_ready(metrics)
        timed.append((time.perf_counter() - began, time.process_time() - busy))
    # Only now: a run traces no operations to count before it trains, and the heap would show it.
    jaxpr = eqx.filter_make_jaxpr(train_step.__wrapped__)(fixed, state)[0]
    return timed[2:], compile_seconds, count_flops(jaxpr)


def matmul_peak(size: int = 2048) -> float:
    """The best float32 product rate of this process, in operations a second."""
    x = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


def size_of(part: eqx.Module | None) -> int:
    """Count the parameters of a part."""
    return sum(x.size for x in jax.tree.leaves(eqx.filter(part, eqx.is_inexact_array)))


def random_batch(batch: int, length: int) -> dict[str, np.ndarray]:
    """Rows of random data, (B, T, ...)."""
    rng = np.random.default_rng(0)
    shape, actions = (batch, length), SPEC.action.size
    flags = {name: np.zeros(shape, bool) for name in ("is_first", "is_last", "is_terminal")}
    return flags | {
        "image": rng.integers(0, 256, (*shape, 64, 64, 3), dtype=np.uint8),
        "prev_action": np.eye(actions, dtype=np.float32)[rng.integers(0, actions, shape)],
        "reward": rng.normal(size=shape).astype(np.float32),
        "rewards": np.zeros((*shape, 0), np.float32),
    }


if __name__ == "__main__":
    main(tyro.cli(Args))
