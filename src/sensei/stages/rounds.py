"""Labels in rounds: each doubles their number, and what R_ψ has learned decides how to go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from sensei.annotate.annotator import Annotator, AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.run import AnnotateSummary, annotate
from sensei.core.reward_model import RewardModel
from sensei.data.label_store import LabelStore
from sensei.data.pairs import Doubt, draw
from sensei.fields import with_dotted
from sensei.presets import RunConfig
from sensei.run import checkpoint
from sensei.run.files import read_json, write_json
from sensei.run.progress import Progress
from sensei.run.workspace import Workspace
from sensei.stages.config import AnnotateConfig
from sensei.stages.distill import (
    LabelledFrames,
    accuracy_of,
    differences,
    fit,
    frame_logits,
    labelled_rows,
    load_frames,
)
from sensei.stages.setups import blank_reward_model

ROUNDS = 5
"""Rounds where something is learned between them: the first asks a sixteenth of the pairs."""
ENSEMBLE = {"distill.members": 5}
"""How R_ψ between two rounds may differ from the final one: there must be members to disagree."""
DECIDED = 100
"""Fewest decided validation labels on which a gain is believed."""


@dataclasses.dataclass(frozen=True)
class Round:
    """What R_ψ had learned when so many pairs had been asked."""

    pairs: int
    """Pairs of this generation."""
    accuracy: float
    """Share of the decided validation labels so far that R_ψ orders as they say."""
    gain: float | None
    """By how much R_ψ of the round before is worse on the same labels; None in the first."""
    decided: int
    """Number of these labels."""


def round_sizes(config: AnnotateConfig) -> list[int]:
    """List how many pairs have been asked by the end of each round."""
    rounds = config.rounds or (ROUNDS if config.learns_between else 1)
    return sorted({-(-config.pairs // 2**back) for back in range(rounds)})


class Rounds:
    """The rounds of one annotate stage. All that is decided is on disk, so a killed stage goes on
    as if it had not been killed."""

    def __init__(
        self, config: RunConfig, workspace: Workspace, store: LabelStore, source: str
    ) -> None:
        """``source`` is the stage whose frames are paired."""
        self.config, self.workspace, self.store, self.source = config, workspace, store, source
        self.path = workspace.here / "rounds.json"
        self.past: list[Round] = []
        if self.path.exists():
            self.past = [Round(**entry) for entry in read_json(self.path)["rounds"]]
        self.pairs = 0
        """Pairs of this and earlier generations that were to be asked; more may have been drawn."""
        self.stopped = ""
        """Empty, or why not all pairs were asked."""
        self._frames: LabelledFrames | None = None

    def ask(self, who: AnnotatorConfig) -> list[AnnotateSummary]:
        """Draw pairs and ask about them, round after round; return what each round did."""
        sizes, left, done = round_sizes(self.config.annotate), who.max_pairs, []
        doubt: Doubt | None = None
        for size in sizes:
            self._draw(size, doubt)
            annotator = build_annotator(who)  # anew: asking has closed its connections
            answered = len(self.store.labels(annotator.name))
            done.append(self._annotate(annotator, dataclasses.replace(who, max_pairs=left), size))
            if left is not None:
                left -= min(left, len(self.store.labels(annotator.name)) - answered)
            if done[-1].stopped or left == 0 or size == sizes[-1]:
                break
            if self._drawn() > size or not self._anything_from(annotator.name):
                continue  # an earlier attempt has decided here, or there is nothing to learn from
            data = self._labelled(annotator.name)
            model = self._learn(size, data)
            if self._is_enough(size):
                break
            doubt = doubt_of(model, data.obs, data.ids)
        return done

    def _drawn(self) -> int:
        return sum(p.generation == self.workspace.generation for p in self.store.pairs())

    def _draw(self, size: int, doubt: Doubt | None) -> None:
        """Draw what is missing of this generation's first ``size`` pairs."""
        generation, have = self.workspace.generation, self._drawn()
        if have >= size:
            return
        rng = np.random.default_rng([self.config.seed, 2, generation, have])
        sampler = self.config.annotate.sampler
        drawn = draw(self.store, sampler, size - have, rng, self.source, generation, doubt)
        if drawn.message:
            self.workspace.say(f"annotate: {drawn.message}")

    def _annotate(self, annotator: Annotator, who: AnnotatorConfig, size: int) -> AnnotateSummary:
        every = self.store.pairs()
        own = [pair.id for pair in every if pair.generation == self.workspace.generation]
        last = own[:size][-1] if own else self.store.last_pair()
        self.pairs = sum(pair.id <= last for pair in every)
        self.workspace.say(f"annotate: {annotator.name} labels {self.pairs:,} pairs")
        with Progress("annotate", self.pairs, "pairs") as progress:
            return annotate(
                self.store,
                annotator,
                who,
                lambda done, _, shown: progress.update(done, **shown),
                lambda estimate: self.workspace.say(f"annotate: {estimate}"),
                last=last,
            )

    def _anything_from(self, annotator: str) -> bool:
        labels = self.store.labels(annotator)
        return bool(((labels.status == "labelled") & (labels.split == "train")).any())

    def _labelled(self, annotator: str) -> LabelledFrames:
        """Return all labels so far; their frames are read once."""
        self._frames = self._frames or load_frames(self.store, [annotator])
        labels = labelled_rows(self.store, self._frames.ids, [annotator])
        return dataclasses.replace(self._frames, labels=labels)

    def _learn(self, size: int, data: LabelledFrames) -> RewardModel:
        """Return R_ψ of all labels so far, trained now or by an earlier attempt."""
        config = with_dotted(self.config, ENSEMBLE)
        blank = blank_reward_model(config, data.spec)
        before = None
        if self.past:
            before, _ = checkpoint.load(self._weights(self.past[-1].pairs), blank)
            if self.past[-1].pairs == size:
                return before
        label = f"annotate: R_ψ of {size:,} pairs"
        with Progress(label, config.distill.epochs, "epochs") as progress:
            model, _ = fit(blank, data, config, progress)
        checkpoint.save(self._weights(size), model)
        accuracy, decided = validation_accuracy(model, data)
        gain = None if before is None else accuracy - validation_accuracy(before, data)[0]
        self.past.append(Round(size, accuracy, gain, decided))
        write_json(self.path, {"rounds": [dataclasses.asdict(entry) for entry in self.past]})
        return model

    def _weights(self, size: int) -> Path:
        return self.workspace.here / f"round-{size}.safetensors"

    def _is_enough(self, size: int) -> bool:
        """Say what the round has shown, and whether the next one would be worth its labels."""
        last, least = self.past[-1], self.config.annotate.stop_gain
        known = f"R_ψ orders {last.accuracy:.1%} of {last.decided} validation labels"
        if last.gain is not None:
            known += f", {100 * last.gain:+.1f} points by the last doubling"
        self.workspace.say(f"annotate: after {size:,} pairs {known}")
        if least is None or last.gain is None or last.decided < DECIDED or last.gain >= least:
            return False
        saved = self.config.annotate.pairs - size
        self.stopped = (
            f"{known}, less than annotate.stop_gain {least:g}: "
            f"{saved:,} of {self.config.annotate.pairs:,} pairs are saved"
        )
        self.workspace.say(f"annotate: stopped early: {self.stopped}")
        return True


