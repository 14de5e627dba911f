"""A local HTTP server that speaks four APIs and answers by a function of two pictures.

For tests of an annotation pipeline, with the faults that real servers have:

    with FakeVLM(brighter) as server:
        config = AnnotatorConfig(kind="vlm", base_url=server.base_url)

It keeps its own accounts of what it answered and what that cost, to be held against a label store.
"""

from __future__ import annotations

import collections
import io
import json
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from PIL import Image

from sensei.testing import replies

Fault = Literal["429", "500", "malformed", "prose", "letters", "refusal", "slow", "drop", "cut"]
AnswerFunction = Callable[[Image.Image, Image.Image], "str | float"]
API = Literal["decisions", "systemone", "chat"]


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
        offers: tuple[API, ...] = ("chat",),
        pictures: Literal["images", "assets", "ignored"] = "assets",
        logprobs: Literal["return", "ignore", "refuse"] = "return",
        describes: str = "A grey square.",
        tokens_in: int = 500,
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
            offers: the APIs served; the others answer 404.
            pictures: the field in which the System One API takes pictures: with "assets" another
                field is an error, as in transformers serve; with "images" it is ignored, as in
                vLLM; "ignored" looks at none.
            logprobs: whether the server returns them, ignores the wish, or answers 400.
            describes: what it says of a single picture.
            tokens_in: tokens of two pictures and their text.
            delay_s: seconds each request takes.
            retry_after_s: the header's value in a 429.
            slow_s: seconds a "slow" request takes.
            key: wanted in the Authorization header; None = any.
            models: what /v1/models lists.
            fixed_temperature: answer 400 where a temperature is given, as reasoning models do.
        """
        self.answer, self.fault, self.offers, self.pictures = answer, fault, offers, pictures
        self.logprobs, self.describes, self.tokens_in = logprobs, describes, tokens_in
        self.delay_s, self.retry_after_s, self.slow_s = delay_s, retry_after_s, slow_s
        self.key, self.models, self.fixed_temperature = key, models, fixed_temperature
        self.requests = 0
        """Requests to an API on offer, faults included."""
        self.in_flight = 0
        self.peak = 0
        """The most requests in flight at once."""
        self.charged: collections.Counter[tuple[bytes, ...]] = collections.Counter()
        """Requests that a provider would charge, by the PNGs shown: all but errors and drops."""
        self.tokens = 0
        """What those took."""
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
        self._server = _Server(("127.0.0.1", 0), handler)
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

    def reply(self, route: str, body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Compose and charge the reply to a request."""
        asked = replies.understand(route, body, self.pictures)
        self.texts = asked.texts
        tokens = self.tokens_in if asked.pictures else self.tokens_in // 5
        if fault == "refusal":
            reply = replies.refusal(asked, body, tokens)
        elif fault == "prose":
            reply = replies.completion("I would say the first image.", body, tokens)
        elif fault == "letters":
            reply = replies.completion('{"answer": "E"}', body, tokens)
        elif asked.wire == "text":
            reply = replies.completion(self.describes, body, tokens)
        else:
            if asked.wire == "logprobs" and self.logprobs == "ignore":
                body = body | {"logprobs": False}
                asked = replies.understand(route, body, self.pictures)
            said = self.answer(*map(_open, asked.pictures)) if asked.pictures else "first"
            reply = replies.answer(asked, body, replies.options(said), tokens)
        with self.lock:
            self.charged[tuple(asked.pictures)] += 1
            self.tokens += replies.used(reply)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that went away, which is what the tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeVLM
    protocol_version = "HTTP/1.1"  # keeps connections open
    wbufsize = -1  # one write a reply: a second would wait for the first one's acknowledgement

    def do_GET(self) -> None:
        models = [{"id": name, "object": "model"} for name in self.fake.models]
        self._reply(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionResetError("the client was killed while it was sending")
        body = json.loads(data)
        route = self.path.removeprefix("/v1/")
        if route.split("/")[0] not in self.fake.offers:
            return self._error(404, f"there is no {self.path}")
        number = self.fake.begin()
        try:
            self._answer(route, body, self.fake.fault(number))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client did not wait
        finally:
            self.fake.end()

    def _answer(self, route: str, body: dict[str, Any], fault: Fault | None) -> None:
        fake = self.fake
        header = self.headers.get("Authorization", "")
        fake.saw_authorization |= bool(header)
        time.sleep(fake.slow_s if fault == "slow" else fake.delay_s)
        if fake.key is not None and header != f"Bearer {fake.key}":
            return self._error(401, f"wrong key: {header.removeprefix('Bearer ')}")
        if body["model"] not in fake.models:
            return self._error(404, f"no model {body['model']}")
        if fake.fixed_temperature and "temperature" in body:
            return self._error(400, "temperature: only the default value is supported")
        if body.get("logprobs") and fake.logprobs == "refuse":
            return self._error(400, "logprobs are not supported by this model")
        if route == "systemone" and "images" in body and fake.pictures == "assets":
            return self._error(422, "images: extra fields are not permitted")
        if fault == "429":
            return self._error(429, "slow down", {"Retry-After": f"{fake.retry_after_s:g}"})
        if fault == "500":
            return self._error(500, "something broke")
        if fault == "drop":
            self.close_connection = True
            return None
        data = json.dumps(fake.reply(route, body, fault)).encode()
        if fault == "malformed":
            data = data[: len(data) // 2]
        self._send(200, data, {}, cut=fault == "cut")
        return None

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        error = {"error": {"message": message, "type": "fake", "param": None, "code": None}}
        self._send(status, json.dumps(error).encode(), headers or {})

    def _reply(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode(), {})

    def _send(self, status: int, data: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection |= cut

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


def _open(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))
