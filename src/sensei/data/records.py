"""What the label store holds, as plain values: frames, pairs, questions and answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

Order = Literal["forward", "swapped"]
"""How a pair was shown: its first frame first, or its second frame first."""
Status = Literal["labelled", "unknown", "failed"]
Choice = Literal["first", "second", "tie", "unknown"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
Split = Literal["train", "val"]


@dataclasses.dataclass(frozen=True)
class Frame:
    """One moment that an annotator may be shown, with what the agent saw at that moment."""

    stage: str
    generation: int
    env: int
    episode: int
    step: int
    """Index of the row in its stream, as in the episode store of the same stage."""
    picture: bytes
    """PNG of the annotator's view."""
    obs: bytes | None = None
    """PNG of the agent's own image, lossless; None where the agent sees no image."""
    vector: tuple[float, ...] = ()
    text: str = ""
    score: float | None = None
    """Privileged interestingness, None where the environment has no oracle."""
    id: int = 0
    """Row in the label store; 0 until stored."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two stored frames, with the generation and the sampler that drew them."""

    first: int
    second: int
    generation: int = 0
    sampler: str = "uniform"
    id: int = 0


@dataclasses.dataclass(frozen=True)
class Query:
    """One question to an annotator: a pair, shown in an order, for the ``repeat``-th time."""

    pair: int
    first: int
    second: int
    """Frame ids of the pair's own first and second, whatever the order shown."""
    order: Order = "forward"
    repeat: int = 0

    @property
    def shown(self) -> tuple[int, int]:
        """The frame ids in the order in which they are shown."""
        if self.order == "forward":
            return self.first, self.second
        return self.second, self.first


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an annotator said of two frames *as shown*."""

    p_second: float | None
    """Probability that the frame shown second is the better one; None unless labelled."""
    status: Status
    choice: Choice | None = None
    raw: str = ""
    """The answer as it came, for provenance."""
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = 0.0
    """Dollars; None when the price is not known."""
    latency_s: float = 0.0
    error: str | None = None
    wire: str = ""
    """How it was asked: decisions, systemone, logprobs or json; empty without a wire."""
    probabilities: Mapping[Choice, float] | None = None
    """Probability of each option *as shown*, where the wire gives them."""
    images: int = 0
    """Pictures sent with one request."""
    requests: int = 0
    """Requests that this answer took, retries included."""
    unaccounted: int = 0
    """Those of them that may have been charged without saying how much: no reply, or a cut one."""

    @classmethod
    def of(cls, choice: Choice, **details) -> Answer:
        """Make the answer of a bare choice: p_second is 0, 1, ½ for a tie, None for unknown."""
        p_second = {"first": 0.0, "second": 1.0, "tie": 0.5, "unknown": None}[choice]
        status = "unknown" if choice == "unknown" else "labelled"
        return cls(p_second=p_second, status=status, choice=choice, **details)

    @classmethod
    def failed(cls, error: str, **details) -> Answer:
        """Make the record of a failed request, which never becomes a label."""
        return cls(p_second=None, status="failed", error=error, **details)


@dataclasses.dataclass(frozen=True)
class FirstTurn:
    """What a model said of an environment when first shown it, asked once and reused."""

    prompt_hash: str
    model: str
    env: str
    answer: str
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = 0.0
    """Dollars; None when the price is not known."""
    requests: int = 1


@dataclasses.dataclass(frozen=True)
class Spending:
    """What the answers of a label set took."""

    requests: int
    unaccounted: int
    """Requests that may have been charged without the reply that says how much."""
    in_flight: int
    """Questions being asked at this moment, by any process."""
    tokens_in: int
    tokens_out: int
    money: float
    """Dollars, as far as prices are known."""
    dearest: float
    """The most that one answer has cost: what an unaccounted request is assumed to cost."""
    dearest_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.tokens_in + self.tokens_out
