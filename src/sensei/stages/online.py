"""Questions while exploring: a few pairs of exploration's own label frames, every so many steps.

R_ψ chooses them by its doubt and goes on learning from the answers. A round works in a thread,
beside the loop, on what was there when it began, and its R_ψ comes into use when the next round is
due, however early it is ready: so a run depends on what the annotator says and not on how fast.
All that is bought is in the label store and all that is learned in one file a round: a killed run
asks nothing twice, and goes on as if it had not been killed.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sensei.annotate.annotator import Annotator, resolve
from sensei.annotate.budget import Budget
from sensei.annotate.build import build_annotator
from sensei.annotate.run import annotate
from sensei.core.reward_model import RewardModel
from sensei.data.label_store import LabelStore
from sensei.data.label_tables import FrameTable
from sensei.data.pairs import draw
from sensei.presets import RunConfig
from sensei.run import checkpoint
from sensei.run.workspace import Workspace
from sensei.stages.distill import (
    LabelledFrames,
    annotators,
    finish,
    fit,
    observations,
    with_rows,
)
from sensei.stages.rounds import doubt_of, validation_accuracy
from sensei.types import SenseiError

REHEARSED = 4
"""Earlier labels that are learned again with each new one, so that R_ψ does not forget them."""
BASIS = 2_048
"""Frames of earlier stages on which R_ψ is standardised, every time the same."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """A round of questions, as a checkpoint names it."""

    number: int = 0
    """Environment steps so far in units of ``explore.online_every``."""
    cursor: int = 0
    """It is about label frames of rows before this one."""
    after: int = 0
    """Its pairs have ids beyond this one."""
    asks: bool = False
    """Whether anything is asked in it."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What had been bought and learned by the end of a round."""

    turn: int
    annotator: str = ""
    """Who was asked; empty where nobody could be."""
    labels: int = 0
    """Labels about this exploration's own frames so far."""
    accuracy: float | None = None
    """Share of those of them that validate which R_ψ orders as they say; None without any."""
    accuracy_before: float | None = None
    """The same of the R_ψ before this round, by the same labels."""
    decided: int = 0
    """How many these are."""
    money: float = 0.0
    """Dollars spent on the whole label set so far, as far as prices are known."""
    tokens: int = 0
    stopped: str = ""
    """Empty, or why not everything was asked or learned."""


