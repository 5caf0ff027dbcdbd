"""What stages load by a hub's entry: bases, embedding models, tokenizers, weights to start from, GGUF files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from stages.lib.weights.models import load_model_entry, locate
from tests.hub_client import ROOT, environment, last_line, run, write_entry
from tests.local_hub import LocalHub

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "repositories") as hub:
        yield hub


def served(hub: LocalHub, name: str, directory: Path, *more: str) -> str:
    files = {file.relative_to(directory).as_posix(): file for file in directory.rglob("*") if file.is_file()}
    return hub.add("models", name, files | dict.fromkeys(more, b"not to be fetched"))


def said(hub: LocalHub, tmp_path: Path, code: str) -> str:
    """What the code prints, with the hub and then, the same, without."""
    outs = []
    for url in (hub.url, DEAD):
        result = run(["-c", code], tmp_path, environment(url, tmp_path / "home"))
        assert result.returncode == 0, result.stderr
        outs.append(result.stdout)
    assert outs[0] == outs[1]
    return outs[0]


@pytest.mark.slow
def test_a_base_in_several_files(hub: LocalHub, tiny_directory: Path, tmp_path: Path) -> None:
    """As qlora, grpo, eval and gguf load theirs."""
    model = AutoModelForCausalLM.from_pretrained(tiny_directory)
    model.save_pretrained(tmp_path / "model", max_shard_size="40kB")
    for file in tiny_directory.iterdir():
        if not file.name.startswith("model"):
            shutil.copy(file, tmp_path / "model")
    assert len(list((tmp_path / "model").glob("model-0*.safetensors"))) > 1
    revision = served(hub, "org/tiny", tmp_path / "model", "consolidated.safetensors", "pytorch_model.bin")
    write_entry(tmp_path, "org/tiny", revision)
    code = """
import json, torch
from stages.lib.weights.base import load_base
from stages.lib.weights.models import load_model_entry
model, tokenizer = load_base(load_model_entry("m"))
ids = tokenizer("the question about apples", return_tensors="pt")["input_ids"]
print(json.dumps([ids.tolist(), model(ids).logits[0, -1, :5].tolist()]))
"""
    ids, logits = json.loads(said(hub, tmp_path, code))
    expected = model(torch.tensor(ids)).logits[0, -1, :5]
    assert torch.allclose(torch.tensor(logits), expected, atol=1e-5)
    assert not hub.gets("consolidated.safetensors") and not hub.gets("pytorch_model.bin")


@pytest.mark.landing
@pytest.mark.slow
def test_an_embedding_model(hub: LocalHub, tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, as the package ships it, from the hub: the same vectors."""
    package = load_model_entry("minilm-l6", ROOT / "params.yaml")
    revision = served(hub, "st/all-MiniLM-L6-v2", locate(package), "onnx/model.onnx", "openvino/openvino_model.bin")
    write_entry(tmp_path, "st/all-MiniLM-L6-v2", revision, backend="sentence_transformers", dtype=package.dtype)
    code = """
import sys
from pathlib import Path
from stages.lib.cache.ledger import Ledger
from stages.lib.embedding.embedders import Embedder
from stages.lib.weights.models import load_model_entry
from tests.hub_client import ROOT
one, other = (
    Embedder(name, load_model_entry(name, file), Ledger(Path(f"{name}.sqlite")))
    for name, file in (("m", Path("params.yaml")), ("minilm-l6", ROOT / "params.yaml"))
)
texts = ["LoRA adds two matrices.", "Ein Satz."]
print((one.encode_documents(texts, None) == other.encode_documents(texts, None)).all())
"""
    assert said(hub, tmp_path, code) == "True\n"
    assert not hub.gets("model.onnx") and not hub.gets("openvino_model.bin")


@pytest.mark.slow
def test_a_tokenizer_of_the_hub_comes_without_weights(hub: LocalHub, tiny_directory: Path, tmp_path: Path) -> None:
    revision = served(hub, "org/tiny", tiny_directory)
    code = f"""
from stages.lib.tokens.tokenizers import load_tokenizer
tokenizer = load_tokenizer("hf:org/tiny@{revision}")
print(tokenizer.decode(tokenizer.encode("the question <|end|>")), tokenizer.vocab_size, tokenizer.identity)
"""
    assert said(hub, tmp_path, code).startswith("the question <|end|> ")
    assert not hub.gets("model.safetensors")
    result = run(["-c", code.replace(revision, "0" * 40)], tmp_path, environment(hub.url, tmp_path / "home"))
    assert last_line(result).startswith(f"tokenizer.revision: '{'0' * 40}' is no commit of {hub.url}/org/tiny")
    result = run(["-c", code.replace(revision, "main")], tmp_path, environment(hub.url, tmp_path / "home"))
    assert last_line(result).startswith("tokenizer.revision: 'main' is no commit hash of 40 hex digits")


@pytest.mark.slow
def test_weights_to_start_from(hub: LocalHub, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=99, n_positions=32, n_embd=16, n_layer=2, n_head=2)).eval()
    theirs.save_pretrained(tmp_path / "gpt2")
    revision = served(hub, "org/gpt2", tmp_path / "gpt2", "64.tflite", "onnx/model.onnx", "pytorch_model.bin")
    code = f"""
import json, torch
from stages.lib.gpt_export.huggingface import from_hf
model = from_hf("org/gpt2", "{revision}")
print(json.dumps(model(torch.arange(8)[None]).flatten()[:5].tolist()))
"""
    logits = torch.tensor(json.loads(said(hub, tmp_path, code)))
    expected = theirs(torch.arange(8)[None]).logits
    assert min((logits - expected[0, place, :5]).abs().max() for place in (0, -1)) < 1e-4
    kept = {file.name for file in (tmp_path / "home").rglob("snapshots/*/*")}
    assert kept == {"config.json", "model.safetensors"}


def test_a_gguf_file(hub: LocalHub, tmp_path: Path) -> None:
    content = b"GGUF" + bytes(1000)
    revision = hub.add("models", "org/gguf", {"README.md": "# x", "small-Q4_1.gguf": content})
    write_entry(tmp_path, "org/gguf", revision, backend="llama_cpp")
    code = """
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
from stages.lib.weights.models import load_model_entry
print(LlamaCppBackend(load_model_entry("m")).file)
"""
    assert Path(said(hub, tmp_path, code).strip()).read_bytes() == content
