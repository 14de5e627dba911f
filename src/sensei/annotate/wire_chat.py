"""Two wires over the chat API: a letter with its log-probabilities, and JSON by a schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sensei.annotate.wire import (
    MEANINGS,
    BadAnswerError,
    Comparison,
    Json,
    Reply,
    WireName,
    data_url,
    from_probabilities,
    shown,
)
from sensei.data.records import CHOICES, Answer, Choice

LETTERS: dict[str, Choice] = {"A": "first", "B": "second", "C": "tie", "D": "unknown"}
MIN_MASS = 0.5
"""Probability that must lie on the letters for them to be an answer."""


class LogprobsWire:
    """One letter, and how likely each would have been."""

    name: WireName = "logprobs"
    path = "/chat/completions"

    def body(self, asked: Comparison) -> Json:
        """Compose a chat of one token with its log-probabilities."""
        options = asked.prompt.options
        letters = ", ".join(f"{x} for {MEANINGS[c]}" for x, c in LETTERS.items() if c in options)
        question = f"{asked.prompt.question} Reply with one letter only: {letters}."
        return _chat(asked, question) | {"logprobs": True, "top_logprobs": 20, "max_tokens": 1}

    def read(self, reply: Json) -> Reply:
        """Read the first token's most likely values."""
        choice = _first_choice(reply)
        tokens = (choice.get("logprobs") or {}).get("content")
        if not tokens:
            raise BadAnswerError("the server returns no logprobs: use --annotator.wire json")
        top = tokens[0].get("top_logprobs") or tokens[:1]
        return parse_logprobs({token["token"]: token["logprob"] for token in top})


class JsonWire:
    """``{"answer": …}`` by a schema that the server enforces: no probabilities."""

    name: WireName = "json"
    path = "/chat/completions"

    def body(self, asked: Comparison) -> Json:
        """Compose a chat whose answer fits a schema."""
        options = asked.prompt.options
        objects = " or ".join(json.dumps({"answer": option}) for option in options)
        question = f"{asked.prompt.question} Reply with the JSON object {objects}."
        return _chat(asked, question) | {"response_format": _schema(options)}

    def read(self, reply: Json) -> Reply:
        """Read the message by the schema."""
        return parse_json(_first_choice(reply)["message"].get("content"))


def _chat(asked: Comparison, question: str) -> Json:
    """Compose one user message: instructions, both sides, the question.

    What never changes comes first, so that a server can reuse its work on it; one message without
    a system role is what every chat template accepts.
    """
    parts = [_text(asked.instructions)]
    for ordinal, picture, text in shown(asked):
        if picture is not None:
            image = {"url": data_url(picture)}
            image |= {} if asked.detail == "auto" else {"detail": asked.detail}
            parts += [_text(f"The {ordinal} image:"), {"type": "image_url", "image_url": image}]
        if text:
            what = "image" if picture is not None else "moment"
            parts.append(_text(f"Text that belongs to the {ordinal} {what}:\n{text}"))
    messages = [{"role": "user", "content": [*parts, _text(question)]}]
    return {"model": asked.model, "temperature": 0.0, "messages": messages}


def describe_body(model: str, question: str, picture: bytes) -> Json:
    """Compose a chat that asks for a text about one picture."""
    parts = [_text(question), {"type": "image_url", "image_url": {"url": data_url(picture)}}]
    return {
        "model": model,
        "temperature": 0.0,
        "messages": [{"role": "user", "content": parts}],
    }


def message_text(reply: Json) -> str:
    """Return the text of a chat reply.

    Raises:
        BadAnswerError: it is none, or empty.
    """
    text = _first_choice(reply)["message"].get("content")
    if not isinstance(text, str) or not text.strip():
        raise BadAnswerError("the reply is empty")
    return text.strip()


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _schema(options: Sequence[Choice]) -> Json:
    answer = {"type": "string", "enum": list(options)}
    schema = {
        "type": "object",
        "properties": {"answer": answer},
        "required": ["answer"],
        "additionalProperties": False,
    }
    named = {"name": "comparison", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def _first_choice(reply: Json) -> dict[str, Any]:
    try:
        choice = reply["choices"][0]
        refusal = choice["message"].get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise BadAnswerError(f"the reply is no chat completion: {str(reply)[:200]!r}") from None
    if refusal:
        raise BadAnswerError(f"the model refused: {refusal!r}")
    return choice


def parse_json(content: str | None) -> Reply:
    """Read ``{"answer": …}``.

    Raises:
        BadAnswerError: it is anything else.
    """
    try:
        value = json.loads(content or "")
    except ValueError:
        raise BadAnswerError(f"the answer is not JSON: {(content or '')[:200]!r}") from None
    choice = value.get("answer") if isinstance(value, dict) else None
    if choice not in CHOICES:
        raise BadAnswerError(f"the answer does not fit the schema: {(content or '')[:200]!r}")
    return Reply(choice, Answer.of(choice).p_second, content or "")


def parse_logprobs(top: Mapping[str, float]) -> Reply:
    """Read the log-probabilities of the first token.

    Raises:
        BadAnswerError: less than half of the probability is on the letters.
    """
    odds: dict[str, float] = dict.fromkeys(CHOICES, 0.0)
    for token, logprob in top.items():
        letter = token.strip(" \n\t.\u2581\u0120")  # with the word marks of two tokenizers
        if letter in LETTERS:
            odds[LETTERS[letter]] += math.exp(logprob)
    if sum(odds.values()) < MIN_MASS:
        likely = max(top, key=lambda token: top[token], default="")
        raise BadAnswerError(f"the model began with {likely!r}, not with a letter A to D")
    raw = json.dumps({token: round(math.exp(logprob), 6) for token, logprob in top.items()})
    return from_probabilities(odds, raw)
