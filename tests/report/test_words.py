"""Words and numbers on the page."""

from __future__ import annotations

import pytest

from sensei.report.words import count, judged_on, number, percent, share, who


def test_what_is_missing_is_a_dash() -> None:
    assert {count(None), number(None), number(float("nan")), percent(None), share(None)} == {"–"}


def test_numbers_are_short() -> None:
    assert count(1234567) == "1,234,567"
    assert number(-0.123456) == "−0.123"
    assert number(123456.7) == "123,457"
    assert percent(0.5625) == "56.2 %"
    measured = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 1000}
    assert share(measured) == "50 % (95 %: 25 – 75; n = 1,000)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oracle", "no model and no person"),
        ("noisy:flip=0.1", "artificial errors"),
        ("vlm:qwen/keychest-1234", "vision-language model"),
        ("human", "a person"),
        ("mine", "user's own"),
    ],
)
def test_the_page_says_what_kind_of_annotator_it_was(name: str, words: str) -> None:
    assert words in who(name)


def test_training_labels_are_not_called_held_out() -> None:
    assert "held-out" in judged_on({"validation_pairs": 10, "training_pairs": 90})
    assert "held-out" not in judged_on({"validation_pairs": 90, "training_pairs": 90})
