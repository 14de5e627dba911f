"""A random vision-language model of 2 MB that llama.cpp loads: a llama and a CLIP projector.

Its answers mean nothing, but they are real: they depend on both pictures and on their order. So
that it says A or B, like a model that was asked for a letter, the first entry of the hidden state
is a constant that no block reads or writes and only these two letters' logits listen to.
"""

from pathlib import Path

import gguf
import numpy as np

WIDTH, BLOCKS, HEADS, FEED, CONTEXT = 128, 2, 4, 256, 4096
V_WIDTH, V_FEED, IMAGE, PATCH = 64, 128, 112, 14
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
TEMPLATE = (
    "<s>{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PULL = 100.0
"""Weight of the constant in the logits of A and B: enough to be above all others."""


def write(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write the language model and the projector; return their paths."""
    rng = np.random.default_rng(seed)
    return _write_model(folder / "model.gguf", rng), _write_projector(folder / "mm.gguf", rng)


def _bytes_as_text() -> list[str]:
    """GPT-2's alphabet: a printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def _write_model(path: Path, rng: np.random.Generator) -> Path:
    tokens = [*SPECIAL, *_bytes_as_text(), "th"]
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(BLOCKS)
    out.add_feed_forward_length(FEED)
    out.add_head_count(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))  # 3 = control
    out.add_token_merges(["t h"])  # none at all is refused
    for name in ("pad", "bos", "eos"):
        getattr(out, f"add_{name}_token_id")(("pad", "bos", "eos").index(name))
    out.add_chat_template(TEMPLATE)
    embedding = _normal(rng, len(tokens), WIDTH)
    embedding[:, 0] = 2.0
    head = _normal(rng, len(tokens), WIDTH)
    head[:, 0] = 0.0
    head[[tokens.index(letter) for letter in "AB"], 0] = PULL
    _add(out, {"token_embd": embedding, "output": head, "output_norm": np.ones(WIDTH)})
    square, wide, tall = (WIDTH, WIDTH), (FEED, WIDTH), (WIDTH, FEED)
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), square)
    shapes |= {"ffn_gate": wide, "ffn_up": wide, "ffn_down": tall}
    for block in range(BLOCKS):
        weights = {name: _normal(rng, *shape) for name, shape in shapes.items()}
        weights |= {"attn_norm": np.ones(WIDTH), "ffn_norm": np.ones(WIDTH)}
        for name in ("attn_norm", "ffn_norm", "attn_output", "ffn_down"):
            weights[name][0] = 0.0
        _add(out, {f"blk.{block}.{name}": values for name, values in weights.items()})
    return _close(out, path)


def _write_projector(path: Path, rng: np.random.Generator) -> Path:
    out = gguf.GGUFWriter(path, "clip")
    out.add_clip_has_vision_encoder(True)
    out.add_clip_projector_type("mlp")
    out.add_vision_use_gelu(True)
    out.add_vision_image_size(IMAGE)
    out.add_vision_patch_size(PATCH)
    out.add_vision_embedding_length(V_WIDTH)
    out.add_vision_feed_forward_length(V_FEED)
    out.add_vision_block_count(BLOCKS)
    out.add_vision_projection_dim(WIDTH)
    out.add_vision_head_count(4)
    out.add_vision_attention_layernorm_eps(1e-5)
    out.add_vision_image_mean([0.5] * 3)
    out.add_vision_image_std([0.5] * 3)
    patches = (IMAGE // PATCH) ** 2
    out.add_tensor("v.class_embd", _normal(rng, V_WIDTH))
    _add(out, {"v.patch_embd": _normal(rng, V_WIDTH, 3, PATCH, PATCH)})
    _add(out, {"v.position_embd": _normal(rng, patches + 1, V_WIDTH)})
    square, wide, tall = (V_WIDTH, V_WIDTH), (V_FEED, V_WIDTH), (V_WIDTH, V_FEED)
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), square)
    shapes |= {"ffn_up": wide, "ffn_down": tall}
    layers = {f"v.blk.{b}.{name}": shape for b in range(BLOCKS) for name, shape in shapes.items()}
    layers |= {"mm.0": (WIDTH, V_WIDTH), "mm.2": (WIDTH, WIDTH)}
    for name, shape in layers.items():
        _add(out, {name: _normal(rng, *shape)})
        _add(out, {name: np.zeros(shape[0])}, "bias")
    norms = ["v.pre_ln", "v.post_ln", *(f"v.blk.{b}.ln{i}" for b in range(BLOCKS) for i in (1, 2))]
    for name in norms:
        _add(out, {name: np.ones(V_WIDTH)})
        _add(out, {name: np.zeros(V_WIDTH)}, "bias")
    return _close(out, path)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0.0, 0.2, shape).astype(np.float32)


def _add(out: gguf.GGUFWriter, tensors: dict[str, np.ndarray], kind: str = "weight") -> None:
    for name, values in tensors.items():
        out.add_tensor(f"{name}.{kind}", values.astype(np.float32))


def _close(out: gguf.GGUFWriter, path: Path) -> Path:
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