class Online:
    """A ``sensei.run.relabel.Relabel`` for the running explore stage."""

    def __init__(
        self, config: RunConfig, workspace: Workspace, distilled: RewardModel, has_oracle: bool
    ) -> None:
        """``distilled`` is R_ψ before the first round.

        Raises:
            UsageError: nobody can be asked about this environment.
        """
        self.config, self.workspace, self.distilled = config, workspace, distilled
        who = resolve(config.annotator, has_oracle, config.env.name)
        # That limit is the annotate stage's; here online_pairs says how many.
        self.who = dataclasses.replace(who, max_pairs=None)
        self.key, self.generation = workspace.key, workspace.generation
        self.folder = workspace.here / "online"
        self.earlier = annotators(workspace)
        self.every = config.explore.online_every
        self.planned = Turn()
        self._thread = ThreadPoolExecutor(1)
        self._round: Future[None] | None = None

    def close(self) -> None:
        """Wait for the round that is going on; it ends with its files whole."""
        if self._round is not None and not self._round.done():
            self.workspace.say(f"{self.key}: waiting for the answers to the last questions")
        self._thread.shutdown()

    def due(self, env_steps: int) -> bool:
        """Whether the next round is to begin."""
        return env_steps // self.every > self.planned.number

    def take(self) -> tuple[RewardModel, dict[str, float]]:
        """Wait for the round that is going on; return R_ψ and the numbers of the round."""
        if self._round is None:
            return self._model(self.planned.number), {}
        self._round.result()
        self._round = None
        lesson = dataclasses.asdict(self._lesson(self._path(self.planned.number)))
        names = ("labels", "accuracy", "accuracy_before", "money", "tokens")
        shown = {name: float(lesson[name]) for name in names if lesson[name] is not None}
        return self._model(self.planned.number), shown

    def plan(self, env_steps: int, cursor: int) -> None:
        """Decide on the next round."""
        number = env_steps // self.every
        with LabelStore(self.workspace.labels) as store:
            after = store.last_pair()
        asks = number <= self.config.explore.online_rounds
        self.planned = Turn(number, cursor, after, asks)

    def begin(self) -> None:
        """Ask and learn in the thread, as far as an earlier attempt has not."""
        if self.planned.asks:
            model = self._model(self.planned.number - 1)
            self._round = self._thread.submit(self._work, self.planned, model)

    def state(self) -> dict[str, Any]:
        """Return the plan."""
        return dataclasses.asdict(self.planned)

    def restore(self, state: dict[str, Any]) -> RewardModel:
        """Take the plan back; forget rounds after it, which will come again."""
        self.planned = Turn(**state)
        for path in self._paths():
            if _number(path) > self.planned.number:
                path.unlink()
        return self._model(self.planned.number - self.planned.asks)

    def summary(self) -> dict[str, Any]:
        """Return what every round has bought and learned, JSON-able."""
        lessons = [self._lesson(path) for path in self._paths()]
        asked = list(dict.fromkeys(lesson.annotator for lesson in lessons if lesson.annotator))
        rounds = [dataclasses.asdict(lesson) for lesson in lessons]
        return {"every": self.every, "annotators": asked, "rounds": rounds}

    def _work(self, turn: Turn, model: RewardModel) -> None:
        """Do one round; whatever keeps it from asking or learning is told of and leaves R_ψ."""
        if checkpoint.exists(self._path(turn.number)):
            return
        with LabelStore(self.workspace.labels) as store:
            try:
                model, lesson = self._learn(store, turn, model)
            except SenseiError as error:
                lesson = Lesson(turn.number, stopped=str(error))
            labels = store.labels()
            own = np.isin(labels.first, store.frame_table(self.key).id)
            bought = int((own & (labels.status == "labelled")).sum())
            spent = store.ledger.spending()
        lesson = dataclasses.replace(lesson, labels=bought, money=spent.money, tokens=spent.tokens)
        if lesson.stopped:
            self.workspace.say(f"{self.key}: questions of round {turn.number}: {lesson.stopped}")
        checkpoint.save(self._path(turn.number), model, dataclasses.asdict(lesson))

    def _learn(
        self, store: LabelStore, turn: Turn, model: RewardModel
    ) -> tuple[RewardModel, Lesson]:
        own = store.frame_table(self.key, turn.cursor)
        annotator = build_annotator(self.who)  # anew: asking closes its connections
        if store.last_pair() == turn.after:
            self._draw(store, turn, model, own)
        asked = annotate(store, annotator, self.who, after=turn.after)
        data, mine = self._labelled(store, annotator, turn, own)
        learned, _ = fit(model, data, self.config)
        learned, _ = finish(learned, data, np.isin(data.ids, self._basis(store)))
        mine_alone = dataclasses.replace(data, labels=data.labels.select(mine))
        lesson = Lesson(turn.number, annotator=annotator.name, stopped=asked.stopped)
        if not len(mine_alone.pairs("val").y):
            return learned, lesson
        before, _ = validation_accuracy(model, mine_alone)
        accuracy, decided = validation_accuracy(learned, mine_alone)
        return learned, dataclasses.replace(
            lesson, accuracy=accuracy, accuracy_before=before, decided=decided
        )

    def _draw(self, store: LabelStore, turn: Turn, model: RewardModel, own: FrameTable) -> None:
        """Draw the round's pairs, unless there is nothing left to pay for answers."""
        refused = Budget(store, self.who.budget, self.who.token_budget).refuses(0)
        if refused:
            raise SenseiError(f"nothing is asked: {refused}")
        if not len(own):
            raise SenseiError("nothing is asked: no label frame was kept yet")
        obs = observations(store.frames(own.id, pictures=False))
        doubt = doubt_of(model, obs, own.id)
        rng = np.random.default_rng([self.config.seed, 3, self.generation, turn.number])
        n, cursor = self.config.explore.online_pairs, turn.cursor
        drawn = draw(store, "uncertain", n, rng, self.key, self.generation, doubt, cursor)
        if not drawn.ids:
            raise SenseiError(f"nothing is asked: {drawn.message}")

    def _labelled(
        self, store: LabelStore, annotator: Annotator, turn: Turn, own: FrameTable
    ) -> tuple[LabelledFrames, np.ndarray]:
        """Return all labels about our own frames with a share of the earlier ones, and which of
        them are our own."""
        labels = store.labels(*self.earlier, annotator.name)
        labels = labels.select(labels.status == "labelled")
        mine = np.isin(labels.first, own.id)
        if not (mine & (labels.split == "train")).any():
            raise SenseiError("nothing is learned: no pair of the training side was labelled")
        earlier = np.flatnonzero(~mine)
        rng = np.random.default_rng([self.config.seed, 4, self.generation, turn.number])
        kept = mine.copy()
        kept[rng.choice(earlier, min(len(earlier), REHEARSED * mine.sum()), replace=False)] = True
        labels = labels.select(kept)
        ids = np.unique(np.concatenate([labels.first, labels.second, self._basis(store)]))
        obs = observations(store.frames(ids, pictures=False))
        return LabelledFrames(obs, ids, with_rows(labels, ids)), mine[kept]

    def _basis(self, store: LabelStore) -> np.ndarray:
        table = store.frame_table()
        earlier = table.id[table.stage != self.key]
        return earlier[:: max(1, len(earlier) // BASIS)]

    def _model(self, number: int) -> RewardModel:
        """Return R_ψ as the rounds up to ``number`` have left it."""
        done = [path for path in self._paths() if _number(path) <= number]
        return checkpoint.load(done[-1], self.distilled)[0] if done else self.distilled

    def _lesson(self, path: Path) -> Lesson:
        return Lesson(**checkpoint.read_meta(path))

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}.safetensors"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("round-*.safetensors"))


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("round-"))
