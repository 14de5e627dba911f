"""Several annotators asked the same question, their answers weighted into one."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sensei.annotate.annotator import Annotator
from sensei.data.label_store import LabelStore
from sensei.data.records import Answer, Choice, Frame


@dataclasses.dataclass(frozen=True)
class Member:
    """One of several annotators."""

    annotator: Annotator
    weight: float = 1.0


class Mixed:
    """Asks every member; P(second) is the weighted mean of those who could tell.

    The answer is unknown only if nobody could tell. If a member's request failed the answer is a
    failure and asked again as a whole: without that member it would be somebody else's label.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Take the members."""
        self._members = tuple(members)

    @property
    def name(self) -> str:
        """The members with their weights: another mixture is another annotator."""
        parts = [f"{member.weight:g}*{member.annotator.name}" for member in self._members]
        return f"mixed({' + '.join(parts)})"

    @property
    def prompt_hash(self) -> str:
        """Identity of all members' wordings together."""
        hashes = [member.annotator.prompt_hash for member in self._members]
        return hashlib.sha256("\0".join(hashes).encode()).hexdigest()[:16] if any(hashes) else ""

    async def prepare(self, store: LabelStore, frame: Frame) -> None:
        """Let the members prepare, and keep their prompts with the labels."""
        for member in self._members:
            prompt = getattr(member.annotator, "prompt", None)
            if prompt is not None:
                store.remember_prompt(prompt.hash, prompt.name, prompt.version, prompt.body)
            prepare = getattr(member.annotator, "prepare", None)
            if prepare is not None:
                await prepare(store, frame)

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Ask everyone at once."""
        asked = (member.annotator.compare(first, second) for member in self._members)
        return combine(list(zip(self._members, await asyncio.gather(*asked), strict=True)))

    async def aclose(self) -> None:
        """Let the members close what they hold."""
        for member in self._members:
            close = getattr(member.annotator, "aclose", None)
            if close is not None:
                await close()


def combine(answers: Sequence[tuple[Member, Answer]]) -> Answer:
    """Make one answer of the members' answers to a question."""
    took, raw = _took([answer for _, answer in answers]), _provenance(answers)
    failed = [(m, a) for m, a in answers if a.status == "failed"]
    if failed:
        member, answer = failed[0]
        error = (answer.error or "error").partition(":")  # the kind stays in front
        return Answer.failed(f"{error[0]}: {member.annotator.name}{error[1]}{error[2]}", **took)
    told = [(m.weight, a.p_second) for m, a in answers if a.p_second is not None]
    if not told:
        return Answer.of("unknown", raw=raw, **took)
    p_second = sum(weight * p for weight, p in told) / sum(weight for weight, _ in told)
    choice: Choice = "tie" if p_second == 0.5 else "second" if p_second > 0.5 else "first"
    return Answer(p_second, "labelled", choice, raw, **took)


def _took(answers: Sequence[Answer]) -> dict[str, Any]:
    """Add up what the answers cost; they were given at the same time."""
    money = [answer.money for answer in answers]
    counted = ("tokens_in", "tokens_out", "images", "requests", "unaccounted")
    return {name: sum(getattr(answer, name) for answer in answers) for name in counted} | {
        "money": None if None in money else sum(m for m in money if m is not None),
        "latency_s": max(answer.latency_s for answer in answers),
    }


def _provenance(answers: Sequence[tuple[Member, Answer]]) -> str:
    """Write who said what as JSON."""
    said = [
        {
            "annotator": member.annotator.name,
            "weight": member.weight,
            "choice": answer.choice,
            "p_second": answer.p_second,
            "raw": answer.raw,
        }
        for member, answer in answers
    ]
    return json.dumps(said, ensure_ascii=False)
