"""TorchRL's ``DreamerV3OptimizationStepper`` on its public DreamerV3 modules, on random data.

Run by peers.py in an environment that has TorchRL. The modules are wired as the package documents
them; on a CPU its stepper is eager by default.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.data import Composite, OneHot, Unbounded
from torchrl.envs.model_based import DreamerEnv
from torchrl.modules import (
    DreamerV3DiscreteActor,
    DreamerV3ImageDecoder,
    DreamerV3ImageEncoder,
    DreamerV3MLP,
    RSSMPosteriorV3,
    RSSMPriorV3,
    RSSMRolloutV3,
    SymExpTwoHot,
    WorldModelWrapper,
)
from torchrl.objectives import (
    DreamerV3ActorLoss,
    DreamerV3Loss,
    DreamerV3ModelLoss,
    DreamerV3ValueLoss,
    SoftUpdate,
)
from torchrl.objectives.utils import ValueEstimators
from torchrl.trainers.algorithms import DreamerV3OptimizationStepper, DreamerV3Optimizer

from peer_flops import count_operations
from peer_protocol import ACTIONS, BATCH, HORIZON, IMAGE, LENGTH, Program, serve

BINS, UNIMIX = 255, 0.01
FEATURES = ["state", "belief"]


class Widths(NamedTuple):
    """DreamerV3's widths; the latent has 32 groups."""

    deter: int
    hidden: int
    classes: int
    depth: int
    units: int

    @property
    def state(self) -> int:
        """Width of the stochastic latent."""
        return 32 * self.classes

    @property
    def feature(self) -> int:
        """Width of what the heads read."""
        return self.state + self.deter


WIDTHS = {"1m": Widths(512, 64, 4, 4, 64), "12m": Widths(2048, 256, 16, 16, 256)}


class WorldModel(NamedTuple):
    """The world model and those of its parts that imagination shares."""

    module: TensorDictSequential
    prior: nn.Module
    reward: nn.Module
    goes_on: nn.Module


def build(algorithm: str, preset: str) -> Program:
    """Make TorchRL's learner and its training step."""
    assert algorithm == "dreamer_v3", f"TorchRL has no {algorithm}"
    torch.manual_seed(0)
    widths = WIDTHS[preset]
    world = world_model(widths)
    actor = DreamerV3DiscreteActor(widths.feature, ACTIONS, num_cells=widths.units, unimix=UNIMIX)
    value = TensorDictSequential(
        TensorDictModule(head(widths, BINS), FEATURES, ["state_value_logits"]),
        TensorDictModule(SymExpTwoHot(BINS), ["state_value_logits"], ["state_value"]),
    )
    losses, slow = objectives(widths, world, actor, value)
    trained = [p for p in losses.parameters() if p.requires_grad]
    stepper = DreamerV3OptimizationStepper(losses, DreamerV3Optimizer(trained), slow)
    batch = random_batch(widths)

    def step() -> None:
        stepper.step(None, batch.clone(recurse=False))

    parameters = sum(p.numel() for p in trained)
    return Program(step, parameters, lambda: count_operations(step), ("torchrl", "torch"))


def world_model(widths: Widths) -> WorldModel:
    """Encoder, recurrent state, decoder, reward and continuation."""
    encoder = DreamerV3ImageEncoder(depth=widths.depth)
    shared = {
        "hidden_dim": widths.hidden,
        "rnn_hidden_dim": widths.deter,
        "num_categoricals": 32,
        "num_classes": widths.classes,
        "unimix": UNIMIX,
    }
    prior = RSSMPriorV3(
        action_shape=(ACTIONS,), action_dim=ACTIONS, recurrent_model="block_gru", **shared
    )
    embedding = encoder.output_features((3, IMAGE, IMAGE))
    posterior = RSSMPosteriorV3(obs_embed_dim=embedding, use_rms_norm=True, **shared)
    reward, goes_on = head(widths, BINS, layers=1), head(widths, 1, layers=1)
    features = [("next", name) for name in FEATURES]
    prior_keys = [("next", name) for name in ("prior_logits", *FEATURES)]
    encoded, posterior_logits = ("next", "encoded"), ("next", "posterior_logits")
    rollout = RSSMRolloutV3(
        TensorDictModule(prior, [*FEATURES, "action"], prior_keys),
        TensorDictModule(
            posterior, [("next", "belief"), encoded], [posterior_logits, ("next", "state")]
        ),
    )
    module = TensorDictSequential(
        TensorDictModule(encoder, [("next", "pixels")], [encoded]),
        rollout,
        TensorDictModule(
            DreamerV3ImageDecoder(widths.feature, depth=widths.depth),
            features,
            [("next", "reco_pixels")],
        ),
        TensorDictModule(reward, features, [("next", "reward_logits")]),
        TensorDictModule(SymExpTwoHot(BINS), [("next", "reward_logits")], [("next", "reward")]),
        TensorDictModule(goes_on, features, [("next", "continue_pred")]),
    )
    return WorldModel(module, prior, reward, goes_on)


