"""The table gives tiktoken's ids: for random texts, every character it knows, every token, and real text."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import tiktoken

from stages.lib.tokens import bpe_table
from stages.lib.tokens.bpe_table import BPETable
from stages.lib.tokens.tokenizers import GPT2Tokenizer, load_tokenizer

PLAIN = "The quick brown fox. " * 20  # so that a text is mostly ASCII


@pytest.fixture(scope="module")
def encoding() -> tiktoken.Encoding:
    gpt2 = load_tokenizer("gpt2")
    assert isinstance(gpt2, GPT2Tokenizer)
    return gpt2._bpe


@pytest.fixture(scope="module")
def table(encoding: tiktoken.Encoding) -> BPETable:
    return BPETable(encoding)


def test_random_texts(encoding: tiktoken.Encoding, table: BPETable) -> None:
    rng = random.Random(0)
    parts = [
        *" \n\t\r'sdmtlvreSTLV1234_.,-!?\"()aAbZ\x0b\x1c\x7f",
        *["'ll", "'ve", "'re", " '", " 'll", "''s", "\r\n", "   ", "\n\n", "I'd've", " the", "word", "'llama"],
        *["internationalization", "Internationalisations", "1234567890" * 3, "=" * 40, "the" * 9],
        *"é’“—²½\u00a0\u2003\u2028\u0301Ωд",
    ]
    encoded = 0
    for _ in range(3000):
        text = "".join(rng.choice(parts) for _ in range(rng.randint(1, 40)))
        text += PLAIN[: rng.choice([0, 1, 200])] + rng.choice(["", " ", "'", "'s", "'l", "\n ", "  "])
        ids = table.encode(text)
        if ids is not None:
            encoded += 1
            assert ids.tolist() == encoding.encode_ordinary(text), repr(text)
    assert encoded > 1000


def test_every_character_it_knows(encoding: tiktoken.Encoding, table: BPETable) -> None:
    encoded = 0
    for code in range(1, 0x3001):
        char = chr(code)
        text = f"{PLAIN}b{char}b {char}1 {char}.{char} 's{char}\n{char}{char}"
        ids = table.encode(text)
        if ids is not None:
            encoded += 1
            assert ids.tolist() == encoding.encode_ordinary(text), hex(code)
    assert encoded > 5000
    assert table.encode(PLAIN + "日本") is None
    assert table.encode(PLAIN + "\0") is None
    assert table.encode("Привет, мир") is None
    assert table.encode("") is None


def test_every_token(encoding: tiktoken.Encoding, table: BPETable) -> None:
    for token in range(0, 50256, 7):
        text = encoding.decode([token])
        ids = table.encode(f"{text} {text}x{text}")
        assert ids is None or ids.tolist() == encoding.encode_ordinary(f"{text} {text}x{text}")


def test_what_is_remembered_is_bounded(encoding: tiktoken.Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe_table, "_MEMO_PIECES", 10)
    small = BPETable(encoding)
    text = " ".join(f"wxqz{i:x}kk" for i in range(500)) + "x" * 1000
    ids = small.encode(text)
    assert ids is not None and ids.tolist() == encoding.encode_ordinary(text)
    assert len(small._pieces) <= 10 and max(map(len, small._pieces)) < 100


@pytest.mark.real_data
def test_real_text(encoding: tiktoken.Encoding, table: BPETable) -> None:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA, the folder of real data sets, is not set")
    pretrain = Path(os.environ["LLMILL_REAL_DATA"]) / "pretrain"
    texts = [(pretrain / "tinyshakespeare_input.txt").read_text(), (pretrain / "the-verdict.txt").read_text()]
    for file in sorted(pretrain.glob("openstax_*.jsonl")):
        texts.extend(json.loads(line)["text"] for line in file.read_text().splitlines()[:30])
    found = [table.encode(text) for text in texts]
    assert sum(ids is not None for ids in found) > 0.95 * len(texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids is None or np.array_equal(ids, encoding.encode_to_numpy(text, disallowed_special=()))
