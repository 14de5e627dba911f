"""A vision-language model behind any server that speaks one of OpenAI's APIs, or System One."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

from sensei.annotate.annotator import OPENAI_MODEL, AnnotatorConfig, check_priced, prices_of
from sensei.annotate.client import Connection, Tally, is_busy, openai
from sensei.annotate.prompts import load_prompt
from sensei.annotate.wire import BadAnswerError, Comparison, Reply, Usage, Wire, usage_of
from sensei.annotate.wire_chat import JsonWire, LogprobsWire, describe_body, message_text
from sensei.annotate.wire_decisions import DecisionsWire, SystemOneWire
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer, FirstTurn, Frame
from sensei.types import SenseiError, UsageError

WIRES: tuple[Wire, ...] = (
    DecisionsWire(),
    SystemOneWire("images"),
    SystemOneWire("assets"),
    LogprobsWire(),
    JsonWire(),
)
"""The best first: all options' probabilities, then one letter's, then none."""

CHARGED_OUTPUT = ("logprobs", "json")
"""Wires whose output is charged for."""


@dataclasses.dataclass(frozen=True)
class _Result:
    """What one question over one wire came to: a reply, or an error."""

    reply: Reply | None
    usage: Usage
    error: Exception | None = None


class VisionModel:
    """Asks a model which of two moments is more interesting.

    ``compare`` returns failures of single requests (after the client's own retries) as failed
    answers, and raises SenseiError for what no further request can get past: the server cannot be
    reached, refuses the key, or does not know the model.
    """

    def __init__(self, config: AnnotatorConfig) -> None:
        """Load the prompt and, where no model is named, ask the server for its only one.

        Raises:
            UsageError: no server, key or model is given, or a budget in dollars without prices.
        """
        self.config = config
        self.prompt = load_prompt(config.prompt, config.goal, config.strip)
        self._connection = Connection(config)
        url = self._connection.url
        self.model = config.model or (self._only_model() if url else OPENAI_MODEL)
        self.prices = dataclasses.replace(prices_of(config), model=self.model)
        check_priced(config, self.prices)  # members of a mixture and second annotators, too
        wanted = [w for w in WIRES if config.wire in ("auto", w.name)]
        self._candidates = wanted
        self.wire: Wire | None = None if len(wanted) > 1 else wanted[0]
        """How questions are asked; None until the first one has shown what the server offers."""
        self._description = ""
        self._probe = asyncio.Lock()

    @property
    def name(self) -> str:
        """Model, prompt and wording: another wording is another annotator, asked anew."""
        return f"vlm:{self.model}/{self.prompt.name}-{self.prompt_hash[:8]}"

    @property
    def prompt_hash(self) -> str:
        """Identity of the prompt's wording."""
        return self.prompt.hash

    async def prepare(self, store: LabelStore, frame: Frame) -> None:
        """Ask the first turn of a general prompt about one frame, unless the store remembers it.

        Raises:
            SenseiError: it fails; without it no pair can be asked.
        """
        if not self.prompt.once:
            return
        key = (self.prompt_hash, self.model, self.prompt.environment)
        turn = store.ledger.first_turn(*key)
        if turn is None:
            store.ledger.remember_first_turn(await self._first_turn(key, frame))
            turn = store.ledger.first_turn(*key)
        assert turn is not None
        self._description = turn.answer

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Send one question about two frames as shown."""
        told = self.prompt.told(self._description)
        asked = Comparison(self.model, self.prompt, told, first, second, self.config.detail)
        tally, started = Tally(), time.perf_counter()
        async with self._probe:
            wire = self.wire
            if wire is None:
                wire, result = await self._negotiate(asked, tally)
                return self._answer(asked, wire, result, tally, started)
        return self._answer(asked, wire, await self._ask(asked, wire, tally), tally, started)

    async def aclose(self) -> None:
        """Close the connections; the next question opens new ones."""
        await self._connection.aclose()

    async def _negotiate(self, asked: Comparison, tally: Tally) -> tuple[Wire, _Result]:
        """Try the wires in order and keep the first that answers; all usage is the answer's."""
        usage, result, wire = Usage(), None, self._candidates[0]
        for wire in self._candidates:
            last = wire is self._candidates[-1]
            result = await self._ask(asked, wire, tally, settled=last)
            usage = _add(usage, result.usage)
            if is_busy(result.error):
                break  # which tells nothing; the next question tries again
            if result.error is None and isinstance(wire, SystemOneWire) and asked.images:
                check = await self._sees(asked, wire, result.usage, tally)
                usage = _add(usage, check.usage)
                result = dataclasses.replace(result, error=check.error)
            if result.error is None or last:
                self.wire = wire
                break
        assert result is not None
        return wire, dataclasses.replace(result, usage=usage)

    async def _sees(
        self, asked: Comparison, wire: SystemOneWire, seen: Usage, tally: Tally
    ) -> _Result:
        """Check by the tokens that the server took the pictures in."""
        blind = await self._ask(asked, dataclasses.replace(wire, blind=True), tally)
        if blind.error is None and not 0 < blind.usage.tokens_in < seen.tokens_in:
            error = BadAnswerError("the server answers without looking at the pictures")
            return dataclasses.replace(blind, error=error)
        return dataclasses.replace(blind, error=None)

    async def _ask(
        self, asked: Comparison, wire: Wire, tally: Tally, settled: bool = True
    ) -> _Result:
        """Send a question over one wire; with ``settled``, raise where nothing else can help."""
        usage = Usage()
        try:
            reply = await self._connection.post(wire.path, wire.body(asked), tally, settled)
            usage = usage_of(reply) or usage
            self._connection.limiter.took(usage.tokens_in + usage.tokens_out)
            return _Result(_offered(wire.read(reply), asked), usage)
        except (openai.OpenAIError, BadAnswerError) as error:
            lacking = not settled and isinstance(error, openai.NotFoundError)
            if not lacking and (reason := self._connection.hopeless(error, self.model)):
                raise reason from None
            return _Result(None, usage, error)

    def _answer(
        self, asked: Comparison, wire: Wire, result: _Result, tally: Tally, started: float
    ) -> Answer:
        usage, reply = result.usage, result.reply
        took: dict[str, Any] = {
            "tokens_in": usage.tokens_in,
            "tokens_out": usage.tokens_out,
            "money": self.prices.of(usage, wire.name in CHARGED_OUTPUT),
            "latency_s": time.perf_counter() - started,
            "wire": wire.name,
            "images": asked.images,
            "requests": tally.sent,
            "unaccounted": tally.unaccounted,
        }
        if reply is None or result.error is not None:
            error = result.error or BadAnswerError("no reply")
            return Answer.failed(self._connection.describe(error), **took)
        status = "unknown" if reply.p_second is None else "labelled"
        raw = self._connection.redact(reply.raw)
        took["probabilities"] = reply.probabilities
        return Answer(reply.p_second, status, reply.choice, raw, **took)

    async def _first_turn(self, key: tuple[str, str, str], frame: Frame) -> FirstTurn:
        tally = Tally()
        body = describe_body(self.model, self.prompt.once, frame.picture)
        try:
            reply = await self._connection.post(LogprobsWire.path, body, tally)
            text = self._connection.redact(message_text(reply))
        except (openai.OpenAIError, BadAnswerError) as error:
            raise self._connection.hopeless(error, self.model) or SenseiError(
                f"{self.model} did not describe the environment, which prompt {self.prompt.name} "
                f"begins with: {self._connection.describe(error)}"
            ) from None
        usage = usage_of(reply) or Usage()
        money = self.prices.of(usage)
        return FirstTurn(*key, text, usage.tokens_in, usage.tokens_out, money, tally.sent)

    def _only_model(self) -> str:
        url = self._connection.url
        try:
            models = self._connection.models()
        except (openai.OpenAIError, ValueError, AttributeError) as error:
            raise self._connection.hopeless(error, "?") or SenseiError(
                f"{url} did not list its models ({self._connection.describe(error)}): "
                "give --annotator.model"
            ) from None
        if len(models) != 1:
            listed = ", ".join(models[:5]) or "none"
            raise UsageError(
                f"annotator.model is not set and {url} serves {len(models)} models "
                f"({listed}): give --annotator.model"
            )
        return models[0]


def _offered(reply: Reply, asked: Comparison) -> Reply:
    """Refuse an answer that the prompt does not offer; not every server enforces a schema."""
    if reply.choice not in asked.prompt.options:
        options = ", ".join(asked.prompt.options)
        raise BadAnswerError(f"the answer is {reply.choice!r}, the prompt offers only {options}")
    return reply


def _add(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.tokens_in + other.tokens_in,
        one.tokens_out + other.tokens_out,
        one.cached + other.cached,
    )
