import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.lib.adapters.lora import Lora, add_lora
from stages.lib.adapters.model_card import publish
from stages.lib.weights.base import base_identity, check_adapter, end_tokens, load_adapter, load_base
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import load_model_entry
from tests.lib.lora.tiny_chat import params_text, write_tiny_base


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two bases, and an adapter of the first."""
    monkeypatch.chdir(tmp_path)
    first, second = write_tiny_base(tmp_path / "a"), write_tiny_base(tmp_path / "b", seed=1, hidden=128)
    second_entry = params_text(second, "second").partition("\n")[2]
    Path("params.yaml").write_text(params_text(first, "first") + second_entry)
    model, tokenizer = load_base(load_model_entry("first"))
    tuned = add_lora(model, Lora(r=2, lora_alpha=2, lora_dropout=0.0, target_modules=["q_proj"]), seed=0)
    tuned.save_pretrained(tmp_path / "checkpoint")
    publish(tmp_path / "adapter", tmp_path / "checkpoint", tokenizer, facts(), "# card")
    return tmp_path / "adapter"


def facts() -> dict[str, Any]:
    return {"base": "first", "base_identity": base_identity(load_model_entry("first")), "data_sha256": "0"}


def test_loads_what_was_published(adapter: Path) -> None:
    model, tokenizer = load_adapter("first", load_model_entry("first"), adapter)
    assert model.peft_config["default"].r == 2 and not model.training
    assert tokenizer.chat_template
    assert "base_model_name_or_path" in json.loads((adapter / "adapter_config.json").read_text())
    assert str(adapter.parent) not in (adapter / "adapter_config.json").read_text()
    assert huggingface_directory(load_model_entry("first")).name == "a"


def test_an_adapter_of_another_base_is_refused(adapter: Path) -> None:
    with pytest.raises(ValueError, match=r"of the base 'first' .* not of models\.second"):
        load_adapter("second", load_model_entry("second"), adapter)
    (adapter / "llmill.json").unlink()
    with pytest.raises(ValueError, match="an adapter of another base"):
        check_adapter("second", load_model_entry("second"), adapter)
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "second"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="of another base"):  # only the shapes tell
        load_adapter("second", load_model_entry("second"), adapter)


def test_a_damaged_adapter_is_refused(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        load_adapter("first", load_model_entry("first"), adapter)
    weights.unlink()
    with pytest.raises(ValueError, match=r"no adapter_model\.safetensors"):
        load_adapter("first", load_model_entry("first"), adapter)


def test_a_failed_publication_leaves_nothing(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(adapter)
    _, tokenizer = load_base(load_model_entry("first"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.lib.adapters.model_card.write_text", full)
    with pytest.raises(ValueError, match=r"No space left on device.*make room"):
        publish(adapter, adapter.parent / "checkpoint", tokenizer, facts(), "# card")
    assert sorted(path.name for path in adapter.parent.iterdir()) == ["a", "b", "checkpoint", "params.yaml"]


TOKENIZER = SimpleNamespace(eos_token_id=2)


@pytest.mark.parametrize(
    ("config", "others", "expected"),
    [
        (None, (), {2}),
        (SimpleNamespace(), (), {2}),
        (SimpleNamespace(eos_token_id=None), (None,), {2}),
        (SimpleNamespace(eos_token_id=0), (), {0, 2}),
        (SimpleNamespace(eos_token_id=[7, 2]), (), {2, 7}),
        (SimpleNamespace(eos_token_id=(7, 8)), (9, None), {2, 7, 8, 9}),
    ],
)
def test_each_place_that_names_an_end_counts(
    config: object, others: tuple[int | None, ...], expected: set[int]
) -> None:
    assert end_tokens(TOKENIZER, config, *others) == expected


def test_a_tokenizer_without_an_end_leaves_it_to_the_config() -> None:
    assert end_tokens(SimpleNamespace(eos_token_id=None), SimpleNamespace(eos_token_id=5)) == {5}
    assert end_tokens(SimpleNamespace(eos_token_id=None)) == set()


@pytest.mark.parametrize("name", ["LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer", "Custom"])
def test_tokenizer_json_is_read_as_it_stands(tmp_path: Path, name: str) -> None:
    """Whatever class the config names: AutoTokenizer builds the steps of some anew, which gives other tokens."""
    from tokenizers import Tokenizer

    from stages.lib.weights.base import load_tokenizer
    from tests.lib.gguf.test_vocabulary import sentencepiece, splits, trained

    for made in (sentencepiece(prepend=True), trained(splits("deepseek-v3"), False)):
        made.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"tokenizer_class": name}
        if name == "Custom":
            config["auto_map"] = {"AutoTokenizer": ["code.Custom", None]}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        expected = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        tokenizer = load_tokenizer(tmp_path)
        for text in (" the  adapters", "  12345 weights", "\n x漢字y"):
            assert tokenizer(text)["input_ids"] == expected.encode(text).ids
        assert sorted(tokenizer("a")) == ["attention_mask", "input_ids"]
        assert tokenizer.pad_token == made.eos_token and tokenizer.chat_template


def test_a_tokenizer_of_foreign_code_alone_is_refused(tmp_path: Path) -> None:
    from stages.lib.weights.base import load_tokenizer

    config = {"tokenizer_class": "Custom", "auto_map": {"AutoTokenizer": ["code.Custom", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"no tokenizer\.json, .* without running code"):
        load_tokenizer(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize(
    "modules", [["q_proj", "embed_tokens"], ["q_proj", "lm_head"], ["embed_tokens", "lm_head"], ["model.embed_tokens"]]
)
@pytest.mark.parametrize("beside", [False, True], ids=["adapter_alone", "with_the_bases_matrices"])
def test_a_published_adapter_on_embeddings_loads_and_runs_as_it_was(
    adapter: Path, tmp_path: Path, modules: list[str], beside: bool
) -> None:
    """Tied ones; peft writes the base's matrices beside the adapter where it is not told otherwise."""
    import torch

    model, tokenizer = load_base(load_model_entry("first"))
    tuned = add_lora(model, Lora(r=2, lora_alpha=2, lora_dropout=0.0, target_modules=modules), seed=0).eval()
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            parameter.data += torch.randn(parameter.shape)
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        expected = tuned(tokens).logits
    tuned.save_pretrained(tmp_path / "checkpoint", save_embedding_layers=beside)
    publish(adapter, tmp_path / "checkpoint", tokenizer, facts(), "# card")
    loaded, _ = load_adapter("first", load_model_entry("first"), adapter)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, expected)