def objectives(
    widths: Widths, world: WorldModel, actor: nn.Module, value: nn.Module
) -> tuple[DreamerV3Loss, SoftUpdate]:
    """The whole DreamerV3 objective, and what moves the slow critic."""
    model_loss = DreamerV3ModelLoss(
        world.module,
        kl_mode="separate",
        unimix=UNIMIX,
        lambda_continue=1.0,
        continue_target_scale=1 - 1 / 333,
        reco_symlog=False,
        detach_output=False,
    )
    goes_on = TensorDictSequential(
        TensorDictModule(world.goes_on, FEATURES, ["continue_pred"]),
        TensorDictModule(nn.Sigmoid(), ["continue_pred"], ["continuation"]),
    )
    actor_loss = DreamerV3ActorLoss(
        actor,
        value,
        imagination(widths, world),
        continuation_model=goes_on,
        imagination_horizon=HORIZON,
        use_reinforce=True,
    )
    # The continuation target already holds the discount.
    actor_loss.make_value_estimator(ValueEstimators.TDLambda, gamma=1.0, lmbda=0.95)
    value_loss = DreamerV3ValueLoss(
        value, value_loss="two_hot", actor_loss=actor_loss, slow_critic_regularization=1.0
    )
    slow = SoftUpdate(value_loss, tau=0.02)
    return DreamerV3Loss(model_loss, actor_loss, value_loss), slow


def imagination(widths: Widths, world: WorldModel) -> DreamerEnv:
    """The prior and the reward head as an environment."""
    reward = TensorDictSequential(
        TensorDictModule(world.reward, FEATURES, ["reward_logits"]),
        TensorDictModule(SymExpTwoHot(BINS), ["reward_logits"], ["reward"]),
    )
    transition = TensorDictModule(world.prior, [*FEATURES, "action"], ["_", *FEATURES])
    env = DreamerEnv(WorldModelWrapper(transition, reward), (widths.state,), (widths.deter,))
    env.observation_spec = Composite(state=Unbounded(widths.state), belief=Unbounded(widths.deter))
    env.state_spec = env.observation_spec.clone()
    env.action_spec = OneHot(ACTIONS, dtype=torch.float32)
    env.reward_spec = Unbounded((1,))
    return env


def head(widths: Widths, outputs: int, layers: int = 3) -> DreamerV3MLP:
    """A head on the features."""
    return DreamerV3MLP(widths.feature, outputs, depth=layers, num_cells=widths.units)


def random_batch(widths: Widths) -> TensorDict:
    """Transitions with the latents that TorchRL keeps in its replay."""
    rng = np.random.default_rng(0)
    shape = (BATCH, LENGTH)
    flags = torch.zeros(*shape, 1, dtype=torch.bool)
    pixels = rng.integers(0, 256, (*shape, 3, IMAGE, IMAGE), dtype=np.uint8)
    actions = np.eye(ACTIONS, dtype=np.float32)[rng.integers(0, ACTIONS, shape)]
    following = {
        "pixels": torch.from_numpy(pixels),
        "reward": torch.from_numpy(rng.normal(size=(*shape, 1)).astype(np.float32)),
        "done": flags,
        "terminated": flags.clone(),
    }
    return TensorDict(
        {
            "state": torch.zeros(*shape, widths.state),
            "belief": torch.zeros(*shape, widths.deter),
            "action": torch.from_numpy(actions),
            "is_init": flags.clone(),
            "next": TensorDict(following, shape),
        },
        shape,
    )


if __name__ == "__main__":
    serve(build)
