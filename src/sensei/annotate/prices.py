"""What tokens cost: the user's own prices, else the published ones of the model."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from sensei.annotate.wire import Usage


@dataclasses.dataclass(frozen=True)
class Prices:
    """Prices of one model at one server."""

    model: str
    base_url: str | None
    """None = OpenAI."""
    price_in: float | None = None
    """Dollars per million input tokens, as the user says; None = as published."""
    price_out: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is any price to reckon with."""
        return self.of(Usage(1, 1)) is not None

    def of(self, usage: Usage, billed_output: bool = True) -> float | None:
        """Return dollars, or None where no price is known.

        Args:
            usage: what a request took.
            billed_output: False for decision APIs, which charge for input only.
        """
        tokens_out = usage.tokens_out if billed_output else 0
        if self.price_in is not None and self.price_out is not None:
            return (usage.tokens_in * self.price_in + tokens_out * self.price_out) / 1e6
        return _published(self.model, self.base_url, usage, tokens_out)


@functools.lru_cache(maxsize=1024)
def _published(model: str, base_url: str | None, usage: Usage, tokens_out: int) -> float | None:
    """Look the model up in genai-prices, which knows providers by their addresses.

    Remembered, because the search takes a twentieth of a query's time and most queries take the
    same tokens.
    """
    try:
        import genai_prices
    except ImportError:  # an installation without the extra `vlm`
        return None
    who: dict[str, Any] = {"provider_id": "openai"}
    if base_url is not None:
        who = {"provider_api_url": base_url}
    took = genai_prices.Usage(
        input_tokens=usage.tokens_in,
        output_tokens=tokens_out,
        cache_read_tokens=usage.cached,
    )
    try:
        return float(genai_prices.calc_price(took, model, **who).total_price)
    except LookupError:
        return None
