"""Continuations keep their blanks by every kind of tokenizer, and change nothing that stands before them."""

from pathlib import Path

import pytest

from stages.lib.tokens.continued_text import continued
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer
from tests import families

# SentencePiece's kind that drops a blank (Llama 2), one that does not (Gemma), and byte-level BPE in two layouts.
NAMES = ["byte", "gpt2", "llama2", "gemma3", "qwen25", "deepseek_v3"]
FAMILIES = {"llama2": "zephyr"}


@pytest.fixture(scope="module", params=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    name = request.param
    if name in ("byte", "gpt2"):
        return load_tokenizer(name)
    return load_tokenizer(f"hf:{families.directory(FAMILIES.get(name, name))}")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Once upon", " a time"),
        ("Once upon", "  two blanks"),
        ("x", "\n\n    y"),
        ("(", "a b)"),
        ("It was", " 5 µm."),
        ("Größe", " é 😀😀 𝔘 漢字"),
        ("日本", " 語"),
        (" begins with a blank", " and goes on"),
    ],
)
def test_blanks_and_letters_are_kept(tokenizer: Tokenizer, text: str, rest: str) -> None:
    whole = tokenizer.encode(text + rest).tolist()
    cuts = [cut for cut in range(len(whole)) if tokenizer.decode(whole[:cut]) == text]
    if not cuts:
        pytest.skip("this tokenizer joins the two texts in one token")
    assert continued(text, tokenizer, whole[cuts[0] :]) == text + rest


def test_an_empty_text_is_begun(tokenizer: Tokenizer) -> None:
    assert continued("", tokenizer, tokenizer.encode("Once upon").tolist()) == "Once upon"
    assert continued("text", tokenizer, []) == "text"


def test_the_texts_are_cut_somewhere(tokenizer: Tokenizer) -> None:
    """Or the first test would skip them all."""
    whole = tokenizer.encode("Once upon a time").tolist()
    assert "Once upon" in [tokenizer.decode(whole[:cut]) for cut in range(len(whole))]


def test_broken_bytes_break_no_letter_before_them() -> None:
    """Llama's decoder turns a whole run of byte tokens into U+FFFD where its end is broken."""
    llama = load_tokenizer(f"hf:{families.directory('zephyr')}")
    vocabulary = llama._backend.get_vocab()  # type: ignore[attr-defined]
    broken, ending = vocabulary["<0xFF>"], [vocabulary[f"<0x{byte:02X}>"] for byte in "𝔘".encode()]
    assert llama.decode([*llama.encode("𝔘").tolist(), broken]).count("\ufffd") > 1  # what is to be avoided
    assert continued("𝔘", llama, [broken]) == "𝔘\ufffd"
    assert continued("a", llama, ending) == "a𝔘"
    assert continued("a\ud800", llama, []) == "a\ufffd"


def test_deepseeks_file_is_read_as_it_stands() -> None:
    """AutoTokenizer builds its steps anew, and all blanks are gone: a GPT would learn text without any."""
    tokenizer = load_tokenizer(f"hf:{families.directory('deepseek_v3')}")
    assert tokenizer.decode(tokenizer.encode("Once upon a  time").tolist()) == "Once upon a  time"


def test_a_damaged_tokenizer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer 'hf:.*' cannot be loaded: ") as caught:
        load_tokenizer(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)
