"""Stage 3, distill: labels → the reward model R_ψ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize_scalar

from sensei.annotate.quality import quality
from sensei.core import distillation as core
from sensei.core.distillation import Preferences
from sensei.core.reward_model import RewardModel
from sensei.data.images import decode_png
from sensei.data.label_store import LabelStore
from sensei.data.label_tables import LabelSet
from sensei.data.records import Frame
from sensei.presets import RunConfig
from sensei.run import checkpoint
from sensei.run.progress import Progress
from sensei.run.stage_record import stage_key
from sensei.run.workspace import Workspace, write_json
from sensei.stages.config import DistillConfig
from sensei.stages.setups import blank_reward_model
from sensei.types import ObsSpec, SenseiError

CHUNK = 512
"""Frames or pairs evaluated at once outside training."""

EPOCH_BATCHES = 50
"""Fewest updates of an epoch: few pairs are repeated, so that few labels are not trained less."""


@dataclasses.dataclass(frozen=True)
class LabelledFrames:
    """Everything R_ψ learns from, in memory: label frames at the agent's own resolution."""

    obs: dict[str, np.ndarray]
    ids: np.ndarray
    """The frames' ids in the store, ascending."""
    labels: LabelSet
    """Labelled pairs; ``first`` and ``second`` are row numbers of ``obs``."""

    @property
    def spec(self) -> ObsSpec:
        """What the frames show, so that labels alone, without their environment, are enough."""
        image, vector = self.obs.get("image"), self.obs.get("vector")
        entries = 0 if vector is None else vector.shape[1]
        return ObsSpec(
            image=None if image is None else image.shape[1:],
            vector=tuple(str(entry) for entry in range(entries)),
        )

    def pairs(self, split: str) -> Preferences:
        """The preferences of one side of the split."""
        chosen = self.labels.select(self.labels.split == split)
        return Preferences(*(jnp.asarray(x) for x in (chosen.first, chosen.second, chosen.y)))

    def validation(self) -> Preferences:
        """The validation pairs, or the training pairs where there are too few episodes for any."""
        val = self.pairs("val")
        return val if len(val.y) else self.pairs("train")


