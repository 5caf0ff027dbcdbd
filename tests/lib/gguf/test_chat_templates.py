"""What llama.cpp makes of an exported chat template, asked by a client that knows nothing of us, is what is trained."""

import importlib.util
from pathlib import Path

import pytest

from stages.lib.conversations.chat_format import DATE_STRING, ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import plain, render
from stages.lib.gguf.chat_templates import exported_template
from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.llama_runtime import LlamaRuntime
from stages.lib.gguf.message_shapes import explained_shapes, first_difference, template_faults
from stages.lib.gguf.vocabulary import read_vocabulary
from stages.lib.gguf.writing import write_gguf
from tests import families
from tests.lib.gguf.tiny_families import LLAMA
from tests.lib.lora.tiny_chat import CHATML, tiny_tokenizer

needs_runtime = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
CASES = [(name, False) for name in families.FAMILIES] + [("qwen3", True), ("gpt_oss", True)]
TEXTS = [
    "The adapters don't share 12345 weights, they'll ADD  them\n\n\tand  so on",
    "  Über die Häuser, 3.14159 und 1000000! 我们在2024年。日本語のテキスト Привет, мир! 한국어 👍🏽",
    " b",
    "  c",
    " \n x",
    "\r\n\r\nx path/to/file.py\n/end !!!???...\n foo_bar--baz camelCase",
]


def write(tokenizer: object, file: Path, fmt: ChatFormat) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = max(tokenizer.get_vocab().values()) + 1  # type: ignore[attr-defined]
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    size |= {"num_attention_heads": 1, "num_key_value_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(**LLAMA | size | {"vocab_size": rows}))
    state = model.state_dict()
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    vocabulary = read_vocabulary(tokenizer, rows, fmt)
    write_gguf(file, layout=layout, vocabulary=vocabulary, tensor=state.__getitem__, file_type="F16", name="tiny")


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize(("name", "thinking"), CASES)
def test_each_family_reads_as_it_is_trained(
    name: str, thinking: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tokenizer, fmt = families.tokenizer(name), ChatFormat(thinking=thinking)
    write(tokenizer, tmp_path / "tiny.gguf", fmt)
    with LlamaRuntime(tmp_path / "tiny.gguf", 512) as runtime:
        faults = template_faults(tokenizer, fmt, runtime)
        assert faults.keys() <= explained_shapes(tokenizer).keys(), faults
        assert "special_token_inside" in faults  # else it would need no explanation
        for text in TEXTS:
            expected = encode(tokenizer, plain(tokenizer, text))
            assert not first_difference(expected, runtime.tokens(text), tokenizer), text


TEMPLATES = {
    "date_string": "{% if not date_string is defined %}{% set date_string = 'x' %}{% endif %}{{ date_string }}"
    + CHATML,
    "strftime": "{% if strftime_now is defined %}{% set d = strftime_now('%d %b %Y') %}{% endif %}{{ d }}" + CHATML,
    "thinking": CHATML + "{% if add_generation_prompt and not enable_thinking %}<think></think>{% endif %}",
    "blanks_first": "  {% if true %}\n{{ thinking }}{% endif %}" + CHATML,
    "line_first": "\n{{ thinking }}" + CHATML,
    "refuses_system": "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}" + CHATML,
    "two_arguments": "{{ messages | selectattr('name', 'undefined') | list | length }}"
    "{{ messages | rejectattr('role', 'defined') | list | length }}" + CHATML,
}


@needs_runtime
@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_training_passes_is_in_the_template(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tokenizer, fmt = tiny_tokenizer(TEMPLATES[kind]), ChatFormat()
    turns = [{"role": "user", "content": "a"}]
    rendered = render(tokenizer, turns, fmt, generation_prompt=True).text
    assert kind not in ("date_string", "strftime") or DATE_STRING in rendered
    write(tokenizer, tmp_path / "tiny.gguf", fmt)
    with LlamaRuntime(tmp_path / "tiny.gguf", 512) as runtime:
        assert runtime.render(turns) == rendered
        faults = template_faults(tokenizer, fmt, runtime)
    assert faults.keys() <= explained_shapes(tokenizer).keys(), faults


@needs_runtime
def test_leading_system_turns_are_folded_as_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tokenizer, fmt = tiny_tokenizer(), ChatFormat(system_role="fold")
    write(tokenizer, tmp_path / "tiny.gguf", fmt)
    system = [{"role": "system", "content": text} for text in ("Be brief. ", " \n", "Cite.")]
    user, reply = {"role": "user", "content": " Why?"}, {"role": "assistant", "content": "So."}
    with LlamaRuntime(tmp_path / "tiny.gguf", 512) as runtime:
        for turns in (
            [*system, user],
            [*system, user, reply, user],
            [system[1], user, reply, user],
            [user, reply, user],
        ):
            assert runtime.render(turns) == render(tokenizer, turns, fmt, generation_prompt=True).text


def test_the_rest_of_a_template_stays_word_for_word() -> None:
    assert exported_template(tiny_tokenizer(), ChatFormat()) == CHATML
    assert exported_template(tiny_tokenizer(None), ChatFormat()) == ""
    thinking = TEMPLATES["thinking"]
    assert exported_template(tiny_tokenizer(thinking), ChatFormat(thinking=True)) == thinking
    off = exported_template(tiny_tokenizer(thinking), ChatFormat())
    assert off == "{%- set enable_thinking = false %}" + thinking
    keys = "{{ messages[0].thinking }}{{ messages[0]['date_string'] }}" + CHATML  # keys of a turn, no variables
    assert exported_template(tiny_tokenizer(keys), ChatFormat()) == keys


@needs_runtime
def test_a_template_that_llama_cpp_cannot_read_is_told_from_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "a.gguf"
    write(tiny_tokenizer("{{ messages | groupby('role') | list | length }}" + CHATML), file, ChatFormat())
    with pytest.raises(ValueError, match=r"The file is whole. .* Jinja does not know"), LlamaRuntime(file, 512):
        pass
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cannot load it: Failed to init[^.]*\.$"), LlamaRuntime(file, 512):
        pass
