"""Numbers and names as words on the page and at the terminal."""

from __future__ import annotations

from typing import Any

_KIND = {
    "oracle": "the environment's own oracle: privileged state, no model and no person looked",
    "noisy": "the oracle with artificial errors: no model and no person looked",
    "vlm": "a vision-language model",
    "human": "a person",
    "mixed": "several annotators together",
    "text": "a sentence embedder that reads the environment's texts and sees no picture",
}


def who(name: str) -> str:
    """Say in words what kind of annotator a name stands for."""
    for kind, words in _KIND.items():
        if name.startswith(kind):
            return words
    return "an annotator of the user's own"


def count(value: float | int | None) -> str:
    """Write a whole number, with a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def number(value: float | int | None) -> str:
    """Write three significant digits, with a dash where there is no finite number."""
    if value is None or value != value:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")


def percent(value: float | int | None) -> str:
    """Write a share in per cent, with a dash where there is none."""
    return "–" if value is None or value != value else f"{100 * value:.3g} %"


def share(value: dict[str, Any] | None) -> str:
    """Write a measured share with its 95 % interval and its number of cases."""
    if value is None:
        return "–"
    interval = f"{100 * value['low']:.3g} – {100 * value['high']:.3g}"
    return f"{percent(value['value'])} (95 %: {interval}; n = {count(value['n'])})"


def judged_on(measures: dict[str, Any]) -> str:
    """Say which labels R_ψ was measured on; distill falls back on the training pairs where no
    episode could be held out."""
    pairs = count(measures["validation_pairs"])
    if measures["validation_pairs"] == measures["training_pairs"]:
        return f"its {pairs} training labels (there are too few episodes to hold any out)"
    return f"{pairs} labels from held-out episodes"
