"""The label store's contents as numpy columns."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensei.data.records import CHOICES, Split

VAL_FRACTION = 0.15
_GOLDEN = 0.6180339887498949


def split_of(stage: str, env: int, episode: int) -> Split:
    """Say whether an episode's frames train or validate.

    A function of its arguments only. Within a stream the validation episodes are spread evenly (a
    Weyl sequence from a hashed start), so that even ten episodes contain one, as a plain hash would
    not promise.
    """
    digest = hashlib.sha256(f"{stage}/{env}".encode()).digest()
    start = int.from_bytes(digest[:8], "little") / 2**64
    return "val" if (start + episode * _GOLDEN) % 1.0 < VAL_FRACTION else "train"


@dataclasses.dataclass(frozen=True)
class FrameTable:
    """The numbers of all frames, one array entry a frame."""

    id: np.ndarray
    stage: np.ndarray
    generation: np.ndarray
    env: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    score: np.ndarray
    """float32, NaN where the environment has no oracle."""
    split: np.ndarray
    """'train' or 'val', by episode."""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.id)

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]]) -> FrameTable:
        """Make the table of (id, stage, generation, env, episode, step, score, split) rows."""
        kinds = ("i8", "U", "i4", "i4", "i8", "i8", "f4", "U5")
        return cls(*columns(rows, kinds))


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """What was answered about each asked pair, one array entry a pair."""

    pair: np.ndarray
    first: np.ndarray
    """Frame ids."""
    second: np.ndarray
    y: np.ndarray
    """float32 P(second preferred); NaN unless labelled."""
    status: np.ndarray
    """'labelled', 'unknown' (no labelled answer) or 'failed' (nothing but failures)."""
    split: np.ndarray
    """'train' or 'val': both frames are on the same side."""
    true_order: np.ndarray
    """int8 by the oracle: 0 first better, 1 second better, −1 equal or not known."""
    score_gap: np.ndarray
    """float32 |score difference|, how easy the pair is; NaN without an oracle."""

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.pair)

    def select(self, mask: np.ndarray) -> LabelSet:
        """Keep the pairs where ``mask`` is true."""
        return LabelSet(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]]) -> LabelSet:
        """Make the set of (pair, first, second, y, status, split, score₁, score₂) rows."""
        kinds = ("i8", "i8", "i8", "f4", "U8", "U5", "f8", "f8")
        pair, first, second, y, status, split, first_score, second_score = columns(rows, kinds)
        gap = second_score - first_score
        order = np.where(gap > 0, 1, np.where(gap < 0, 0, -1)).astype(np.int8)
        difficulty = np.abs(gap).astype(np.float32)
        return cls(pair, first, second, y, status, split, order, difficulty)


@dataclasses.dataclass(frozen=True)
class AnswerTable:
    """Every answer as given, one array entry a query; first and second are *as shown*."""

    pair: np.ndarray
    annotator: np.ndarray
    shown: np.ndarray
    """'forward' or 'swapped'."""
    status: np.ndarray
    choice: np.ndarray
    """'first', 'second', 'tie', 'unknown', or '' for a failure."""
    p_second: np.ndarray
    tokens: np.ndarray
    money: np.ndarray
    """float64 dollars, NaN where the price is unknown."""
    latency_s: np.ndarray
    score_gap: np.ndarray
    """float32 score of the frame shown second minus that shown first; NaN without an oracle."""
    repeat: np.ndarray
    wire: np.ndarray
    error: np.ndarray
    """What failed; '' for an answer."""
    requests: np.ndarray
    unaccounted: np.ndarray
    probabilities: np.ndarray
    """float64 [A, 4] of CHOICES as shown; NaN where the wire gives none."""

    def __len__(self) -> int:
        """Count the answers."""
        return len(self.pair)

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, ...]]) -> AnswerTable:
        """Make the table of rows in the order of the fields, the probabilities as JSON."""
        kinds = ("i8", "U", "U8", "U8", "U8", "f8", "i8", "f8", "f8", "f4", "i4", "U", "U")
        plain = columns([row[:-1] for row in rows], (*kinds, "i4", "i4"))
        said = [json.loads(row[-1]) if row[-1] else {} for row in rows]
        options = [[p.get(choice, np.nan) for choice in CHOICES] for p in said]
        return cls(*[*plain, np.array(options, np.float64).reshape(-1, len(CHOICES))])


def columns(rows: Sequence[tuple[Any, ...]], kinds: Sequence[str]) -> list[np.ndarray]:
    """Turn rows into one array of each dtype; None becomes NaN or an empty string."""
    lists = list(zip(*rows, strict=True)) if rows else [()] * len(kinds)
    return [_column(values, kind) for values, kind in zip(lists, kinds, strict=True)]


def _column(values: Sequence[Any], kind: str) -> np.ndarray:
    if kind.startswith("U"):
        return np.array(
            ["" if v is None else v for v in values], dtype=np.dtype(kind) if values else "U1"
        )
    return np.array(values, dtype=np.dtype(kind))  # None becomes NaN in a float column
