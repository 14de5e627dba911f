"""sheeprl's own ``train`` of ``dreamer_v3`` or ``p2e_dv3_exploration``, on random data.

Run by peers.py in an environment that has sheeprl. Everything is built as sheeprl's ``main`` builds
it, from its configuration files; metrics are off, which is in its favour.
"""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import hydra
import numpy as np
import torch
from omegaconf import OmegaConf

from peer_flops import count_operations
from peer_protocol import ACTIONS, BATCH, HORIZON, IMAGE, LENGTH, Program, serve

WIDTHS = {
    "1m": {"units": 64, "depth": 4, "deter": 512, "hidden": 64, "classes": 4},
    "12m": {"units": 256, "depth": 16, "deter": 1024, "hidden": 256, "classes": 16},
}
"""The widths of DreamerV3's presets of these names; ``deter`` is 1024 at 12m because sheeprl's
recurrent network is dense."""


def build(algorithm: str, preset: str) -> Program:
    """Make one of sheeprl's agents and its training step."""
    config = compose(algorithm, **WIDTHS[preset])
    torch.set_float32_matmul_precision(config.float32_matmul_precision)
    torch.distributions.Distribution.set_default_validate_args(config.distribution.validate_args)
    torch.manual_seed(0)
    fabric = hydra.utils.instantiate(config.fabric, _convert_="all")
    make = {"dreamer_v3": dreamer_v3, "p2e_dv3_exploration": plan2explore}[algorithm]
    update, trained = make(fabric, config)
    data = random_batch()

    def step() -> None:
        update({name: value.float() for name, value in data.items()})

    parameters = sum(p.numel() for module in trained for p in module.parameters())
    return Program(step, parameters, lambda: count_operations(step), ("sheeprl", "torch"))


def compose(algorithm: str, units: int, depth: int, deter: int, hidden: int, classes: int) -> Any:
    """Read sheeprl's configuration with the preset's widths."""
    from sheeprl.utils.utils import dotdict

    model = "algo.world_model"
    overrides = [
        f"exp={algorithm}",
        "env=dummy",
        "run_name=timing",
        "fabric.callbacks=[]",
        "metric.log_level=0",
        f"algo.per_rank_batch_size={BATCH}",
        f"algo.per_rank_sequence_length={LENGTH}",
        f"algo.horizon={HORIZON}",
        f"algo.dense_units={units}",
        "algo.mlp_layers=3",
        f"{model}.encoder.cnn_channels_multiplier={depth}",
        f"{model}.recurrent_model.recurrent_state_size={deter}",
        f"{model}.transition_model.hidden_size={hidden}",
        f"{model}.representation_model.hidden_size={hidden}",
        f"{model}.discrete_size={classes}",
    ]
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        config = hydra.compose("config", overrides)
    return dotdict(OmegaConf.to_container(config, resolve=True))


def dreamer_v3(fabric: Any, config: Any) -> tuple[Any, list[torch.nn.Module]]:
    """The update of plain DreamerV3 and the modules it trains."""
    program = importlib.import_module("sheeprl.algos.dreamer_v3.dreamer_v3")
    agent = program.build_agent(fabric, (ACTIONS,), False, config, observations())
    world_model, actor, critic, slow_critic = agent[:4]
    optimizers = [
        optimizer(fabric, config.algo.world_model, world_model),
        optimizer(fabric, config.algo.actor, actor),
        optimizer(fabric, config.algo.critic, critic),
    ]
    moments = scaling(program, config)

    def update(batch: dict[str, torch.Tensor]) -> None:
        follow(slow_critic, critic, config.algo.critic.tau)
        program.train(
            fabric, world_model, actor, critic, slow_critic, *optimizers,
            batch, None, config, False, (ACTIONS,), moments,
        )  # fmt: skip

    return update, [world_model, actor, critic]


def plan2explore(fabric: Any, config: Any) -> tuple[Any, list[torch.nn.Module]]:
    """The update of Plan2Explore (ensemble, exploring and task behaviour) and what it trains."""
    program = importlib.import_module("sheeprl.algos.p2e_dv3.p2e_dv3_exploration")
    config.algo.player.actor_type = "exploration"
    agent = program.build_agent(fabric, (ACTIONS,), False, config, observations())
    world_model, ensembles, actor, critic, slow_critic, explorer, critics = agent[:7]
    of_world, of_actor, of_critic, of_ensembles, of_explorer = (
        optimizer(fabric, config.algo.world_model, world_model),
        optimizer(fabric, config.algo.actor, actor),
        optimizer(fabric, config.algo.critic, critic),
        optimizer(fabric, config.algo.critic, ensembles),
        optimizer(fabric, config.algo.actor, explorer),
    )
    for one in critics.values():
        one["optimizer"] = optimizer(fabric, config.algo.critic, one["module"])
    pairs = [(slow_critic, critic)]
    pairs += [(one["target_module"], one["module"]) for one in critics.values()]
    moments = {name: scaling(program, config) for name in critics}

    def update(batch: dict[str, torch.Tensor]) -> None:
        for slow, fast in pairs:
            follow(slow, fast, config.algo.critic.tau)
        program.train(
            fabric, world_model, actor, critic, slow_critic, of_world, of_actor, of_critic,
            batch, None, config, ensembles, of_ensembles, explorer, critics, of_explorer,
            moments, moments_task, False, (ACTIONS,),
        )  # fmt: skip

    moments_task = scaling(program, config)
    trained = [world_model, actor, critic, ensembles, explorer]
    return update, trained + [one["module"] for one in critics.values()]


def observations() -> gymnasium.spaces.Dict:
    """The space of the pictures, channels first."""
    shape = (3, IMAGE, IMAGE)
    return gymnasium.spaces.Dict({"rgb": gymnasium.spaces.Box(0, 255, shape, np.uint8)})


def optimizer(fabric: Any, part: Any, module: torch.nn.Module) -> Any:
    """The configured optimiser of one part."""
    made = hydra.utils.instantiate(part.optimizer, params=module.parameters(), _convert_="all")
    return fabric.setup_optimizers(made)


def scaling(program: Any, config: Any) -> Any:
    """The running percentiles of the returns."""
    moments = config.algo.actor.moments
    percentile = moments.percentile
    return program.Moments(moments.decay, moments.max, percentile.low, percentile.high)


def follow(slow: torch.nn.Module, fast: torch.nn.Module, rate: float) -> None:
    """Move a slow critic towards its critic, as sheeprl's ``main`` does before each update."""
    for to, source in zip(slow.parameters(), fast.parameters(), strict=True):
        to.data.copy_(rate * source.data + (1 - rate) * to.data)


def random_batch() -> dict[str, torch.Tensor]:
    """What sheeprl's replay returns for one update: time first, bytes for pictures."""
    rng = np.random.default_rng(0)
    shape = (LENGTH, BATCH)
    arrays = {
        "rgb": rng.integers(0, 256, (*shape, 3, IMAGE, IMAGE), dtype=np.uint8),
        "actions": np.eye(ACTIONS, dtype=np.float32)[rng.integers(0, ACTIONS, shape)],
        "rewards": rng.normal(size=(*shape, 1)).astype(np.float32),
    }
    arrays |= {
        name: np.zeros((*shape, 1), np.float32) for name in ("terminated", "truncated", "is_first")
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


if __name__ == "__main__":
    serve(build)
