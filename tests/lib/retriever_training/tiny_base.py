"""An embedding model small enough for tests: a random BERT that knows letters, with mean pooling."""

import string
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast


def write_tiny_base(directory: Path) -> Path:
    """As sentence-transformers saves one."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    letters = [*string.ascii_lowercase, *string.digits, *"?.,'"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    plain = directory / "plain"
    plain.mkdir(parents=True)
    (plain / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(plain / "vocab.txt"), model_max_length=64).save_pretrained(plain)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(plain)
    reader = Transformer(str(plain), max_seq_length=64)
    target = directory / "base"
    SentenceTransformer(modules=[reader, Pooling(32)], device="cpu").save_pretrained(str(target))
    return target
