"""Tokenizers: round trips, specials that stay text, safe cuts, llama.cpp's GPT-2 cases, a Hugging Face tokenizer."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer

ODD_TEXTS = [
    "",
    " ",
    "plain words, twice  spaced\n\n\n and\ttabs \r\n",
    "it's we'll 'S 'LL 12345 ½ ² Ⅷ x_y __init__",
    "ß Ā ﬁ ① \u00a0\u2003\u3000\u200b\u2028\u0085\x1c\x1f\x00\x7f",
    "日本語テキスト、한국어, नमस्ते दुनिया, Ελληνικά, Привет мир, العربية",
    "😀👨‍👩‍👧‍👦🇩🇪 e\u0301 a\u0308\u0323 \U000e0041 \U0010ffff",
    "code:\n    for i in range(10):\n\t\tprint(f'{i}')  # ok\n",
    "<|endoftext|> and <|endoftext|>",
    "a" * 3000 + " " * 3000 + "\n" * 300 + "!?" * 500,
]


@pytest.fixture(scope="module", params=["byte", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.param)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_round_trips(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64 and ids.ndim == 1
    assert tokenizer.decode(ids.tolist()) == text
    assert not np.isin(ids, [tokenizer.eot, tokenizer.sep, tokenizer.pad]).any()
    assert len(ids) == 0 or ids.max() < tokenizer.vocab_size


def test_specials_are_left_out_of_decoded_text_and_broken_utf8_is_replaced(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("abc").tolist()
    specials = [tokenizer.eot, tokenizer.sep, tokenizer.pad, tokenizer.vocab_size, 60_000]
    assert tokenizer.decode([*ids, *specials, *ids]) == "abcabc"
    assert tokenizer.decode(tokenizer.encode("é").tolist()[:1]) in ("é", "\ufffd")
    assert tokenizer.decode(tokenizer.encode("a\ud800b").tolist()) == "a\ufffdb"


def test_ids_are_the_agreed_ones() -> None:
    byte, gpt2 = load_tokenizer("byte"), load_tokenizer("gpt2")
    assert byte.encode("hé").tolist() == [0x68, 0xC3, 0xA9]
    assert (byte.pad, byte.eot, byte.sep, byte.vocab_size) == (256, 258, 259, 260)
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("<|endoftext|>").tolist() == [27, 91, 437, 1659, 5239, 91, 29]
    assert (gpt2.eot, gpt2.sep, gpt2.pad, gpt2.vocab_size) == (50256, 50257, 50258, 50259)
    assert byte.identity != gpt2.identity
    assert load_tokenizer("gpt2").identity == gpt2.identity


def test_parts_have_the_ids_of_the_whole(tokenizer: Tokenizer) -> None:
    rng = random.Random(0)
    alphabet = ["word", "it's", " ", "  ", "\n", "\n\n", "\t", "\u00a0", "12", ".", "é", "日本", "\x1f", "'", "😀"]
    for size in (1, 5, 50):
        text = "".join(rng.choice(alphabet) for _ in range(1500))
        parts = tokenizer.parts(text, size)
        assert "".join(parts) == text and len(parts) > 1500 / size / 50
        assert np.concatenate([tokenizer.encode(part) for part in parts]).tolist() == tokenizer.encode(text).tolist()


def test_gpt2_files_come_from_the_package_and_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    load_tokenizer("gpt2")
    files = sorted((tmp_path / "tiktoken").iterdir())
    assert len(files) == 2
    assert "TIKTOKEN_CACHE_DIR" not in os.environ
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:1000])  # a copy that was cut is made again
    load_tokenizer("gpt2")
    assert files[0].read_bytes() == whole


@pytest.mark.parametrize("name", ["", "gpt3", "hf:", "hf:org/name", "hf:no/such/directory"])
def test_unknown_tokenizers_are_named(name: str) -> None:
    with pytest.raises(ValueError, match="tokenizer '"):
        load_tokenizer(name)


def small_bpe(directory: Path, specials: list[str], **names: str) -> str:
    """A BPE of the tokenizers library, trained on a few words and saved as transformers loads it."""
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the cat sat on the mat", "the dog sat on the log"] * 10, trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(directory)
    return f"hf:{directory}"


def test_a_hugging_face_tokenizer(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(small_bpe(tmp_path / "a", ["</s>"], eos_token="</s>"))
    for text in ODD_TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).tolist()) == text
    assert tokenizer.encode("the cat").size < 7
    assert tokenizer.eot not in tokenizer.encode("a </s> b").tolist()
    assert tokenizer.decode([tokenizer.eot, *tokenizer.encode("ok").tolist(), tokenizer.sep, tokenizer.pad]) == "ok"
    assert len({tokenizer.eot, tokenizer.sep, tokenizer.pad}) == 3
    assert tokenizer.vocab_size == max(tokenizer.sep, tokenizer.pad) + 1

    own = load_tokenizer(small_bpe(tmp_path / "b", ["</s>", "<pad>"], eos_token="</s>", pad_token="<pad>"))
    assert own.pad == 1 and own.sep == own.vocab_size - 1
    assert own.identity != tokenizer.identity

    with pytest.raises(ValueError, match="has no eos_token"):
        load_tokenizer(small_bpe(tmp_path / "c", ["</s>"]))


@pytest.mark.real_data
def test_gpt2_gives_the_ids_of_llama_cpps_cases() -> None:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA, the folder of real data sets, is not set")
    cases = Path(os.environ["LLMILL_REAL_DATA"]) / "gguf_vocab" / "ggml-vocab-gpt-2.gguf"
    # Line ends are part of the cases: no translation of \r\n.
    texts = cases.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    expected = cases.with_suffix(".gguf.out").read_bytes().decode().splitlines()
    gpt2 = load_tokenizer("gpt2")
    assert len(texts) == 46
    for text, ids in zip(texts, expected, strict=True):
        assert gpt2.encode(text).tolist() == [int(i) for i in ids.split()], text
        assert gpt2.decode(gpt2.encode(text).tolist()) == text
