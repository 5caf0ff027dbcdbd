"""BERT by PyTorch's own layers gives what transformers gives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertModel

from stages.lib.embedding import bert
from stages.lib.weights.models import load_model_entry, locate


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT in small with random weights, biases and norms among them."""
    directory = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=32, layer_norm_eps=1e-6,
    )  # fmt: skip
    model = BertModel(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(directory)
    return directory


@torch.inference_mode()
def differences(directory: Path, dtype: str, lengths: list[int], vocabulary: int) -> list[float]:
    theirs = AutoModel.from_pretrained(directory, dtype=dtype).eval()
    ours = bert.load(directory, dtype)
    found = []
    for length in lengths:
        ids = torch.randint(vocabulary, (1, length), generator=torch.Generator().manual_seed(length))
        mask = torch.ones_like(ids)
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        got = ours(input_ids=ids, attention_mask=mask).last_hidden_state
        assert got.dtype == expected.dtype and got.shape == expected.shape
        found.append(float((got - expected).abs().max()))
    return found


def test_equals_transformers(tiny: Path) -> None:
    assert bert.is_plain(tiny)
    assert max(differences(tiny, "float32", [1, 2, 9, 32], 50)) < 1e-5
    assert max(differences(tiny, "bfloat16", [9], 50)) < 0.1


def test_equals_transformers_on_the_packaged_model() -> None:
    directory = locate(load_model_entry("minilm-l6"))
    assert bert.is_plain(directory)
    assert max(differences(directory, "float32", [1, 17, 256], 30522)) < 1e-5


@pytest.mark.parametrize(
    "changed",
    [
        {"model_type": "roberta"},
        {"hidden_act": "gelu_new"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
    ],
)
def test_what_is_not_plain_is_left_to_transformers(tiny: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    (tmp_path / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    config = json.loads((tiny / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert bert.is_plain(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | changed))
    assert not bert.is_plain(tmp_path)


def test_weights_under_other_names_are_left_to_transformers(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny / "config.json").read_text())
    assert not bert.is_plain(tmp_path)  # in several files, as large models are
    weights = load_file(tiny / "model.safetensors")
    save_file({f"bert.{name}": value for name, value in weights.items()}, tmp_path / "model.safetensors")
    assert not bert.is_plain(tmp_path)


@torch.inference_mode()
def test_padding_is_not_seen(tiny: Path) -> None:
    network = bert.load(tiny, "float32")
    ids, mask = torch.tensor([[1, 2, 3, 9], [4, 5, 6, 7]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    states = network(ids, mask).last_hidden_state
    expected = AutoModel.from_pretrained(tiny).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(states[0, :3], expected[0, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(states[1], expected[1], atol=1e-5, rtol=0)
    places = (mask.flip(1).cumsum(1) - 1).clamp(min=0)  # padding on the left, where last-token pooling has it
    states = network(ids.flip(1), mask.flip(1), places).last_hidden_state
    alone = network(ids[:1, :3].flip(1), mask[:1, :3]).last_hidden_state
    torch.testing.assert_close(states[0, 1:], alone[0], atol=1e-5, rtol=0)
    with pytest.raises(AssertionError, match="no padding beside a text alone"):
        network(ids[:1], mask[:1])


def test_embedding_and_late_interaction_import_neither_transformers_nor_sentence_transformers(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from stages.lib.embedding.embedders import open_embedder
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.weights.models import load_model_entry, locate
entry = load_model_entry("minilm-l6")
with open_embedder("minilm-l6", entry) as embedder:
    assert embedder.encode_documents(["a text"], None).shape == (1, 384)
assert len(TokenEncoder(entry, locate(entry)).encode(["a text"], "document")[0].tokens) == 4
print(sorted({"transformers", "sentence_transformers", "sklearn", "scipy"} & set(sys.modules)))
"""
    environment = {"LLMILL_CACHE": str(tmp_path), "PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
