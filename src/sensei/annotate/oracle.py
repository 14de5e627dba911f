"""Annotators that know the environment's own score: exact, or with controlled mistakes."""

from __future__ import annotations

import dataclasses
import hashlib

from scipy.special import expit

from sensei.annotate.annotator import AnnotatorConfig
from sensei.data.records import Answer, Choice, Frame
from sensei.types import UsageError


@dataclasses.dataclass(frozen=True)
class Oracle:
    """Compares ``score`` exactly."""

    tie_margin: float = 0.0
    """Scores that differ by no more than this are a tie."""
    prompt_hash: str = ""

    @property
    def name(self) -> str:
        """``oracle``, with its margin if there is one."""
        return f"oracle(tie_margin={self.tie_margin:g})" if self.tie_margin else "oracle"

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Prefer the frame of the higher score."""
        return Answer.of(self.choose(first, second))

    def choose(self, first: Frame, second: Frame) -> Choice:
        """Return the right answer."""
        gap = gap_of(first, second)
        if abs(gap) <= self.tie_margin:
            return "tie"
        return "second" if gap > 0 else "first"


def gap_of(first: Frame, second: Frame) -> float:
    """Return by how much the second frame's score is higher."""
    if first.score is None or second.score is None:
        raise UsageError(
            "these frames have no oracle score: choose --annotator vlm or --annotator human"
        )
    return second.score - first.score


@dataclasses.dataclass(frozen=True)
class NoisyOracle:
    """The oracle with mistakes of known rates, so that label quality can be swept without a key.

    The noise is a hash of (seed, the two frames, the order shown): the same question gets the same
    answer whatever the concurrency.
    """

    oracle: Oracle = dataclasses.field(default_factory=Oracle)
    flip_rate: float = 0.0
    difficulty: float = 0.0
    """The error of Bradley and Terry: a pair whose scores differ by g is answered wrongly with
    probability σ(−g / difficulty), so a half of the closest ones. In units of the score; 0 = no
    error of this kind."""
    position_bias: float = 0.0
    tie_rate: float = 0.0
    unknown_rate: float = 0.0
    seed: int = 0
    prompt_hash: str = ""

    @classmethod
    def of(cls, config: AnnotatorConfig) -> NoisyOracle:
        """Make the annotator that a configuration describes."""
        return cls(
            oracle=Oracle(config.tie_margin),
            flip_rate=config.flip_rate,
            difficulty=config.difficulty,
            position_bias=config.position_bias,
            tie_rate=config.tie_rate,
            unknown_rate=config.unknown_rate,
            seed=config.seed,
        )

    @property
    def name(self) -> str:
        """``noisy`` with its rates: other rates are another annotator, asked anew."""
        rates = {
            "flip": self.flip_rate,
            "difficulty": self.difficulty,
            "first": self.position_bias,
            "tie": self.tie_rate,
            "unknown": self.unknown_rate,
            "margin": self.oracle.tie_margin,
        }
        parts = [f"{key}={value:g}" for key, value in rates.items() if value]
        return f"noisy({','.join([*parts, f'seed={self.seed}'])})"

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Answer as the oracle would, unless the noise says otherwise."""
        unknown, tie, position, flip = _uniforms(f"{self.seed}", first, second)
        if unknown < self.unknown_rate:
            return Answer.of("unknown")
        if tie < self.tie_rate:
            return Answer.of("tie")
        if position < self.position_bias:
            return Answer.of("first")
        choice = self.oracle.choose(first, second)
        wrong = (flip < self.flip_rate) != self._confuses(first, second)
        if wrong and choice in ("first", "second"):
            choice = "second" if choice == "first" else "first"
        return Answer.of(choice)

    def _confuses(self, first: Frame, second: Frame) -> bool:
        """Whether the two are mistaken for each other because they are so close."""
        if not self.difficulty:
            return False
        chance = _uniforms(f"{self.seed},difficulty", first, second)[0]
        return bool(chance < expit(-abs(gap_of(first, second)) / self.difficulty))


def _uniforms(seed: str, first: Frame, second: Frame) -> tuple[float, float, float, float]:
    """Hash a question into four numbers in [0, 1), by the seed."""
    shown = ";".join(f"{f.stage},{f.env},{f.step}" for f in (first, second))
    digest = hashlib.sha256(f"{seed}|{shown}".encode()).digest()
    a, b, c, d = (int.from_bytes(digest[i : i + 8], "little") / 2**64 for i in (0, 8, 16, 24))
    return a, b, c, d
