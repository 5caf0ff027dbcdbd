"""Small random models as sentence-transformers saves them, one of each shape that people embed with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

WORDS = "the gradient of a loss what is query passage search document title none text instruct".split()
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer_of(
    directory: Path, *, cls: str = "[CLS]", sep: str = "[SEP]", pad: str = "[PAD]", **settings: Any
) -> int:
    """Writes a tokenizer of bytes and some words that puts `cls` before and `sep` behind a text; returns its size.

    Ids as in XLM-RoBERTa: cls 0, pad 1, sep 2.
    """
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    names = [name for name in (cls, pad, sep) if name]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys([*names, "[UNK]", *alphabet]))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(names)
    marks = [(name, vocabulary[name]) for name in dict.fromkeys([cls, sep]) if name]
    single = " ".join(part for part in (cls, "$A", sep) if part)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=single, special_tokens=marks)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token="[UNK]", **{"model_max_length": 64} | settings
    )
    if cls:
        fast.cls_token = cls
    fast.sep_token = sep
    fast.save_pretrained(directory)
    return len(vocabulary)


def backbone(directory: Path, config: type[Any], tokenizer: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A random transformer with its tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    size = tokenizer_of(directory, **tokenizer or {})
    torch.manual_seed(0)
    model_class = transformers.AutoModel
    made = config(**{"vocab_size": size, "pad_token_id": 1} | SIZES | settings)
    model = transformers.T5EncoderModel(made) if config is transformers.T5Config else model_class.from_config(made)
    for parameter in model.parameters():  # far from zero, so that every wrong token shows
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)
    return directory


def saved(directory: Path, modules: list[Any], **settings: Any) -> Path:
    """The modules as one model directory."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=modules, device="cpu", **settings).save(str(directory))
    return directory


Build = Callable[[Path], Path]
