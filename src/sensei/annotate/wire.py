"""What is sent to a chat model and what may come back: two formats, parsed by schema only."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from sensei.annotate.prompts import Prompt
from sensei.data.records import Answer, Choice, Frame

CHOICES: tuple[Choice, ...] = ("first", "second", "tie", "unknown")
LETTERS: dict[str, Choice] = {"A": "first", "B": "second", "C": "tie", "D": "unknown"}
MIN_MASS = 0.5
"""Probability that must lie on the four letters for them to be an answer."""

QUESTIONS = {
    "json": "Which image is more interesting? Reply with the JSON object "
    '{"answer": "first"}, {"answer": "second"}, {"answer": "tie"} or {"answer": "unknown"}.',
    "logprobs": "Which image is more interesting? Reply with one letter only: "
    "A for first, B for second, C for tie, D for unknown.",
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "comparison",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(CHOICES)}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    },
}
OPTIONS: dict[str, dict[str, Any]] = {
    "json": {"response_format": SCHEMA},
    "logprobs": {"logprobs": True, "top_logprobs": 20, "max_tokens": 1},
}


class BadAnswerError(Exception):
    """A reply that is no answer; the message says what came instead."""


def messages(
    prompt: Prompt, first: Frame, second: Frame, wire: str, detail: str
) -> list[dict[str, Any]]:
    """Compose one user message: instructions, both pictures, the question.

    What never changes comes first, so that a server can reuse its work on it; one message without
    a system role is what every chat template accepts.
    """
    parts: list[dict[str, Any]] = [_text(prompt.body)]
    for ordinal, frame in (("first", first), ("second", second)):
        parts.append(_text(f"The {ordinal} image:"))
        url = "data:image/png;base64," + base64.b64encode(frame.picture).decode()
        image = {"url": url} if detail == "auto" else {"url": url, "detail": detail}
        parts.append({"type": "image_url", "image_url": image})
        if frame.text:
            parts.append(_text(f"Text that belongs to the {ordinal} image:\n{frame.text}"))
    parts.append(_text(QUESTIONS[wire]))
    return [{"role": "user", "content": parts}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def parse_json(content: str | None) -> tuple[Choice, float | None]:
    """Read ``{"answer": …}``: the choice and its P(second).

    Raises:
        BadAnswerError: it is anything else; prose is never searched for an answer.
    """
    try:
        value = json.loads(content or "")
    except ValueError:
        raise BadAnswerError(f"the answer is not JSON: {(content or '')[:200]!r}") from None
    choice = value.get("answer") if isinstance(value, dict) else None
    if choice not in CHOICES:
        raise BadAnswerError(f"the answer does not fit the schema: {(content or '')[:200]!r}")
    return choice, Answer.of(choice).p_second


def parse_logprobs(top: Mapping[str, float]) -> tuple[Choice, float | None, str]:
    """Read the log-probabilities of the first token: choice, P(second), and the odds as JSON.

    P(second) = (p_B + p_C/2) / (p_A + p_B + p_C): what the model leaves to a tie is shared. Where
    D is the most likely letter the answer is unknown.

    Raises:
        BadAnswerError: less than half of the probability is on the letters.
    """
    odds = dict.fromkeys(LETTERS, 0.0)
    for token, logprob in top.items():
        letter = token.strip(" \n\t.\u2581\u0120")  # with the word marks of two tokenizers
        if letter in odds:
            odds[letter] += math.exp(logprob)
    raw = json.dumps({letter: round(p, 6) for letter, p in odds.items()})
    if sum(odds.values()) < MIN_MASS:
        likely = max(top, key=lambda token: top[token], default="")
        raise BadAnswerError(f"the model began with {likely!r}, not with a letter A to D")
    choice = LETTERS[max(odds, key=lambda letter: odds[letter])]
    if choice == "unknown":
        return choice, None, raw
    decided = odds["A"] + odds["B"] + odds["C"]
    return choice, (odds["B"] + odds["C"] / 2) / decided, raw
