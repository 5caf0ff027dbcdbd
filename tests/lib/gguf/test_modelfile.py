import pytest

from stages.lib.gguf.modelfile import make_modelfile, read_turns
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
    text = make_modelfile("m-Q8_0.gguf", tiny_tokenizer(), 512, 2, add_bos=False)
    assert text.startswith('FROM ./m-Q8_0.gguf\nPARAMETER num_ctx 512\nTEMPLATE """{{ range .Messages }}')
    assert text.endswith('PARAMETER stop "<|im_end|>"\n')


def test_a_begin_token_that_ollama_adds_is_not_in_the_template() -> None:
    tokenizer = tiny_tokenizer("{{ bos_token }}" + NO_SYSTEM)
    assert 'TEMPLATE """<|im_start|>{{ range' in make_modelfile("m.gguf", tokenizer, 512, 2, add_bos=False)
    assert 'TEMPLATE """{{ range' in make_modelfile("m.gguf", tokenizer, 512, 2, add_bos=True)


def test_a_template_without_a_system_turn() -> None:
    turns = read_turns(tiny_tokenizer(NO_SYSTEM))
    assert turns.system is None
    assert turns.user == ("[INST] ", " [/INST]")
    assert turns.assistant == ("", "<|im_end|>")


def test_a_template_that_is_more_than_turns_is_refused_plainly() -> None:
    numbered = "{% for m in messages %}{{ loop.index }}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    with pytest.raises(ValueError, match=r"no plain sequence of turns \(user\): write TEMPLATE by hand"):
        read_turns(tiny_tokenizer(numbered))
    text = make_modelfile("m.gguf", tiny_tokenizer(numbered), 512, None, add_bos=False)
    assert "# No TEMPLATE: the chat template is no plain sequence of turns" in text


def test_a_model_without_a_template() -> None:
    assert 'TEMPLATE """{{ .Prompt }}"""' in make_modelfile("m.gguf", tiny_tokenizer(None), 512, None, add_bos=False)
