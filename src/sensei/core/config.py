"""The agent's numbers: network sizes and hyper-parameters, with their sources."""

from __future__ import annotations

import dataclasses
from typing import Literal

SizeName = Literal["xs", "s", "m", "l"]
Precision = Literal["float32", "bfloat16"]
Gate = Literal["reward", "return", "range", "fixed"]


@dataclasses.dataclass(frozen=True)
class Size:
    """Widths of every network. Presets are in ``SIZES``."""

    deter: int = 512
    """D, units of the recurrent state."""
    blocks: int = 8
    """Blocks of the block-diagonal GRU."""
    hidden: int = 128
    """Units of the RSSM's dense layers."""
    stoch: int = 16
    """S, categorical groups of the latent."""
    classes: int = 8
    """K, classes of each group."""
    patch: int = 4
    """Side of an image patch, in pixels, that one dense layer reads."""
    depth: int = 16
    """Channels of a patch after the first dense layer; a square of patches has 4 × as many."""
    units: int = 64
    """Units of every head, actor and critic."""
    layers: int = 3
    """Hidden layers of every head, actor and critic."""
    members: int = 8
    """E, members of the disagreement ensemble."""


SIZES: dict[str, Size] = {
    "xs": Size(),
    "s": Size(deter=1024, hidden=256, stoch=32, classes=16, depth=32, units=256),
    "m": Size(deter=2048, hidden=384, stoch=32, classes=24, depth=48, units=384),
    "l": Size(deter=4096, hidden=512, stoch=32, classes=32, depth=64, units=512),
}


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """World model, ensemble and actor-critic. Defaults: DreamerV3, 2025 form (arXiv 2301.04104)."""

    size: Size = SIZES["xs"]
    squares: int = 4
    """Squares on a side of the picture, each of which becomes one part of the embedding; where the
    picture is made of tiles, as many as there are tiles."""
    batch: int = 16
    """B, sequences in a batch."""
    length: int = 64
    """T, steps in a sequence."""
    horizon: int = 15
    """H, imagined steps."""
    imagine_every: int = 1
    """Imagine from every n-th posterior state only; 1 is the published setting."""
    precision: Precision = "float32"
    """Of the factors in an update's matrix products; parameters, sums and all else are float32."""
    learning_rate: float = 4e-5
    clip: float = 0.3
    """Adaptive gradient clipping: largest ratio of update norm to parameter norm."""
    warmup: int = 1000
    """Updates over which the learning rate rises linearly to its value."""
    free_nats: float = 1.0
    dynamics_scale: float = 1.0
    representation_scale: float = 0.1
    unimix: float = 0.01
    """Share of the uniform distribution in every categorical."""
    discount_horizon: float = 333.0
    """γ = 1 − 1 / discount_horizon."""
    lambda_: float = 0.95
    entropy: float = 3e-4
    slow_critic_rate: float = 0.02
    replay_value_scale: float = 0.3
    disagreement: Literal["variance", "std"] = "variance"
    """Spread over the members: the equation's variance, or the published code's deviation."""
    gate: Gate = "reward"
    """What switches from go to explore: Eq. 7 (reward), or one of its rivals."""
    quantile: float = 0.9
    """k of the gate."""
    gate_decay: float = 0.99
    """Of the gate's running threshold Q_k, an update. Nearer to 0 it follows a prediction that
    still drifts; nearer to 1 it is smoother."""
    go: tuple[float, float] = (1.0, 0.05)
    """(α_g, β_g): weights of semantic reward and disagreement while going."""
    explore: tuple[float, float] = (0.25, 1.0)
    """(α_e, β_e): the same weights beyond the gate."""
    vector_scale: float = 1.0
    """Weight of the error about vector observations, beside the picture's of 1."""
    semantic_scale: float = 0.0
    """Weight with which r̂_sem shapes the representation; 0 (published): not at all."""
    saliency_scale: float = 0.0
    """c: the error of the picture weighs 1 + c · R_ψ's saliency, patch by patch, and ``loss/image``
    is the weighted one; 0 (published): the same everywhere. For methods with R_ψ only."""
    actor_rate: float = 1.0
    """The actor's learning rate, as a multiple of ``learning_rate``."""
    centre_rewards: bool = False
    """Subtract its running mean over what is imagined from every reward of the agent's own (after
    Naik et al. 2024, Reward Centering), and from the values that its returns end with theirs
    (relative value iteration, Abounadi et al. 2001). No constant added to R_ψ changes anything, and
    an episode's end is worth an average state."""
    task_weight: float = 0.0
    """χ: weight of the task reward during exploration, the same on both sides of the gate."""
