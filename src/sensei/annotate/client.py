"""A connection to a server that speaks OpenAI's APIs: sent, retried, limited, counted.

Everything goes through the official client, which brings keys, time-outs, retries with Retry-After,
proxies and typed errors. Bodies are posted as plain JSON instead of by the client's typed methods:
so the four wires share one path, and servers that are only similar are not refused for a missing
field. The tests hold the bodies against the client's types.
"""

from __future__ import annotations

import contextvars
import dataclasses
import os
from typing import Any

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.attempts import sent_again
from sensei.annotate.limits import Limiter
from sensei.annotate.wire import BadAnswerError, Json
from sensei.types import SenseiError, UsageError

try:
    import httpx2
    import openai
except ImportError as error:
    raise UsageError(
        "--annotator vlm needs the extra `vlm`: pip install 'sensei-rl[vlm]'"
    ) from error

PROBE_RETRIES = 2
"""How often a request is retried that only finds out what the server offers."""


@dataclasses.dataclass
class Tally:
    """What became of the requests of one question."""

    sent: int = 0
    refused: int = 0
    """Answered by an error status, which nobody charges for."""
    read: int = 0
    """Answered by a body that could be read."""

    @property
    def unaccounted(self) -> int:
        """Requests that may have been charged without saying how much."""
        return max(0, self.sent - self.refused - self.read)


_TALLY: contextvars.ContextVar[Tally] = contextvars.ContextVar("tally")


class Connection:
    """Posts bodies and returns parsed replies; knows the key and lets it out nowhere else."""

    def __init__(self, config: AnnotatorConfig) -> None:
        """Find the server and the key.

        Raises:
            UsageError: there is neither.
        """
        self.config = config
        self.url = config.base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._key = os.environ.get(config.api_key_env, "")
        if not self._key and self.url is None:
            raise UsageError(
                f"annotator vlm needs a server or a key: give --annotator.base-url, or set the "
                f"environment variable {config.api_key_env}"
            )
        self.limiter = Limiter(config.requests_per_minute, config.tokens_per_minute)
        self._client: openai.AsyncOpenAI | None = None
        self._fixed_temperature = False  # as reasoning models have

    async def post(self, path: str, body: Json, tally: Tally, patient: bool = True) -> Json:
        """Send one question, with retries, and return the reply as parsed JSON.

        Args:
            path: where to, after the server's base URL.
            body: what is sent.
            tally: counts what becomes of the requests.
            patient: False = with few retries.

        Raises:
            openai.OpenAIError: the last failure, after all retries.
            BadAnswerError: the body is no JSON object.
        """
        if self._fixed_temperature:
            body.pop("temperature", None)
        _TALLY.set(tally)
        try:
            retries = self.config.retries if patient else min(PROBE_RETRIES, self.config.retries)
            reply = await self._connected().post(
                path, cast_to=object, body=body, options={"max_retries": retries}
            )
        except openai.BadRequestError as error:
            if "temperature" not in body or "temperature" not in str(error):
                raise
            self._fixed_temperature = True
            return await self.post(path, body, tally, patient)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout)):
                tally.sent -= 1  # it never went out
            raise
        except ValueError as error:
            raise BadAnswerError(f"the reply is not JSON: {error}") from error
        if not isinstance(reply, dict):
            raise BadAnswerError(f"the reply is no JSON object: {str(reply)[:200]!r}")
        tally.read += 1
        return reply

    async def aclose(self) -> None:
        """Close the connections; the next question opens new ones."""
        if self._client is not None:
            await self._client.close()
        self._client = None

    def models(self) -> list[str]:
        """Ask which models are served.

        Raises:
            openai.OpenAIError, ValueError, AttributeError: it cannot be reached or does not say.
        """
        with openai.OpenAI(**self._options()) as client:
            return [model.id for model in client.models.list()]

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            places = self.config.concurrency
            transport = openai.DefaultAsyncHttpxClient(
                limits=httpx2.Limits(max_connections=places, max_keepalive_connections=places),
                event_hooks={"request": [self._sending], "response": [self._received]},
            )
            self._client = openai.AsyncOpenAI(http_client=transport, **self._options())
        return self._client

    def _options(self) -> dict[str, Any]:
        return {
            "api_key": self._key or "none",  # own servers need no key, the client wants some text
            "base_url": self.url,
            "timeout": self.config.timeout_s,
            "max_retries": self.config.retries,
        }

    async def _sending(self, request: httpx2.Request) -> None:
        await self.limiter.wait()
        tally = _TALLY.get()
        if tally.sent:
            sent_again.get()()
        tally.sent += 1

    async def _received(self, response: httpx2.Response) -> None:
        if response.status_code < 400:
            return
        _TALLY.get().refused += 1
        if response.status_code == 501:  # not implemented: the client would try all of them again
            response.headers["x-should-retry"] = "false"
        if response.status_code == 429:
            self.limiter.refused(_seconds(response.headers.get("Retry-After", "")))

    def hopeless(self, error: Exception, model: str) -> SenseiError | None:
        """Return what to raise where every further question would fail in the same way."""
        where = self.url or "api.openai.com"
        if isinstance(error, openai.APITimeoutError):
            return None
        message = None
        if isinstance(error, openai.APIConnectionError):
            message = "cannot be reached: start the server, or correct --annotator.base-url"
        elif isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            message = f"refuses the key (HTTP {error.status_code}): set {self.config.api_key_env}"
        elif isinstance(error, openai.NotFoundError):
            message = f"does not know the model {model} (HTTP 404): give --annotator.model"
        elif isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
            message = "says that the account has no credit left: add some, then run again"
        return SenseiError(f"the annotator's server {where} {message}") if message else None

    def describe(self, error: Exception) -> str:
        """Describe an error in one line that cannot contain the key."""
        return self.redact(" ".join(f"{type(error).__name__}: {error}".split()))[:500]

    def redact(self, text: str) -> str:
        """Remove the key from what a server said."""
        return text.replace(self._key, "***") if self._key else text


def is_busy(error: Exception | None) -> bool:
    """Say whether an error says nothing of what the server can do."""
    if isinstance(error, openai.InternalServerError):
        return error.status_code != 501  # not implemented
    return isinstance(error, (openai.RateLimitError, openai.APITimeoutError))


def _seconds(header: str) -> float:
    """Read a Retry-After in seconds; 0 for a date, which the client alone then honours."""
    try:
        return max(0.0, float(header))
    except ValueError:
        return 0.0
