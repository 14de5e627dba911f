"""Requests and replies of the four wires, as the local server of the tests sees them."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from typing import Any

LETTERS = {"first": "A", "second": "B", "tie": "C", "unknown": "D"}
Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the server understood of a request."""

    pictures: list[bytes]
    """PNGs, in the order shown."""
    texts: list[str]
    wire: str
    """decisions, systemone, logprobs, json, or text for a chat that wants neither."""


def understand(route: str, body: Json, picture_field: str) -> Asked:
    """Read a request.

    Args:
        route: the path's last word.
        body: the request.
        picture_field: "images" or "assets", the one that this System One server looks at.
    """
    if route == "decisions":
        parts = body["input"][0]["content"]
        urls = [part["image_url"] for part in parts if part["type"] == "input_image"]
        texts = [part["text"] for part in parts if part["type"] == "input_text"]
        return Asked([*map(_decode, urls)], texts, "decisions")
    if route == "systemone":
        found = body.get(picture_field) or []
        values = [a["data_base64"] for a in found.values()] if isinstance(found, dict) else found
        return Asked([*map(_decode, values)], [json.dumps(body["state"])], "systemone")
    parts = body["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    wire = "logprobs" if body.get("logprobs") else "json" if "response_format" in body else "text"
    return Asked([*map(_decode, urls)], texts, wire)


def _decode(url: str) -> bytes:
    return base64.b64decode(url.removeprefix("data:image/png;base64,"), validate=True)


def options(said: str | float) -> dict[str, float]:
    """Turn an answer, or P(second), into the probability of each option; nonsense is kept."""
    if isinstance(said, str):
        return {option: float(option == said) for option in {**LETTERS, said: ""}}
    return {"first": 1.0 - said, "second": said, "tie": 0.0, "unknown": 0.0}


def answer(asked: Asked, body: Json, odds: dict[str, float], tokens: int) -> Json:
    """Compose the reply of a wire."""
    choice = max(odds, key=lambda option: odds[option])
    if asked.wire == "decisions":
        said = [{"value": option, "probability": p} for option, p in odds.items()]
        result = {"type": "choice", "name": body["questions"][0].get("name"), "choice": choice}
        return _decision(
            body, [result | {"confidence": odds[choice], "probabilities": said}], tokens
        )
    if asked.wire == "systemone":
        result = {"type": "choice", "choice": choice, "confidence": odds[choice]}
        answers = {name: result | {"probabilities": odds} for name in body["questions"]}
        usage = {"input_tokens": tokens, "output_tokens": 0}
        return {"model": body["model"], "answers": answers, "usage": usage}
    if asked.wire == "logprobs":
        return completion(LETTERS.get(choice, choice), body, tokens, _logprobs(choice, odds))
    return completion(json.dumps({"answer": choice}), body, tokens)


def refusal(asked: Asked, body: Json, tokens: int) -> Json:
    """Compose the refusal of a wire."""
    if asked.wire == "decisions":
        return _decision(body, [{"type": "refusal", "name": None}], tokens)
    if asked.wire == "systemone":
        usage = {"input_tokens": tokens, "output_tokens": 0}
        return {"model": body["model"], "answers": {}, "usage": usage}
    reply = completion("", body, tokens)
    reply["choices"][0]["message"] |= {"content": None, "refusal": "I cannot help."}
    return reply


def completion(text: str, body: Json, tokens: int, logprobs: Json | None = None) -> Json:
    """Compose a chat completion that took ``tokens`` and 5 more for its text."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5},
    }


def _decision(body: Json, answers: list[Json], tokens: int) -> Json:
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    return {"answers": answers, "model": body["model"], "usage": usage}


def _logprobs(choice: str, odds: dict[str, float]) -> Json:
    top = [
        {"token": LETTERS.get(option, option), "logprob": math.log(max(p, 1e-9)), "bytes": None}
        for option, p in odds.items()
    ]
    first = next(entry for entry in top if entry["token"] == LETTERS.get(choice, choice))
    return {"content": [first | {"top_logprobs": top}], "refusal": None}


def used(reply: Json) -> int:
    """Count the tokens that a reply says it took."""
    usage = reply["usage"]
    return usage.get("total_tokens", usage.get("input_tokens", 0))
