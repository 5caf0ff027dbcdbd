from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken

from stages.lib.llm import chat_text
from stages.lib.llm.hf_prompts import HuggingFacePrompts
from stages.lib.llm.protocol import GenerateRequest, Prompt, ScoreRequest
from stages.lib.weights.models import ModelEntry


def test_thinking_is_cut_off() -> None:
    assert chat_text.visible("<think>\nhm\n</think>\n\n42", thinking=True) == "42"
    assert chat_text.visible("hm, never done", thinking=True) == ""
    assert chat_text.visible("42", thinking=False) == "42"
    harmony = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>"
    assert chat_text.visible(harmony, thinking=True) == "42"
    assert chat_text.visible("<|channel|>analysis<|message|>hm", thinking=True) == ""
    assert chat_text.visible("42<|return|>", thinking=False) == "42"


def test_a_fixed_beginning_leaves_no_room_for_thinking() -> None:
    entry = ModelEntry(source="path:x", backend="transformers", thinking=True)
    assert chat_text.may_think(entry, GenerateRequest(prompt=Prompt(text="a")))
    for request in (
        GenerateRequest(prompt=Prompt(text="a", answer_prefix="b")),
        GenerateRequest(prompt=Prompt(text="a"), schema={}),
        GenerateRequest(prompt=Prompt(text="a", chat=False)),
        ScoreRequest(prompt=Prompt(text="a"), choices=("1",)),
    ):
        assert not chat_text.may_think(entry, request)


def test_first_stop_is_the_earliest() -> None:
    assert chat_text.first_stop("one two three", ("three", "two", "four")) == 4
    assert chat_text.first_stop("one", ("x",)) == -1


def template(text: str) -> Any:
    """A tokenizer that renders `text` with what it was given."""
    return SimpleNamespace(
        chat_template=text,
        name_or_path="x",
        apply_chat_template=lambda turns, **options: text.format(
            last=turns[-1]["content"], today=options["strftime_now"]("%Y-%m-%d"), thinking=options["enable_thinking"]
        ),
    )


def test_render_opens_the_final_channel_and_freezes_the_date() -> None:
    prompt = Prompt(text="q", answer_prefix="A:")
    assert chat_text.render(template("<|channel|>{last}"), prompt, False) == "<|channel|>q<|channel|>final<|message|>A:"
    assert chat_text.render(template("<|channel|>{last}"), Prompt(text="q"), True) == "<|channel|>q"
    assert chat_text.render(template("{today} {thinking}"), Prompt(text="q"), True) == "2026-01-01 True"
    with pytest.raises(ValueError, match="no chat template"):
        chat_text.render(template(""), prompt, False)
    assert chat_text.plain(Prompt(text="q", chat=False, answer_prefix=" A")) == "q A"


def test_new_tokens_are_decoded_behind_the_prompts_last_ones() -> None:
    class DropsLeadingBlank:
        def decode(self, ids: list[int], skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
            assert not clean_up_tokenization_spaces
            words = {1: " a", 2: " b", 3: "" if skip_special_tokens else "<end>"}
            return "".join(words[i] for i in ids).lstrip()

    assert chat_text.decode_after(DropsLeadingBlank(), [2, 2, 2, 1, 1], [2, 3]) == " b"
    assert chat_text.decode_after(DropsLeadingBlank(), [1], [2, 3], keep_special=True) == " b<end>"
    assert chat_text.decode_after(DropsLeadingBlank(), [], [2]) == "b"


def test_special_tokens_are_kept_where_thinking_ends_with_one() -> None:
    def prompts(template: str, *tokens: tuple[str, bool]) -> HuggingFacePrompts:
        found = HuggingFacePrompts(ModelEntry(source="path:x", backend="transformers"))
        added = dict(enumerate(AddedToken(text, special=special) for text, special in tokens))
        found.__dict__["tokenizer"] = SimpleNamespace(chat_template=template, added_tokens_decoder=added)
        return found

    assert prompts("", ("[/THINK]", True)).marks_are_special  # Magistral
    assert not prompts("", ("</think>", False), ("<eos>", True)).marks_are_special  # Qwen3
    assert prompts("<|channel|>").marks_are_special  # gpt-oss