def run(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Train R_ψ on all labels so far and save it; return its measures."""
    with LabelStore(workspace.labels) as store:
        data = load_frames(store, annotators(workspace))
        _warn(store, workspace)
    with Progress("distill", config.distill.epochs, "epochs") as progress:
        model, curve = fit(blank_reward_model(config, data.spec), data, config, progress)
    model, measures = finish(model, data)
    summary = measures | {"members": config.distill.members, "curve": curve}
    checkpoint.save(workspace.here / "reward.safetensors", model)
    write_json(workspace.here / "reward.json", summary)
    workspace.say(
        f"distill: R_ψ agrees with {100 * measures['validation_accuracy']:.1f} % of the "
        f"{measures['validation_pairs']} validation labels"
    )
    return summary


def annotators(workspace: Workspace) -> list[str]:
    """Who labelled, by the annotate stages of this and every earlier generation.

    Answers that another annotator gave before a stage was redone stay in the store, unused.
    """
    keys = [stage_key("annotate", n) for n in range(1, workspace.generation + 1)]
    return sorted({workspace.summary(key)["annotator"] for key in keys})


def _warn(store: LabelStore, workspace: Workspace) -> None:
    for name in annotators(workspace):
        measured = quality(store, name)
        if not measured.informative:
            workspace.say(f"distill: warning, about the labels of {name}: {measured.verdict}")


def load_frames(store: LabelStore, annotators: Sequence[str] = ()) -> LabelledFrames:
    """Read every frame and the labelled pairs of these annotators, or of everyone."""
    ids = store.frame_table().id
    obs = observations(store.frames(ids, pictures=False))
    return LabelledFrames(obs, ids, labelled_rows(store, ids, annotators))


def observations(frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    """Stack what the agent saw on these frames."""
    obs: dict[str, np.ndarray] = {}
    if frames and frames[0].obs is not None:
        obs["image"] = np.stack([decode_png(f.obs) for f in frames if f.obs is not None])
    if frames and frames[0].vector:
        obs["vector"] = np.array([f.vector for f in frames], np.float32)
    return obs


def labelled_rows(store: LabelStore, ids: np.ndarray, annotators: Sequence[str] = ()) -> LabelSet:
    """Read the labelled pairs, their frames as row numbers of ``ids``, which are sorted."""
    labels = store.labels(*annotators)
    labels = labels.select(labels.status == "labelled")
    if not len(labels):
        raise SenseiError("there are no labels to distill: run sensei annotate first")
    return with_rows(labels, ids)


def with_rows(labels: LabelSet, ids: np.ndarray) -> LabelSet:
    """Turn the frames of the pairs from ids into row numbers of ``ids``, which are sorted."""
    first, second = (np.searchsorted(ids, side) for side in (labels.first, labels.second))
    return dataclasses.replace(labels, first=first, second=second)


def fit(
    model: RewardModel, data: LabelledFrames, config: RunConfig, progress: Progress | None = None
) -> tuple[RewardModel, list[dict[str, float]]]:
    """Train until the validation loss stops falling; keep its best epoch and return the curve."""
    distill = config.distill
    train, val = data.pairs("train"), data.validation()
    if not len(train.y):
        raise SenseiError("no labelled pair is on the training side: collect more episodes")
    obs = {name: jnp.asarray(value) for name, value in data.obs.items()}
    batch = min(distill.batch, len(train.y))
    copies = max(1, -(-EPOCH_BATCHES * batch // len(train.y)))
    repeated = Preferences(*(jnp.tile(x, copies) for x in train))
    rates = (distill.learning_rate, distill.weight_decay)
    state = core.optimiser(*rates).init(_parameters(model))
    best, best_loss, curve = model, np.inf, []
    for epoch in range(distill.epochs):
        key = jax.random.fold_in(jax.random.key(config.seed, impl="rbg"), epoch)
        model, state, loss = core.train_epoch(model, state, obs, repeated, batch, rates, key=key)
        val_loss, accuracy = _validate(model, obs, val)
        curve.append({"train_loss": float(loss), "loss": val_loss, "accuracy": accuracy})
        if progress is not None:
            progress.update(epoch + 1, validation_loss=val_loss, accuracy=accuracy)
        if val_loss < best_loss:
            best, best_loss = model, val_loss
        if _stale(curve, distill):
            break
    return best, curve


def _parameters(model: RewardModel):
    return eqx.filter(model, eqx.is_inexact_array)


def _stale(curve: list[dict[str, float]], distill: DistillConfig) -> bool:
    best = int(np.argmin([point["loss"] for point in curve]))
    return len(curve) - 1 - best >= distill.patience


def _validate(model: RewardModel, obs: dict, pairs: Preferences) -> tuple[float, float]:
    loss, difference = differences(model, obs, pairs)
    return float(loss.mean()), accuracy_of(difference, np.asarray(pairs.y))


def differences(model: RewardModel, obs: dict, pairs: Preferences) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for at in range(0, len(pairs.y), CHUNK):
        chunk = Preferences(*(x[at : at + CHUNK] for x in pairs))
        parts.append([np.asarray(x) for x in core.differences(model, obs, chunk)])
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def frame_logits(model: RewardModel, obs: dict[str, np.ndarray]) -> Float[Array, "e M"]:
    """Raw logits of every member for every frame."""
    frames = len(next(iter(obs.values())))
    parts = [
        core.frame_logits(model, {k: jnp.asarray(v[at : at + CHUNK]) for k, v in obs.items()})
        for at in range(0, frames, CHUNK)
    ]
    return jnp.concatenate(parts, axis=1)


def accuracy_of(difference: np.ndarray, y: np.ndarray) -> float:
    """Share of the decided pairs (not ties) whose order R_ψ gets right."""
    decided = y != 0.5
    return float(np.mean((difference > 0)[decided] == (y > 0.5)[decided])) if decided.any() else 0.5


def finish(
    model: RewardModel, data: LabelledFrames, basis: np.ndarray | slice = slice(None)
) -> tuple[RewardModel, dict[str, Any]]:
    """Standardise on the rows ``basis`` of the label frames, by default all, calibrate on the
    validation pairs, and measure."""
    logits = frame_logits(model, data.obs)
    model = core.standardise(model, logits[:, basis])
    standard = np.asarray((logits - model.offset[:, None]) / model.scale[:, None])
    reward = standard.mean(0)
    val = data.validation()
    index = [np.asarray(x) for x in (val.first, val.second)]
    difference, y = reward[index[1]] - reward[index[0]], np.asarray(val.y)
    temperature = calibrate(difference, y)
    model = eqx.tree_at(lambda m: m.temperature, model, jnp.asarray(temperature, jnp.float32))
    has_val = len(data.pairs("val").y) > 0
    labels = data.labels.select(data.labels.split == "val") if has_val else data.labels
    known = labels.true_order >= 0
    measures = {
        "validation_accuracy": accuracy_of(difference, y),
        "true_order_accuracy": accuracy_of(difference[known], labels.true_order[known] * 1.0)
        if known.any()
        else None,
        "validation_pairs": len(y),
        "training_pairs": len(data.pairs("train").y),
        "frames": len(data.ids),
        "temperature": temperature,
        "range_5_95": np.quantile(reward, [0.05, 0.95]).tolist(),
        "member_spread": float(standard.std(0).mean()),
    }
    return model, measures


def calibrate(difference: np.ndarray, y: np.ndarray) -> float:
    """The temperature T that minimises the loss of σ(difference / T) on validation pairs."""

    def loss(log_temperature: float) -> float:
        z = difference / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, z) - y * z))

    best: Any = minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded")
    return float(np.exp(best.x))
