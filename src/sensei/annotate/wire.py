"""What a wire is: how a comparison becomes a request body, and a reply body an answer.

The wires themselves are in ``wire_chat`` and ``wire_decisions``. Replies are read by their schema
only: prose is never searched for an answer.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from sensei.annotate.prompts import Prompt
from sensei.data.records import CHOICES, Choice, Frame

WireName = Literal["decisions", "systemone", "logprobs", "json"]
Json = dict[str, Any]

MEANINGS: dict[Choice, str] = {
    "first": "the first",
    "second": "the second",
    "tie": "both equally",
    "unknown": "what is shown does not let you tell",
}


class BadAnswerError(Exception):
    """A reply that is no answer; the message says what came instead."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that one request says."""

    model: str
    prompt: Prompt
    instructions: str
    """What the model is told: the prompt's text with its description filled in."""
    first: Frame
    second: Frame
    detail: str = "auto"
    """Image detail asked of the server; auto = say nothing."""

    @property
    def images(self) -> int:
        """Pictures in the request."""
        return 2 if self.prompt.images else 0


@dataclasses.dataclass(frozen=True)
class Reply:
    """What was understood of a reply."""

    choice: Choice
    p_second: float | None
    raw: str
    probabilities: Mapping[Choice, float] | None = None


@dataclasses.dataclass(frozen=True)
class Usage:
    """The tokens that a reply says it took."""

    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    """Those of ``tokens_in`` that the server had read before."""


@runtime_checkable
class Wire(Protocol):
    """One way of asking. ``body`` and ``read`` are pure."""

    @property
    def name(self) -> WireName:
        """What the configuration and the label store call it."""
        ...

    @property
    def path(self) -> str:
        """Where the body is posted, after the server's base URL."""
        ...

    def body(self, asked: Comparison) -> Json:
        """Compose the request."""
        ...

    def read(self, reply: Json) -> Reply:
        """Understand the reply.

        Raises:
            BadAnswerError: it is none.
        """
        ...


def data_url(picture: bytes) -> str:
    """Write a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def shown(asked: Comparison) -> list[tuple[str, bytes | None, str]]:
    """List the two sides as (ordinal, PNG or None, text or ''), as the prompt wants them."""
    return [
        (
            ordinal,
            frame.picture if asked.prompt.images else None,
            frame.text if asked.prompt.text else "",
        )
        for ordinal, frame in (("first", asked.first), ("second", asked.second))
    ]


def from_probabilities(odds: Mapping[str, object], raw: str) -> Reply:
    """Make the reply of a probability for each option.

    P(second) = (p_second + p_tie/2) / (p_first + p_second + p_tie): what is left to a tie is
    shared. Where ``unknown`` is the most likely option the answer is unknown.

    Raises:
        BadAnswerError: the probabilities are not numbers, or all of them are 0.
    """
    said: dict[Choice, float] = {c: _probability(odds.get(c, 0.0)) for c in CHOICES}
    choice = max(CHOICES, key=lambda c: said[c])
    decided = said["first"] + said["second"] + said["tie"]
    if said[choice] <= 0.0:
        raise BadAnswerError(f"no option has any probability: {dict(odds)!r}"[:200])
    if choice == "unknown":
        return Reply(choice, None, raw, said)
    return Reply(choice, (said["second"] + said["tie"] / 2) / decided, raw, said)


def _probability(value: object) -> float:
    if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0 + 1e-6:
        raise BadAnswerError(f"a probability is {value!r}")
    return float(value)


def usage_of(reply: Json) -> Usage | None:
    """Read what a reply took, by the names of the chat and of the decision APIs."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    return Usage(
        usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
        usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        details.get("cached_tokens") or 0 if isinstance(details, dict) else 0,
    )
