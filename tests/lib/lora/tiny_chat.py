"""A chat model small enough for tests: a random Llama, byte-level tokens, ChatML; and records to teach it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer(template: str | None = CHATML, merges: Sequence[tuple[str, str]] = ()) -> Any:
    """Every byte is a token, besides the three special ones; and each of `merges`, pairs in the byte-level alphabet."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet, *map("".join, merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=template,
    )


def write_tiny_base(directory: Path, seed: int = 0, hidden: int = 64) -> Path:
    """Two layers, `hidden` wide (a multiple of 64, a block of NF4); safetensors, tokenizer, chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def params_text(base: Path, name: str = "tiny") -> str:
    """The models: section of a params.yaml."""
    return f"models:\n  {name}:\n    source: path:{base}\n    backend: transformers\n"


def chat_record(number: int, words: str = "") -> dict[str, Any]:
    """A record of the chat set."""
    color = ("red", "green", "blue")[number % 3]
    answer = f"Thing {number} is {color}. {words}".strip()
    return {
        "id": f"r{number}",
        "kind": "selected",
        "source": f"doc{number}",
        "messages": [
            {"role": "user", "content": f"Thing {number} is {color}.{' Really.' * (number % 5)}\nWhich color is it?"},
            {"role": "assistant", "content": answer},
        ],
    }
