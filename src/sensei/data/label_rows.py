"""Rows of the label store from and to records."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sensei.data.records import Answer, Frame, Pair
from sensei.types import SenseiError


def frame_of(row: tuple[Any, ...]) -> Frame:
    """Make a frame of a row in the order of Frame's fields, the vector as bytes."""
    stage, generation, env, episode, step, picture, obs, vector, text, score, key = row
    return Frame(
        stage=stage,
        generation=generation,
        env=env,
        episode=episode,
        step=step,
        picture=picture,
        obs=obs,
        vector=tuple(np.frombuffer(vector, "<f4").tolist()),
        text=text,
        score=score,
        id=key,
    )


ANSWER_COLUMNS = (
    "status, choice, p_second, raw, tokens_in, tokens_out, money, latency_s, error, wire, "
    "probabilities, images, requests, unaccounted"
)


def answer_row(a: Answer) -> tuple[Any, ...]:
    """Make the row of ANSWER_COLUMNS."""
    options = None if a.probabilities is None else json.dumps(dict(a.probabilities))
    cost = (a.tokens_in, a.tokens_out, a.money, a.latency_s)
    took = (a.images, a.requests, a.unaccounted)
    return (a.status, a.choice, a.p_second, a.raw, *cost, a.error, a.wire, options, *took)


def check_pair(pair: Pair, splits: dict[int, str]) -> None:
    """Refuse a pair that can only be a mistake; ``splits`` maps each stored frame to its side.

    Raises:
        SenseiError: a frame with itself, a frame that is not stored, or two sides of the split.
    """
    if pair.first == pair.second:
        raise SenseiError(f"pair of frame {pair.first} with itself: draw two different frames")
    for frame in (pair.first, pair.second):
        if frame not in splits:
            raise SenseiError(f"pair of frame {frame}, which is not stored: add it first")
    if splits[pair.first] != splits[pair.second]:
        raise SenseiError(
            f"frames {pair.first} and {pair.second} are on different sides of the validation "
            "split: draw both from the same side"
        )
