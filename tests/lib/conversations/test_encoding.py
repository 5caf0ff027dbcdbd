"""Real tokenizers of every family: what is asked begins and reads as each family's own card has it."""

from typing import Any

import pytest

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import beginning, encode, encode_with_offsets
from stages.lib.conversations.markup import markup_of
from stages.lib.conversations.rendering import plain, render
from tests import families

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Wie heißt die Stadt?"}]
FIRST = {  # the first tokens; of a family that is not named: nothing is put first
    "zephyr": ["<s>", "▁<"],
    "mistral": ["<s>", "▁["],
    "gemmatpl": ["<s>", "▁<"],
    "gemma3": ["<bos>", "<start_of_turn>"],
    "llama3": ["<|begin_of_text|>", "<|start_header_id|>"],
    "llama32": ["<|begin_of_text|>", "<|start_header_id|>"],
    "mistral_nemo": ["<s>", "[INST]"],
    "deepseek_v3": ["<｜begin▁of▁sentence｜>", "Be"],
    "command_r": ["<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>"],
    "qwen25": ["<|im_start|>", "system"],
    "qwen3": ["<|im_start|>", "system"],
    "gpt_oss": ["<|start|>", "system"],
}


def forged(tokenizer: Any) -> list[str]:
    """Every markup of a tokenizer, but for those that stand for places without a use."""
    unused = ("reserved", "SPECIAL_", "place▁holder")
    return [token for token in markup_of(tokenizer).ids if not any(part in token for part in unused)]


@pytest.mark.parametrize("name", families.FAMILIES)
def test_what_the_tokenizer_puts_first_is_there_once(name: str) -> None:
    tokenizer = families.tokenizer(name)
    ids = encode(tokenizer, render(tokenizer, ASKED, generation_prompt=True))
    assert tokenizer.convert_ids_to_tokens(ids[:2]) == FIRST[name]
    first = beginning(tokenizer)
    assert first in ([], [tokenizer.bos_token_id])
    assert ids.count(tokenizer.bos_token_id) == len(first) if first else True
    assert (
        encode(tokenizer, plain(tokenizer, "Once")) == first + tokenizer("Once", add_special_tokens=False)["input_ids"]
    )


@pytest.mark.parametrize("name", families.FAMILIES)
def test_ordinary_texts_have_the_ids_of_the_tokenizer_itself(name: str) -> None:
    tokenizer = families.tokenizer(name)
    rendered = render(tokenizer, ASKED, generation_prompt=True)
    own = tokenizer(rendered.text, add_special_tokens=False)["input_ids"]
    assert encode(tokenizer, rendered)[-len(own) :] == own


@pytest.mark.parametrize("name", families.FAMILIES)
def test_markup_in_a_content_is_text(name: str) -> None:
    tokenizer = families.tokenizer(name)
    marks = forged(tokenizer)
    assert marks
    content = f"What is {' or '.join(marks)}, and{marks[0]}{marks[-1]}?"
    ids = encode(tokenizer, render(tokenizer, [{"role": "user", "content": content}], generation_prompt=True))
    usual = encode(tokenizer, render(tokenizer, [{"role": "user", "content": "What?"}], generation_prompt=True))
    known = set(markup_of(tokenizer).ids.values())
    assert [token for token in ids if token in known] == [token for token in usual if token in known]
    assert content in tokenizer.decode(ids)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_offsets_are_places_in_the_text(name: str) -> None:
    tokenizer = families.tokenizer(name)
    mark = forged(tokenizer)[-1]
    rendered = render(tokenizer, [{"role": "user", "content": f"a{mark} bcd{mark}{mark}"}], generation_prompt=True)
    encoded = encode_with_offsets(tokenizer, rendered)
    pieces = ["".join(rendered.text[low:high].split()) for low, high in encoded.offsets]
    names = tokenizer.convert_ids_to_tokens(encoded.ids)
    for piece, token in zip(pieces, names, strict=True):
        if piece and piece.isascii() and not token.startswith("<0x"):
            assert piece in (token.strip("▁Ġ"), token.strip("▁ĠĊ"))
    covered = {place for low, high in encoded.offsets for place in range(low, high)}
    assert all(place in covered for place, char in enumerate(rendered.text) if not char.isspace())


def test_a_private_character_forges_nothing() -> None:
    tokenizer = families.tokenizer("qwen3")
    content = "\U000f0000151645\U000f0000 \U00100000 <|im_end|> \U00100001"
    ids = encode(tokenizer, render(tokenizer, [{"role": "user", "content": content}], generation_prompt=True))
    assert ids.count(151645) == 1
    assert content in tokenizer.decode(ids)


def test_the_default_models_ids_are_those_of_its_template() -> None:
    from stages.lib.weights.base import load_tokenizer
    from stages.lib.weights.gguf_weights import huggingface_directory
    from stages.lib.weights.models import load_model_entry

    tokenizer = load_tokenizer(huggingface_directory(load_model_entry("smollm2-135m")))
    for turns in (ASKED, ASKED[1:], [*ASKED, {"role": "assistant", "content": "Rom."}, ASKED[1]]):
        own = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert encode(tokenizer, render(tokenizer, turns, generation_prompt=True)) == own


def test_decomposed_text_is_normalised_where_the_tokenizer_does_it() -> None:
    decomposed, composed = ([{"role": "user", "content": word}] for word in ("cafe\u0301 A\u030a", "café Å"))
    for name, same in (("qwen3", True), ("command_r", True), ("llama3", False), ("zephyr", False)):
        tokenizer = families.tokenizer(name)
        first, second = (
            encode_with_offsets(tokenizer, render(tokenizer, turns, ChatFormat(), generation_prompt=True))
            for turns in (decomposed, composed)
        )
        assert (first == second) == same
