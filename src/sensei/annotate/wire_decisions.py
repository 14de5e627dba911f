"""Two wires made for decisions: a probability for every option, no text generated or parsed."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Literal

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

NAME = "comparison"
"""Of the one question in a request."""


class DecisionsWire:
    """OpenAI's ``/v1/decisions``, which SGLang, LiteLLM and others speak as well."""

    name: WireName = "decisions"
    path = "/decisions"

    def body(self, asked: Comparison) -> Json:
        """Compose an input of instructions and both sides, and one question about it."""
        parts: list[Json] = [_text(asked.instructions)]
        for ordinal, picture, text in shown(asked):
            if picture is not None:
                image = {"type": "input_image", "image_url": data_url(picture)}
                image |= {} if asked.detail == "auto" else {"detail": asked.detail}
                parts += [_text(f"The {ordinal} image:"), image]
            if text:
                parts.append(_text(f"Text that belongs to the {ordinal} one:\n{text}"))
        question = {
            "type": "choice",
            "name": NAME,
            "instructions": asked.prompt.question,
            "choices": [{"value": c, "description": MEANINGS[c]} for c in asked.prompt.options],
        }
        message = {"type": "message", "role": "user", "content": parts}
        return {"model": asked.model, "input": [message], "questions": [question]}

    def read(self, reply: Json) -> Reply:
        """Read the probabilities of the one answer."""
        try:
            answer = reply["answers"][0]
            if answer["type"] == "refusal":
                raise BadAnswerError("the model refused to answer")
            odds = {option["value"]: option["probability"] for option in answer["probabilities"]}
        except (KeyError, IndexError, TypeError):
            raise BadAnswerError(f"the reply is no decision: {str(reply)[:200]!r}") from None
        return from_probabilities(odds, json.dumps(odds))


@dataclasses.dataclass(frozen=True)
class SystemOneWire:
    """``/v1/systemone``: transformers serve, vLLM, llama.cpp, SGLang and hosted decision models.

    Servers differ in how pictures travel: as ``assets`` put where their placeholder stands
    (transformers serve), or as a list of ``images`` that precede the text (vLLM, SGLang). Some
    accept a field that they do not know and answer without having seen anything, therefore
    ``blind`` makes the same request without pictures, which must take fewer tokens.
    """

    pictures: Literal["images", "assets"]
    blind: bool = False
    name: WireName = "systemone"
    path: str = "/systemone"

    def body(self, asked: Comparison) -> Json:
        """Compose a state and one question about it."""
        state = {"instructions": asked.instructions} | {
            ordinal: self._placeholder(ordinal, picture) | ({"text": text} if text else {})
            for ordinal, picture, text in shown(asked)
        }
        question = {
            "type": "choice",
            "instructions": asked.prompt.question,
            "criteria": {choice: MEANINGS[choice] for choice in asked.prompt.options},
        }
        body: Json = {"model": asked.model, "state": state, "questions": {NAME: question}}
        pictures = {o: picture for o, picture, _ in shown(asked) if picture is not None}
        if self.blind or not pictures:
            return body
        if self.pictures == "images":
            return body | {"images": [data_url(picture) for picture in pictures.values()]}
        return body | {"assets": {f"<{o}-image>": _asset(p) for o, p in pictures.items()}}

    def _placeholder(self, ordinal: str, picture: bytes | None) -> dict[str, str]:
        if picture is None:
            return {}
        which = f"the {ordinal} image" if self.pictures == "images" else f"<{ordinal}-image>"
        return {"image": which}

    def read(self, reply: Json) -> Reply:
        """Read the probabilities of the one answer."""
        try:
            odds = dict(reply["answers"][NAME]["probabilities"])
        except (KeyError, TypeError, ValueError):
            raise BadAnswerError(f"the reply is no decision: {str(reply)[:200]!r}") from None
        return from_probabilities(odds, json.dumps(odds))


def _text(text: str) -> Json:
    return {"type": "input_text", "text": text}


def _asset(picture: bytes) -> Json:
    return {
        "type": "image",
        "format": "png",
        "data_base64": base64.b64encode(picture).decode(),
    }
