from dataclasses import replace
from typing import Any

import pytest

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.gguf.modelfile import make_modelfile, read_turns
from stages.lib.gguf.vocabulary import read_vocabulary
from tests.lib.lora.tiny_chat import tiny_tokenizer

SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ raise_exception('no system turn') }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def modelfile(tokenizer: Any, add_bos: bool = False, fmt: ChatFormat = ChatFormat()) -> str:  # noqa: B008
    vocabulary = replace(read_vocabulary(tokenizer, 259, fmt), add_bos=add_bos)
    return make_modelfile("m-Q8_0.gguf", tokenizer, fmt, 512, vocabulary)


def test_a_default_system_turn_is_there_only_without_another() -> None:
    turns = read_turns(tiny_tokenizer(SMOLLM))
    assert turns.beginning == "<|im_start|>system\nYou are helpful.<|im_end|>\n"
    assert turns.go_template() == (
        "{{ if not .System }}<|im_start|>system\nYou are helpful.<|im_end|>\n{{ end }}{{ range .Messages }}"
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        "{{ end }}{{ end }}<|im_start|>assistant\n"
    )


def test_modelfile() -> None:
    text = modelfile(tiny_tokenizer())
    assert text.startswith('FROM ./m-Q8_0.gguf\nPARAMETER num_ctx 512\nTEMPLATE """{{ range .Messages }}')
    assert text.endswith('PARAMETER stop "<|im_end|>"\n')


def test_a_begin_token_that_ollama_adds_is_not_in_the_template() -> None:
    tokenizer = tiny_tokenizer("{{ bos_token }}" + NO_SYSTEM)
    assert 'TEMPLATE """{{ $system := .System }}<|im_start|>{{ range' in modelfile(tokenizer)
    assert 'TEMPLATE """{{ $system := .System }}{{ range' in modelfile(tokenizer, add_bos=True)


FOLDING = (
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ '<' + m['role'] + '>' }}"
    "{% if m['role'] == 'user' and loop.index0 == 1 and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\n\n' }}{% endif %}{{ m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_a_template_that_puts_the_system_turn_into_the_users_itself() -> None:
    """As Gemma 3's does; without this, Ollama would leave the system turn out without a word."""
    turns = read_turns(tiny_tokenizer(FOLDING), ChatFormat(system_role="template"))
    assert turns.folds and turns.user == ("<user>", "<|im_end|>")
    lost = FOLDING.replace("+ '\n\n'", "+ ' (' + messages[1]['content'][:3] + ')'")
    with pytest.raises(ValueError, match=r"no plain sequence of turns \(system, user\)"):
        read_turns(tiny_tokenizer(lost), ChatFormat(system_role="template"))


def test_a_thinking_switch_is_told_and_followed() -> None:
    thinks = SMOLLM.replace(
        "assistant\n' }}{% endif", "assistant\n' }}{% if not enable_thinking %}(no thoughts){% endif %}{% endif"
    )
    on, off = (modelfile(tiny_tokenizer(thinks), fmt=ChatFormat(thinking=thinking)) for thinking in (True, False))
    assert "# The model thinks before it answers" in on and "(no thoughts)" not in on
    assert "# The model does not think before it answers" in off and "assistant\n(no thoughts)" in off


def test_a_template_without_a_system_turn() -> None:
    """The system text stands before the first user's, as in training; the Go template does the same."""
    turns = read_turns(tiny_tokenizer(NO_SYSTEM))
    assert turns.system is None and turns.folds
    assert turns.go_template().startswith(
        '{{ $system := .System }}{{ range .Messages }}{{ if eq .Role "user" }}[INST] '
        '{{ if $system }}{{ $system }}\n\n{{ $system = "" }}{{ end }}{{ .Content }} [/INST]'
    )
    assert turns.user == ("[INST] ", " [/INST]")
    assert turns.assistant == ("", "<|im_end|>")


def test_a_template_that_is_more_than_turns_is_refused_plainly() -> None:
    numbered = "{% for m in messages %}{{ loop.index }}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    with pytest.raises(ValueError, match=r"no plain sequence of turns \(user\): write TEMPLATE by hand"):
        read_turns(tiny_tokenizer(numbered))
    text = modelfile(tiny_tokenizer(numbered))
    assert "# No TEMPLATE: the chat template is no plain sequence of turns" in text


def test_a_model_without_a_template() -> None:
    assert 'TEMPLATE """{{ .Prompt }}"""' in modelfile(tiny_tokenizer(None))
