"""The questions put to a model: one Markdown file each, with a front matter that is read strictly.

A file is a *specific* question (what counts as interesting in one environment), a *general* one
(zero knowledge: the model is first shown one picture and says itself what would be interesting), or
one of a *goal* (what is closer to it). docs/annotators.md shows how to write one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from sensei.data.records import CHOICES, Choice
from sensei.fields import nearest
from sensei.types import UsageError

FOLDER = Path(__file__).parent

Kind = Literal["specific", "general", "goal"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ANY = "any"
"""The ``environment`` of a prompt that fits all."""
GOAL, DESCRIPTION = "{goal}", "{description}"
"""Where the goal, and the model's own description of the environment, go in the text."""
STRIP = (
    "Each image is a strip of two pictures of the same place: the left one shows a moment, the "
    "right one what it looks like up to {strip} steps later. Judge what happens between them, too."
)
"""What is added where pictures show two moments."""
ONCE, EACH = "# Once", "# Each pair"
"""The headings of the two turns of a general prompt."""
QUESTIONS: dict[Kind, str] = {
    "specific": "Which image is more interesting?",
    "general": "Which image is more interesting?",
    "goal": "Which image is closer to the goal?",
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The wording of a comparison."""

    name: str
    version: int
    kind: Kind
    environment: str
    each: str
    """What the model is told with each pair."""
    once: str = ""
    """general: what it is asked once, about one picture; its answer takes the place of
    ``{description}`` in ``each``."""
    goal: str = ""
    question: str = QUESTIONS["specific"]
    options: tuple[Choice, ...] = CHOICES
    """The answers it may give."""
    images: int = 1
    """Pictures sent of each frame; 0 = its text alone."""
    text: bool = True
    """Whether the environment's text goes along, where there is one."""

    @property
    def body(self) -> str:
        """Everything that the model is told, without the front matter."""
        return f"{ONCE}\n{self.once}\n\n{EACH}\n{self.each}" if self.once else self.each

    @property
    def hash(self) -> str:
        """Sixteen hex digits that identify what is asked and what is shown."""
        asked = (self.body, self.question, *self.options, f"{self.images} {self.text}")
        return hashlib.sha256("\0".join(asked).encode()).hexdigest()[:16]

    def told(self, description: str = "") -> str:
        """Return the instructions of a pair, given the answer to the first turn."""
        return self.each.replace(DESCRIPTION, description.strip())


def prompt_names() -> list[str]:
    """Name the prompts that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def find_prompt(wanted: str, environment: str, goal: str = "") -> str:
    """Turn what ``annotator.prompt`` says into the name or path of a prompt.

    A kind is the environment's prompt of that kind; where it has none of its own, the one that fits
    any environment is taken. ``auto`` is the kind goal where there is a goal, else specific.
    """
    kind = wanted if wanted != "auto" else "goal" if goal else "specific"
    if kind not in KINDS:
        return wanted
    known = [(_read(FOLDER / f"{name}.md")[0], name) for name in prompt_names()]
    fitting = {
        header["environment"]: name
        for header, name in known
        if header["kind"] == kind and header["images"]
    }
    return fitting.get(environment, fitting[ANY])


def load_prompt(name: str, goal: str = "", strip: int = 0) -> Prompt:
    """Load a prompt by name, or from the path of a Markdown file.

    Args:
        name: one of ``prompt_names()``, or a path.
        goal: what is wanted, for a prompt of kind goal; the file's own when empty.
        strip: steps between the two moments that every picture shows; 0 = it shows one.

    Raises:
        UsageError: there is neither such a prompt nor such a file, a field of its front matter is
            unknown or wrong, it has no text, or its goal is missing.
    """
    path = FOLDER / f"{name}.md" if name in prompt_names() else Path(name).expanduser()
    if not path.is_file():
        raise UsageError(
            f"annotator.prompt is {name!r}: no such prompt ({', '.join(prompt_names())}), kind "
            f"({', '.join(KINDS)}) or file"
        )
    header, body = _read(path)
    own_goal = header.pop("goal", "")
    once, each = _turns(path, header["kind"], body)
    prompt = Prompt(**header, once=once, each=each)
    goal = goal.strip()
    if prompt.kind != "goal":
        if goal:
            raise UsageError(
                f"annotator.goal is {goal!r} and the prompt {name!r} asks after no goal: give "
                "--annotator.prompt goal, or --annotator.goal ''"
            )
        return _of_strips(prompt, strip)
    goal = goal or own_goal
    if not goal:
        raise UsageError(
            f"annotator.goal is empty and the prompt {name!r} asks what is closer to it: say in a "
            "sentence what is wanted, --annotator.goal 'the drawer is open'"
        )
    prompt = dataclasses.replace(prompt, goal=goal, each=prompt.each.replace(GOAL, goal))
    return _of_strips(prompt, strip)


def _of_strips(prompt: Prompt, strip: int) -> Prompt:
    if not strip or not prompt.images:
        return prompt
    told = f"\n\n{STRIP.format(strip=strip)}"
    once = prompt.once and prompt.once + told
    return dataclasses.replace(prompt, once=once, each=prompt.each + told)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Read a file's checked front matter, with defaults, and its body."""
    header, body = _split(path)
    fields = {"about": "", "goal": "", "name": path.stem, "version": 1, "environment": ANY}
    fields |= {"kind": "specific", "question": "", "options": list(CHOICES)}
    fields |= {"images": 1, "text": True}
    for key, value in header.items():
        if key not in fields:
            near = nearest(str(key), fields) or ", ".join(fields)
            raise _wrong(path, f"its front matter has no field {key!r}: did you mean {near}?")
        if type(value) is not type(fields[key]):
            kind = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}
            raise _wrong(path, f"{key} is {value!r}; give {kind[type(fields[key])]}")
        fields[key] = value
    del fields["about"]
    _check(path, fields)
    fields["question"] = fields["question"] or QUESTIONS[cast(Kind, fields["kind"])]
    fields["options"] = tuple(fields["options"])
    return fields, body


