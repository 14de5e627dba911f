"""An annotator that reads: is what the environment says closer to what is interesting?"""

from __future__ import annotations

import hashlib
from pathlib import Path

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.sentence import PACKAGE, SentenceModel, installed_model
from sensei.data.records import Answer, Frame
from sensei.types import UsageError


class TextAnnotator:
    """Prefers the frame whose text is closer in meaning to ``annotator.interesting``.

    A text's score is its cosine with that, less its cosine with ``annotator.dull`` where there
    is one. No server, no key, no picture; a frame without a text makes the answer unknown.
    """

    def __init__(self, config: AnnotatorConfig) -> None:
        """Load the sentence embedder.

        Raises:
            UsageError: nothing is said to be interesting, or there is no model.
        """
        if not config.interesting.strip():
            raise UsageError(
                "annotator.interesting is empty and --annotator text prefers what is closest to "
                "it: give --annotator.interesting 'the player carries a key'"
            )
        own = Path(config.text_model).expanduser() if config.text_model else None
        self._model = SentenceModel(own or installed_model())
        self._interesting, self._dull = config.interesting.strip(), config.dull.strip()
        self._tie_margin = config.tie_margin
        wording = f"{self._interesting}\0{self._dull}\0{self._tie_margin}"
        self.prompt_hash = hashlib.sha256(wording.encode()).hexdigest()[:16]
        self.name = f"text:{own.name if own else PACKAGE}/{self.prompt_hash[:8]}"

    async def compare(self, first: Frame, second: Frame) -> Answer:
        """Compare the two texts."""
        if not first.text or not second.text:
            return Answer.of("unknown", raw="a frame has no text")
        scores = [self.score(frame.text) for frame in (first, second)]
        gap = scores[1] - scores[0]
        raw = f"{scores[0]:.4f} {scores[1]:.4f}"
        if abs(gap) <= self._tie_margin:
            return Answer.of("tie", raw=raw)
        return Answer.of("second" if gap > 0 else "first", raw=raw)

    def score(self, text: str) -> float:
        """Say how close a text is to what is interesting, −2 to 2."""
        said = self._model.embed(text)
        score = float(said @ self._model.embed(self._interesting))
        return score - float(said @ self._model.embed(self._dull)) if self._dull else score
