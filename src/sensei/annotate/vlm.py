"""A vision-language model behind any server that speaks the OpenAI chat API."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from typing import Any

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.prompts import load_prompt
from sensei.annotate.wire import (
    OPTIONS,
    BadAnswerError,
    messages,
    parse_json,
    parse_logprobs,
)
from sensei.data.records import Answer, Choice, Frame
from sensei.types import SenseiError, UsageError

try:
    import openai
    from openai.types.chat import ChatCompletion
except ImportError as error:
    raise UsageError(
        "--annotator vlm needs the extra `vlm`: pip install 'sensei-rl[vlm]'"
    ) from error

OPENAI_MODEL = "gpt-4o-mini"
_BUSY = (openai.RateLimitError, openai.APITimeoutError)
"""Errors that say nothing of what a server can do."""


@dataclasses.dataclass(frozen=True)
class _Reply:
    """What was understood of a reply."""

    choice: Choice
    p_second: float | None
    raw: str


class VisionModel:
    """Asks a model which of two pictures is more interesting.

    ``compare`` returns failures of single requests (after the client's own retries) as failed
    answers, and raises SenseiError for what no further request can get past: the server cannot be
    reached, refuses the key, or does not know the model.
    """

    def __init__(self, config: AnnotatorConfig) -> None:
        """Load the prompt and, where no model is named, ask the server for its only one."""
        self.config = config
        self.prompt = load_prompt(config.prompt, config.goal)
        self._key = os.environ.get(config.api_key_env, "")
        self._url = config.base_url or os.environ.get("OPENAI_BASE_URL") or None
        if not self._key and self._url is None:
            raise UsageError(
                f"annotator vlm needs a server or a key: give --annotator.base-url, or set the "
                f"environment variable {config.api_key_env}"
            )
        self.model = config.model or (self._only_model() if self._url else OPENAI_MODEL)
        self._wire = config.wire
        self._dropped: set[str] = set()  # optional parameters that this model refuses
        self._probe = asyncio.Lock()
        self._client: openai.AsyncOpenAI | None = None

    @property
    def name(self) -> str:
        """Model, prompt and wording: another wording is another annotator, asked anew."""
        return f"vlm:{self.model}/{self.prompt.name}-{self.prompt_hash[:8]}"

    @property
    def prompt_hash(self) -> str:
        """Identity of the prompt's wording."""
        return self.prompt.hash

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Send one question about two frames as shown."""
        if self._wire != "auto":
            return await self._ask(first, second, self._wire)
        async with self._probe:
            if self._wire == "auto":  # the question before this one may have settled it
                answer = await self._ask(first, second, "logprobs")
                if answer.status != "failed":
                    self._wire = "logprobs"
                if self._wire == "auto" or answer.status != "failed":
                    return answer
        return await self._ask(first, second, self._wire)

    async def aclose(self) -> None:
        """Close the connections; the next question opens new ones."""
        if self._client is not None:
            await self._client.close()
        self._client = None

    async def _ask(self, first: Frame, second: Frame, wire: str) -> Answer:
        started = time.perf_counter()
        cost: dict[str, Any] = {}
        try:
            response = await self._send(first, second, wire)
            cost = self._cost(response)
            reply = _understand(response, wire)
        except (openai.OpenAIError, BadAnswerError, ValueError) as error:
            self._raise_if_hopeless(error)
            if self._wire == "auto" and not isinstance(error, _BUSY):
                self._wire = "json"  # this was the probe, and the server has no logprobs
            cost["latency_s"] = time.perf_counter() - started
            return Answer.failed(self._safe(error), **cost)
        cost["latency_s"] = time.perf_counter() - started
        status = "unknown" if reply.p_second is None else "labelled"
        return Answer(reply.p_second, status, reply.choice, self._redact(reply.raw), **cost)

    async def _send(self, first: Frame, second: Frame, wire: str) -> ChatCompletion:
        """Send, once more without ``temperature`` if that is what the model refuses."""
        options = {"temperature": 0.0} | OPTIONS[wire]
        request: dict[str, Any] = {
            "model": self.model,
            "messages": messages(self.prompt, first, second, wire, self.config.detail),
        }
        request |= {k: v for k, v in options.items() if k not in self._dropped}
        create: Any = self._connected().chat.completions.create
        try:
            return await create(**request)
        except openai.BadRequestError as error:
            if "temperature" not in request or "temperature" not in str(error):
                raise
            self._dropped.add("temperature")  # reasoning models accept only their default
            del request["temperature"]
            return await create(**request)

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._client = openai.AsyncOpenAI(**self._client_options())
        return self._client

    def _client_options(self) -> dict[str, Any]:
        return {
            "api_key": self._key or "none",  # own servers need no key, the client wants some text
            "base_url": self._url,
            "timeout": self.config.timeout_s,
            "max_retries": self.config.retries,
        }

    def _only_model(self) -> str:
        try:
            with openai.OpenAI(**self._client_options()) as client:
                models = [model.id for model in client.models.list()]
        except (openai.OpenAIError, ValueError, AttributeError) as error:
            self._raise_if_hopeless(error)
            raise SenseiError(
                f"{self._url} did not list its models ({self._safe(error)}): give --annotator.model"
            ) from None
        if len(models) != 1:
            listed = ", ".join(models[:5]) or "none"
            raise UsageError(
                f"annotator.model is not set and {self._url} serves {len(models)} models "
                f"({listed}): give --annotator.model"
            )
        return models[0]

    def _cost(self, response: ChatCompletion) -> dict[str, Any]:
        usage = getattr(response, "usage", None)
        tokens_in = getattr(usage, "prompt_tokens", None) or 0
        tokens_out = getattr(usage, "completion_tokens", None) or 0
        price_in, price_out = self.config.price_in, self.config.price_out
        money = None
        if price_in is not None and price_out is not None:
            money = (tokens_in * price_in + tokens_out * price_out) / 1e6
        return {"tokens_in": tokens_in, "tokens_out": tokens_out, "money": money}

    def _raise_if_hopeless(self, error: Exception) -> None:
        """Raise what would fail the same way for every further question."""
        where = self._url or "api.openai.com"
        if isinstance(error, openai.APITimeoutError):
            return
        message = None
        if isinstance(error, openai.APIConnectionError):
            message = "cannot be reached: start the server, or correct --annotator.base-url"
        elif isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            message = f"refuses the key (HTTP {error.status_code}): set {self.config.api_key_env}"
        elif isinstance(error, openai.NotFoundError):
            model = getattr(self, "model", "") or "?"
            message = f"does not know the model {model} (HTTP 404): give --annotator.model"
        elif isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
            message = "says that the account has no credit left: add some, then run again"
        if message is not None:
            raise SenseiError(f"the annotator's server {where} {message}") from None

    def _safe(self, error: Exception) -> str:
        """Describe an error in one line that cannot contain the key."""
        return self._redact(" ".join(f"{type(error).__name__}: {error}".split()))[:500]

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _understand(response: Any, wire: str) -> _Reply:
    """Read a reply by the schema of its wire."""
    if not isinstance(response, ChatCompletion) or not response.choices:
        raise BadAnswerError(f"the reply is no chat completion: {str(response)[:200]!r}")
    choice = response.choices[0]
    if getattr(choice.message, "refusal", None):
        raise BadAnswerError(f"the model refused: {choice.message.refusal!r}")
    if wire == "json":
        answer, p_second = parse_json(choice.message.content)
        return _Reply(answer, p_second, choice.message.content or "")
    if choice.logprobs is None or not choice.logprobs.content:
        raise BadAnswerError("the server returns no logprobs: use --annotator.wire json")
    first = choice.logprobs.content[0]
    top = {token.token: token.logprob for token in first.top_logprobs}
    return _Reply(*parse_logprobs(top or {first.token: first.logprob}))
