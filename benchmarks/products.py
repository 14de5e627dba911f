"""Time the choices in core/nets.py against what they replaced:
python benchmarks/products.py --json results/bench/products.json

Each pair is timed in turns, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import tyro

from sensei.core.config import AgentConfig
from sensei.core.ensemble import Ensemble
from sensei.core.nets import BlockLinear
from sensei.run import machine
from sensei.run.memory import keep_freed_memory
from train_step import SPEC

SIZE = AgentConfig().size
FEATURE = SIZE.deter + SIZE.stoch * SIZE.classes

Timed = Callable[[], Any]
Comparison = tuple[str, Timed, Timed]
"""What is compared: ours, and what it replaced."""


@dataclasses.dataclass(frozen=True)
class Args:
    """How often, and where the figures go."""

    repeats: int = 11
    json: Path | None = None


def main(args: Args) -> None:
    """Print and save the median seconds of each pair, and their ratio."""
    keep_freed_memory()
    pairs = {"disagreement": disagreement(), "block_products": block_products()}
    result: dict[str, Any] = {"cpu": machine.hardware()["cpu"], "load": os.getloadavg()[0]}
    for name, (what, ours, other) in pairs.items():
        result[name] = described(what, in_turns(ours, other, args.repeats))
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def described(what: str, seconds: tuple[float, float]) -> dict[str, Any]:
    """A pair as plain values."""
    return {"what": what, "seconds": seconds, "ratio": seconds[0] / seconds[1]}


def in_turns(ours: Timed, other: Timed, repeats: int) -> tuple[float, float]:
    """Median seconds of each, after a warm-up."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for call, seconds in zip((ours, other), found, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds.append(time.perf_counter() - began)
    return statistics.median(found[0][1:]), statistics.median(found[1][1:])


def disagreement() -> Comparison:
    """The ensemble's spread on 1,024 imagined rows: members side by side, and under one vmap."""
    ensemble = Ensemble(SPEC.action.size, SIZE, key=jax.random.key(0))
    feature, action = jnp.ones((1024, FEATURE)), jnp.ones((1024, SPEC.action.size))

    def stacked(ensemble: Ensemble, feature: jax.Array, action: jax.Array) -> jax.Array:
        x = jnp.concatenate([feature, action], axis=-1)
        out = eqx.filter_vmap(lambda net: net(x))(ensemble.members)
        shifted = out - out[:1]
        mean_square = jnp.mean(jnp.square(shifted), axis=0)
        return jnp.mean(mean_square - jnp.square(jnp.mean(shifted, axis=0)), axis=-1)

    ours = eqx.filter_jit(lambda e, f, a: e.disagreement(f, a))
    other = eqx.filter_jit(stacked)
    given = (ensemble, feature, action)
    return "members side by side / under vmap", lambda: ours(*given), lambda: other(*given)


def block_products() -> Comparison:
    """The GRU's gates of 15 imagined steps, as separate products and as a batched one."""
    x, layer = jnp.ones((1024, 512)), BlockLinear(8, 512, 1536, key=jax.random.key(0))

    def separate(x: jax.Array) -> jax.Array:
        return jnp.concatenate([y[:, :64] for y in layer(x)], axis=-1)

    def batched(x: jax.Array) -> jax.Array:
        out = jnp.einsum("ngi,gio->ngo", x.reshape(len(x), 8, -1), layer.weight)
        return out[..., :64].reshape(len(x), -1)

    def steps(product: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
        return jax.jit(lambda x: jax.lax.fori_loop(0, 15, lambda _, x: jnp.tanh(product(x) + x), x))

    ours, other = steps(separate), steps(batched)
    return "eight products / one batched product", lambda: ours(x), lambda: other(x)


if __name__ == "__main__":
    main(tyro.cli(Args))