def validation_accuracy(model: RewardModel, data: LabelledFrames) -> tuple[float, int]:
    """Return the share of decided validation labels that R_ψ orders right, and their number."""
    pairs = data.validation()
    y = np.asarray(pairs.y)
    obs = {name: jnp.asarray(value) for name, value in data.obs.items()}
    _, difference = differences(model, obs, pairs)
    return accuracy_of(difference, y), int(np.sum(y != 0.5))


def doubt_of(model: RewardModel, obs: dict[str, np.ndarray], ids: np.ndarray) -> Doubt:
    """Score pairs by the standard deviation over the members of P(second preferred).

    ``obs`` are the observations of the frames ``ids``, which are sorted.
    """
    logits = np.asarray(frame_logits(model, obs))

    def doubt(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        one, two = (logits[:, np.searchsorted(ids, side)] for side in (first, second))
        return expit(two - one).std(axis=0)

    return doubt


def together(rounds: Sequence[AnnotateSummary]) -> AnnotateSummary:
    """Add up what the rounds did; what is open is what the last one left open."""
    last = rounds[-1]
    prices = [r.money for r in rounds if r.money is not None]
    return dataclasses.replace(
        last,
        asked=sum(r.asked for r in rounds),
        labelled=sum(r.labelled for r in rounds),
        unknown=sum(r.unknown for r in rounds),
        failed=last.failed,
        tokens=sum(r.tokens for r in rounds),
        money=sum(prices) if len(prices) == len(rounds) else None,
        requests=sum(r.requests for r in rounds),
        unaccounted=sum(r.unaccounted for r in rounds),
        seconds=sum(r.seconds for r in rounds),
    )
