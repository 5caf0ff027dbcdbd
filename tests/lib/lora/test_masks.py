from typing import Any

import pytest

from stages.lib.lora.masks import IGNORED, encode_conversation, supervises_end
from tests.lib.lora.tiny_chat import CHATML, tiny_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Éins."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "Zwei."},
]


def learned(tokenizer: Any, messages: list[dict[str, str]]) -> list[str]:
    sample = encode_conversation(tokenizer, messages, "x")
    runs: list[list[int]] = [[]]
    for label in sample.labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [tokenizer.decode(run) for run in runs if run]


def test_the_assistants_words_and_ends_alone_are_learned() -> None:
    assert learned(tiny_tokenizer(), CHAT) == ["Éins.<|im_end|>", "Zwei.<|im_end|>"]


def test_a_token_that_begins_in_the_prompt_is_not_learned() -> None:
    joined = ("Ċ", "Z")  # the line break that ends the generation prompt, and the answer's first letter
    assert learned(tiny_tokenizer(merges=[joined]), CHAT) == ["Éins.<|im_end|>", "wei.<|im_end|>"]


def test_token_ids_are_those_of_the_chat_template() -> None:
    tokenizer = tiny_tokenizer()
    sample = encode_conversation(tokenizer, CHAT, "x")
    assert sample.input_ids == tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=False)
    assert supervises_end(sample, {tokenizer.eos_token_id})
    assert sample.supervised == sum(label != IGNORED for label in sample.labels)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        (
            "{% for m in messages %}{% if m['role'] != 'assistant' %}{{ m['content'] }}{% endif %}{% endfor %}",
            "leaves out or changes turn 3, of the role assistant",
        ),
        (CHATML.replace("assistant\n' }}{% endif", "bot\n' }}{% endif"), "generation prompt does not begin"),
        ("{{ messages | length }}" + CHATML, "rewrites turn|generation prompt"),
        ("{{ raise_exception('only users') }}", r"refuses the conversation .*only users"),
    ],
)
def test_templates_that_cannot_be_masked_are_refused(template: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_conversation(tiny_tokenizer(template), CHAT, "x")


def test_a_conversation_without_the_assistant_is_refused() -> None:
    with pytest.raises(ValueError, match="x: no assistant turn"):
        encode_conversation(tiny_tokenizer(), CHAT[:2], "x")
