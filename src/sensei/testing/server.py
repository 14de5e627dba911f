"""A local HTTP server that speaks the OpenAI chat API and answers by a function of two pictures.

For tests of an annotation pipeline, with the faults that real servers have:

    with FakeVLM(brighter) as server:
        config = AnnotatorConfig(kind="vlm", base_url=server.base_url)
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from PIL import Image

Fault = Literal["429", "500", "malformed", "prose", "refusal", "slow", "drop"]
AnswerFunction = Callable[[Image.Image, Image.Image], "str | float"]
LETTERS = {"first": "A", "second": "B", "tie": "C", "unknown": "D"}


def brighter(first: Image.Image, second: Image.Image) -> str:
    """Prefer the picture whose upper left pixel is brighter: an answer function with a truth."""
    one, other = (image.convert("L").tobytes()[0] for image in (first, second))
    return "tie" if one == other else "second" if other > one else "first"


class FakeVLM:
    """A server on a free port of 127.0.0.1, up between ``with`` and its end."""

    def __init__(
        self,
        answer: AnswerFunction,
        *,
        fault: Callable[[int], Fault | None] = lambda number: None,
        logprobs: Literal["return", "ignore", "refuse"] = "return",
        delay_s: float = 0.0,
        retry_after_s: float = 1.0,
        slow_s: float = 5.0,
        key: str | None = None,
        models: tuple[str, ...] = ("fake-vlm",),
        fixed_temperature: bool = False,
    ) -> None:
        """Describe the server.

        Args:
            answer: from the two decoded pictures to first, second, tie, unknown or P(second).
            fault: from the request's number, counted from 0, to a fault, or None.
            logprobs: whether the server returns them, ignores the wish, or answers 400.
            delay_s: seconds each request takes.
            retry_after_s: the header's value in a 429.
            slow_s: seconds a "slow" request takes.
            key: wanted in the Authorization header; None = any.
            models: what /v1/models lists.
            fixed_temperature: answer 400 where a temperature is given, as reasoning models do.
        """
        self.answer, self.fault, self.logprobs = answer, fault, logprobs
        self.delay_s, self.retry_after_s, self.slow_s = delay_s, retry_after_s, slow_s
        self.key, self.models, self.fixed_temperature = key, models, fixed_temperature
        self.requests = 0
        """Comparisons asked for, faults included."""
        self.in_flight = 0
        self.peak = 0
        """The most comparisons in flight at once."""
        self.saw_authorization = False
        """Whether any request had the header; its value is not kept."""
        self.texts: list[str] = []
        """The text parts of the latest request."""
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """What to give as ``annotator.base_url``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeVLM:
        """Start serving."""
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begin(self) -> int:
        """Count a request; return its number."""
        with self.lock:
            self.requests += 1
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            return self.requests - 1

    def end(self) -> None:
        """Count the end of a request."""
        with self.lock:
            self.in_flight -= 1

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a chat completion request."""
        parts = body["messages"][-1]["content"]
        self.texts = [part["text"] for part in parts if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        first, second = map(_decode, urls)
        said = self.answer(first, second)
        p_second = {"first": 0.0, "second": 1.0}.get(said, 0.5) if isinstance(said, str) else said
        choice = said if isinstance(said, str) else ("second" if said > 0.5 else "first")
        if body.get("logprobs"):
            logprobs = _logprobs(choice, p_second) if self.logprobs == "return" else None
            return _completion(LETTERS[choice], body, logprobs)
        return _completion(json.dumps({"answer": choice}), body, None)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeVLM

    def do_GET(self) -> None:
        models = [{"id": name, "object": "model"} for name in self.fake.models]
        self._reply(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = self.fake.begin()
        try:
            self._chat(body, self.fake.fault(number))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client did not wait
        finally:
            self.fake.end()

    def _chat(self, body: dict[str, Any], fault: Fault | None) -> None:
        header = self.headers.get("Authorization", "")
        self.fake.saw_authorization |= bool(header)
        time.sleep(self.fake.slow_s if fault == "slow" else self.fake.delay_s)
        if self.fake.key is not None and header != f"Bearer {self.fake.key}":
            return self._error(401, f"wrong key: {header.removeprefix('Bearer ')}")
        if body["model"] not in self.fake.models:
            return self._error(404, f"no model {body['model']}")
        if self.fake.fixed_temperature and "temperature" in body:
            return self._error(400, "temperature: only the default value is supported")
        if body.get("logprobs") and self.fake.logprobs == "refuse":
            return self._error(400, "logprobs are not supported by this model")
        self._faulty(fault) if fault not in (None, "slow") else self._reply(
            200, self.fake.complete(body)
        )

    def _faulty(self, fault: Fault | None) -> None:
        if fault == "429":
            self._error(429, "slow down", {"Retry-After": f"{self.fake.retry_after_s:g}"})
        elif fault == "500":
            self._error(500, "something broke")
        elif fault == "malformed":
            self._send(200, b'{"choices": [{"mess', {})
        elif fault == "prose":
            self._reply(200, _completion("I would say the first image.", {"model": "x"}, None))
        elif fault == "refusal":
            reply = _completion("", {"model": "x"}, None)
            reply["choices"][0]["message"] |= {"content": None, "refusal": "I cannot help."}
            self._reply(200, reply)
        elif fault == "drop":
            self.close_connection = True

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        error = {"error": {"message": message, "type": "fake", "param": None, "code": None}}
        self._send(status, json.dumps(error).encode(), headers or {})

    def _reply(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode(), {})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


def _decode(url: str) -> Image.Image:
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"), validate=True)
    return Image.open(io.BytesIO(data))


def _logprobs(choice: str, p_second: float) -> dict[str, Any]:
    odds = {"A": 1.0 - p_second, "B": p_second}
    if choice in ("tie", "unknown"):
        odds = {LETTERS[choice]: 1.0}
    top = [
        {"token": letter, "logprob": math.log(max(p, 1e-9)), "bytes": None}
        for letter, p in odds.items()
    ]
    return {"content": [top[0] | {"top_logprobs": top}], "refusal": None}


def _completion(text: str, body: dict[str, Any], logprobs: dict[str, Any] | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": 500, "completion_tokens": 5, "total_tokens": 505},
    }
