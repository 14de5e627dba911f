"""The questions put to a model: one Markdown file each, with a small front matter."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from sensei.types import UsageError

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The wording of a comparison."""

    name: str
    version: int
    body: str
    """What the model is told, without the front matter."""

    @property
    def hash(self) -> str:
        """Sixteen hex digits that identify the wording."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]


def prompt_names() -> list[str]:
    """Name the prompts that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def has_prompt(name: str) -> bool:
    """Say whether the package brings a prompt of this name."""
    return name in prompt_names()


def load_prompt(name: str) -> Prompt:
    """Load a prompt by name, or from the path of a Markdown file.

    Raises:
        UsageError: there is neither such a prompt nor such a file, or the file is empty.
    """
    path = FOLDER / f"{name}.md" if has_prompt(name) else Path(name).expanduser()
    if not path.is_file():
        raise UsageError(
            f"annotator.prompt is {name!r}: no such prompt ({', '.join(prompt_names())}) or file"
        )
    header, body = _split(path.read_text(encoding="utf-8"))
    if not body:
        raise UsageError(f"annotator.prompt is {name!r}: the file has no text; write the question")
    try:
        version = int(header.get("version", "1"))
    except ValueError:
        raise UsageError(
            f"annotator.prompt is {name!r}: version is {header['version']!r}; give a whole number"
        ) from None
    return Prompt(name=header.get("name", path.stem), version=version, body=body)


def _split(text: str) -> tuple[dict[str, str], str]:
    """Separate ``key: value`` lines between two ``---`` lines from the body."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in [x.strip() for x in lines[1:]]:
        return {}, text.strip()
    end = [x.strip() for x in lines[1:]].index("---") + 1
    pairs = (line.partition(":") for line in lines[1:end] if ":" in line)
    header = {key.strip(): value.strip() for key, _, value in pairs}
    return header, "\n".join(lines[end + 1 :]).strip()