def _check(path: Path, fields: Mapping[str, Any]) -> None:
    options = fields["options"]
    if fields["kind"] not in KINDS:
        raise _wrong(path, f"kind is {fields['kind']!r}; give one of {', '.join(KINDS)}")
    if fields["goal"] and fields["kind"] != "goal":
        raise _wrong(path, f"it has a goal and its kind is {fields['kind']}; write kind: goal")
    if options != [choice for choice in CHOICES if choice in options] or len(options) < 2:
        raise _wrong(path, f"options is {options}; give some of {list(CHOICES)}, in this order")
    if options[:2] != ["first", "second"]:
        raise _wrong(path, f"options is {options}; first and second must be among them")
    if fields["images"] not in (0, 1):
        raise _wrong(path, f"images is {fields['images']}; give 1, or 0 to send no picture")
    if not fields["images"] and not fields["text"]:
        raise _wrong(path, "images is 0 and text is false: then there is nothing to compare")


def _turns(path: Path, kind: Kind, body: str) -> tuple[str, str]:
    """Split the body into what is asked once and what is told with each pair."""
    if not body:
        raise _wrong(path, "the file has no text; write the question")
    places = {"general": DESCRIPTION, "goal": GOAL}
    for owner, place in places.items():
        if (place in body) != (owner == kind):
            where = "must stand" if owner == kind else "may not stand"
            raise _wrong(path, f"its kind is {kind}: {place} {where} in the text")
    if kind != "general":
        return "", body
    before, heading, each = body.partition(f"\n{EACH}\n")
    if not before.startswith(f"{ONCE}\n") or not heading or DESCRIPTION in before:
        raise _wrong(
            path,
            f"a general prompt has two parts: a line {ONCE!r} with what is asked about one "
            f"picture, then a line {EACH!r} with {DESCRIPTION} in it",
        )
    return before.removeprefix(f"{ONCE}\n").strip(), each.strip()


def _split(path: Path) -> tuple[dict[str, Any], str]:
    """Separate the YAML between two ``---`` lines from the body; it may be missing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise _wrong(path, f"it is not UTF-8 text ({error}); save it as such") from None
    marks = [number for number, line in enumerate(lines) if line.strip() == "---"]
    if marks[:1] != [0]:
        return {}, "\n".join(lines).strip()
    if len(marks) < 2:
        raise _wrong(path, "its front matter has no end: close it with a line ---")
    try:
        header = yaml.safe_load("\n".join(lines[1 : marks[1]])) or {}
    except yaml.YAMLError as error:
        raise _wrong(path, f"its front matter is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(header, dict):
        raise _wrong(path, "its front matter has no fields: write lines like 'kind: specific'")
    return header, "\n".join(lines[marks[1] + 1 :]).strip()


def _wrong(path: Path, why: str) -> UsageError:
    return UsageError(f"annotator.prompt {path.name}: {why}")
