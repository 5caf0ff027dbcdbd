import importlib.util
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.llama_runtime import LlamaRuntime
from stages.lib.gguf.message_shapes import UNICODE, explained_shapes, template_faults
from stages.lib.gguf.pre_tokenizers import PATTERNS, pre_tokenizer_name
from stages.lib.gguf.vocabulary import NO_MERGE, read_vocabulary
from stages.lib.gguf.writing import write_gguf
from tests.lib.gguf.tiny_families import LLAMA
from tests.lib.lora.tiny_chat import CHATML, tiny_tokenizer

LANGUAGES = "Über 1234567 Häuser; 我们在2024年发布。日本語のテキスト、カタカナ Привет, мир! 한국어"
CODE = "camelCase HTTPServer x/y/\n/z"
TEXTS = ["the adapters of the model don't share 12345 weights, they'll ADD  them\n\n\tand  so on", UNICODE, "a", " b"]
TEXTS += [LANGUAGES, CODE]
WORDS = ["the adapters of the model don't share weights", "they'll ADD them and so on 12 34 123 345", " the  model"] * 4
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ raise_exception('no system turn') }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def trained(before: list[Any], regex: bool, **model: Any) -> Any:
    backend = Tokenizer(models.BPE(**model))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    backend.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", chat_template=CHATML
    )


def splits(name: str) -> list[Any]:
    patterns = next(patterns for patterns, names in PATTERNS.items() if name in names)
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]


def sentencepiece(prepend: bool) -> Any:
    """As transformers makes it of Llama 2's tokenizer.model: characters, merges and bytes."""
    backend = Tokenizer(models.BPE())
    blank = [normalizers.Replace(" ", "\u2581")]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), *blank] if prepend else blank)
    backend.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    model = json.loads(backend.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    merges = [tuple(merge) for merge in model["merges"]]
    backend.model = models.BPE(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    for special in ("<unk>", "<s>", "</s>"):
        backend.add_special_tokens([AddedToken(special, special=True, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=LLAMA2
    )


CASES = {
    "gpt-2": lambda: trained([], True),
    "smollm": lambda: trained([pre_tokenizers.Digits(individual_digits=True)], True),
    "llama-bpe": lambda: trained(splits("llama-bpe"), False, ignore_merges=True),
    "dbrx": lambda: trained(splits("llama-bpe"), False),
    "qwen2": lambda: trained(splits("qwen2"), False),
    "qwen35": lambda: trained(splits("qwen35"), False),
    "tekken": lambda: trained(splits("tekken"), False, ignore_merges=True),
    "gpt-4o": lambda: trained(splits("gpt-4o"), False),
    "deepseek-v3": lambda: trained(splits("deepseek-v3"), False),
    "default": lambda: sentencepiece(prepend=True),
}


@pytest.mark.parametrize("pre", CASES)
def test_llama_cpp_reads_text_and_chats_as_the_tokenizer_does(
    pre: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tokenizer = CASES[pre]()
    model = LlamaForCausalLM(LlamaConfig(**LLAMA | {"vocab_size": len(tokenizer) + 5}))
    state = model.state_dict()
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    vocabulary = read_vocabulary(tokenizer, layout.vocabulary)
    assert vocabulary.pre == pre
    assert vocabulary.model == ("llama" if pre == "default" else "gpt2")
    assert vocabulary.tokens[-1].startswith("[PAD") and vocabulary.types[-1] == gguf.TokenType.UNUSED
    file = tmp_path / "tiny.gguf"
    write_gguf(file, layout=layout, vocabulary=vocabulary, tensor=state.__getitem__, file_type="F16", name="tiny")
    with LlamaRuntime(file, 512) as runtime:
        for text in TEXTS:
            assert runtime.tokens(text) == tokenizer(text)["input_ids"], text
        faults = template_faults(tokenizer, ChatFormat(), runtime)
        assert faults.keys() <= explained_shapes(tokenizer).keys(), faults


def test_special_tokens_and_end_of_turn() -> None:
    vocabulary = read_vocabulary(tiny_tokenizer(), 259)
    assert vocabulary.ids == {"bos": 1, "eos": 2, "padding": 2, "unknown": 0}
    assert vocabulary.end_of_turn == 2
    assert vocabulary.types[:4] == [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL]
    assert vocabulary.merges == [NO_MERGE]  # llama.cpp does not load a BPE without any
    other = tiny_tokenizer()
    other.eos_token = "<|endoftext|>"
    assert read_vocabulary(other, 259).ids["eot"] == 2  # the chat template's, beside the end of the text
    assert read_vocabulary(tiny_tokenizer(template=None), 259).end_of_turn is None


def test_what_llama_cpp_would_read_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no name of llama\.cpp's is known for it; known are gpt-2, smollm"):
        read_vocabulary(trained([pre_tokenizers.Split(Regex(r"\w+"), "isolated")], False), 400)
    lower = trained([], True)
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ValueError, match=r"normalizer \['Lowercase'\]"):
        read_vocabulary(lower, 400)
    with pytest.raises(ValueError, match="has 259 tokens, the model's embedding 258 rows"):
        read_vocabulary(tiny_tokenizer(), 258)


def content_of(tokenizer: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return found


def test_a_pattern_is_known_in_each_of_its_spellings() -> None:
    content = content_of(trained(splits("deepseek-v3"), False))
    words = content["pre_tokenizer"]["pretokenizers"][2]["pattern"]
    words["Regex"] = words["Regex"].replace(r"\r", "\r").replace(r"\n", "\n")  # as DeepSeek's own file has it
    assert pre_tokenizer_name(content) == "deepseek-v3"
    content = content_of(trained(splits("gpt-4o"), False))
    content["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}  # as OpenAI's own has it
    assert pre_tokenizer_name(content) == "gpt-4o"
    content["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": False}
    with pytest.raises(ValueError, match="no name of llama"):
        pre_tokenizer_name(content)


def test_ignored_merges_matter_where_a_token_is_not_what_they_make() -> None:
    content = content_of(trained(splits("qwen2"), False))
    content["model"]["ignore_merges"] = True
    assert pre_tokenizer_name(content) == "qwen2"  # every token is made by the merges: no difference
    content["model"]["vocab"]["zqzq"] = len(content["model"]["vocab"])
    with pytest.raises(ValueError, match=r"ignore_merges is True, llama\.cpp's qwen2 has the opposite"):
        pre_tokenizer_name(content)
