"""A random LLaVA of half a million parameters that transformers loads: python tiny_llava.py FOLDER

Run by an interpreter that has torch and transformers, which the tests' own does not need. Its
answers mean nothing, but they depend on both pictures and on their order.
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

WIDTH, IMAGE, PATCH, CONTEXT = 128, 56, 14, 4096
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<image>"]
TEMPLATE = (
    "<s>{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPARE = 8
"""Rows of the embedding for tokens that the server adds."""


def write(folder: str) -> None:
    """Write model, tokenizer and processor."""
    torch.manual_seed(0)
    words = tokenizer()
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**_sizes(64), image_size=IMAGE, patch_size=PATCH),
            text_config=LlamaConfig(
                **_sizes(WIDTH),
                vocab_size=len(words) + SPARE,
                max_position_embeddings=CONTEXT,
                num_key_value_heads=4,
            ),
            image_token_index=words.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-1,
        )
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, 0.2)
    model.save_pretrained(folder)
    size = {"height": IMAGE, "width": IMAGE}
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": IMAGE}, crop_size=size),
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that every letter is a token of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=CONTEXT,
    )


def _sizes(width: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }


if __name__ == "__main__":
    write(sys.argv[1])
