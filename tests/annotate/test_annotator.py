"""How the configuration resolves, and the two oracles."""

import asyncio

import numpy as np
import pytest

from sensei.annotate.annotator import Annotator, AnnotatorConfig, resolve
from sensei.annotate.build import build_annotator
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.data.records import Frame
from sensei.types import UsageError


def frame(step, score=None, **changes):
    return Frame("collect", 0, 0, 0, step, b"", score=score, **changes)


def ask(annotator, first, second):
    return asyncio.run(annotator.compare(first, second))


@pytest.mark.parametrize(
    ("config", "environ", "kind"),
    [
        ({}, {}, "oracle"),
        ({}, {"OPENAI_API_KEY": "k"}, "vlm"),
        ({}, {"OPENAI_API_KEY": ""}, "oracle"),
        ({}, {"OPENAI_BASE_URL": "http://x"}, "vlm"),
        ({"base_url": "http://x/v1"}, {}, "vlm"),
        ({"api_key_env": "MY_KEY"}, {"MY_KEY": "k"}, "vlm"),
        ({"api_key_env": "MY_KEY"}, {"OPENAI_API_KEY": "k"}, "oracle"),
        ({"kind": "noisy"}, {"OPENAI_API_KEY": "k"}, "noisy"),
        ({"kind": "human"}, {}, "human"),
    ],
)
def test_auto_takes_what_is_there(config, environ, kind):
    assert resolve(AnnotatorConfig(**config), True, "tiny", environ).kind == kind


def test_no_oracle_names_the_remedy():
    for kind in ("auto", "oracle", "noisy"):
        with pytest.raises(UsageError, match="--annotator vlm"):
            resolve(AnnotatorConfig(kind=kind), False, "mine", {})
    assert resolve(AnnotatorConfig(kind="human"), False, "mine", {}).kind == "human"


def test_a_budget_needs_prices():
    local = {"kind": "vlm", "budget": 5.0, "base_url": "http://localhost:8000/v1"}
    with pytest.raises(UsageError, match=r"price_in and.*token_budget"):
        resolve(AnnotatorConfig(**local), True, "", {})
    with pytest.raises(UsageError, match="give both"):
        resolve(AnnotatorConfig(**local, price_in=0.1), True, "", {})
    assert resolve(AnnotatorConfig(**local, price_in=0.1, price_out=0.2), True, "", {})
    assert resolve(AnnotatorConfig(kind="vlm", budget=5.0), True, "", {})  # OpenAI's are known


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip_rate": 1.5},
        {"tie_rate": -0.1},
        {"difficulty": -1.0},
        {"repeats": 0},
        {"concurrency": 0},
        {"timeout_s": 0.0},
        {"budget": -1.0},
        {"token_budget": -1},
        {"requests_per_minute": 0.0},
        {"base_url": "http://me:secret@host/v1"},
    ],
)
def test_impossible_values_are_refused_without_repeating_secrets(wrong):
    with pytest.raises(UsageError, match=f"annotator.{next(iter(wrong))}") as error:
        AnnotatorConfig(**wrong)
    assert "secret" not in str(error.value)


def test_build():
    assert isinstance(build_annotator(AnnotatorConfig(kind="oracle")), Oracle)
    assert isinstance(build_annotator(AnnotatorConfig(kind="noisy")), Annotator)
    for kind, words in (("human", "terminal"), ("auto", "resolve")):
        with pytest.raises(UsageError, match=words):
            build_annotator(AnnotatorConfig(kind=kind))


def test_oracle_is_exact_and_antisymmetric():
    low, high = frame(0, 1.0), frame(1, 2.0)
    assert ask(Oracle(), low, high).p_second == 1.0
    assert ask(Oracle(), high, low).p_second == 0.0
    assert ask(Oracle(), low, frame(2, 1.0)).choice == "tie"
    assert ask(Oracle(tie_margin=1.0), low, high).p_second == 0.5
    assert Oracle(tie_margin=1.0).name != Oracle().name
    with pytest.raises(UsageError, match="no oracle score"):
        ask(Oracle(), low, frame(3))


def choices(n=1500, gap=1.0, **rates):
    annotator = NoisyOracle(**rates)

    async def ask_all():
        pairs = [(frame(2 * i, 0.0), frame(2 * i + 1, gap)) for i in range(n)]
        return [(await annotator.compare(*pair)).choice for pair in pairs]

    return np.array(asyncio.run(ask_all()))


@pytest.mark.parametrize(
    ("rates", "choice", "share"),
    [
        ({}, "second", 1.0),
        ({"flip_rate": 0.2}, "first", 0.2),
        ({"position_bias": 0.83}, "first", 0.83),
        ({"position_bias": 1.0, "flip_rate": 1.0}, "first", 1.0),
        ({"tie_rate": 0.3}, "tie", 0.3),
        ({"unknown_rate": 0.4}, "unknown", 0.4),
        ({"unknown_rate": 0.5, "tie_rate": 0.5}, "tie", 0.25),
    ],
)
def test_noise_has_its_rates(rates, choice, share):
    assert abs(np.mean(choices(**rates) == choice) - share) < 0.04


def test_close_pairs_are_harder():
    """Difficulty 2: gaps of 2 ln 9, 2 ln 3 and almost 0 are wrong in 10 %, 25 % and 50 %."""
    for gap, share in ((2 * np.log(9), 0.1), (2 * np.log(3), 0.25), (1e-6, 0.5)):
        wrong = choices(gap=gap, difficulty=2.0) == "first"
        assert abs(np.mean(wrong) - share) < 0.04
    # Both kinds of error at once cancel: 0.25 · 0.9 + 0.75 · 0.1.
    both = choices(gap=2 * np.log(3), difficulty=2.0, flip_rate=0.1) == "first"
    assert abs(np.mean(both) - 0.3) < 0.04
    assert NoisyOracle(difficulty=2.0).name == "noisy(difficulty=2,seed=0)"


def test_noise_is_a_function_of_the_question():
    one, other = NoisyOracle(flip_rate=0.5), NoisyOracle(flip_rate=0.5, seed=1)
    frames = [frame(i, float(i)) for i in range(100)]
    first = [ask(one, frames[i], frames[i + 1]).choice for i in range(99)]
    backwards = [ask(one, frames[i], frames[i + 1]).choice for i in reversed(range(99))]
    assert first == backwards[::-1]
    assert first != [ask(other, frames[i], frames[i + 1]).choice for i in range(99)]
    assert one.name != other.name
    swapped = [ask(one, frames[i + 1], frames[i]).choice for i in range(99)]
    flipped = [a == "first" for a in first]
    assert flipped != [a == "second" for a in swapped]  # the order shown is part of the question
