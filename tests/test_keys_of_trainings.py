"""Another value of a knob is another training, but for the few that may change between a kill and the next run."""

import datetime
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml

import stages.finetune
import stages.grpo
import stages.pretrain
import stages.qlora
from stages.lib.gpt.checkpoints import TokenizerFacts
from stages.lib.launching.world import World
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.lib.weights.models import load_model_entry
from tests.lib.lora.tiny_chat import write_tiny_base
from tests.params_of import params_of

# How the same sums are cut, what is shown, and what is measured before or after: none of it changes a weight.
LOOP = {"micro_batch", "compile", "processes", "parallel", "checkpoint_every", "log_every", "trackers"}
FREE: dict[str, set[str]] = {
    "pretrain": LOOP | {"eval_windows", "hellaswag", "hellaswag_limit", "hellaswag_every", "prompts", "max_new_tokens"},
    # The examples count by their content.
    "finetune": LOOP | {"sources", "answer_limit", "max_new_tokens", "text_windows"},
    "qlora": {"gradient_checkpointing", "val_limit", "checkpoint_every", "memory_share", "bootstrap_samples"},
    "grpo": {
        "vllm_gpu_memory_utilization",
        "micro_batch",
        "gradient_checkpointing",
        "eval_batch_size",
        "checkpoint_every",
        "bootstrap_samples",
    }
    | {"audit_prompts", "audit_replies", "audit_tolerance", "test_limit"},
}
WORLD = World(0, 1, torch.device("cpu"))
BYTES = load_tokenizer("byte")
FACTS = TokenizerFacts(name="byte", identity=BYTES.identity, vocab_size=BYTES.vocab_size, eot=BYTES.eot)
Directory = Callable[[Any], Path]  # params -> where that training's checkpoints lie


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two names for one base model, and a training loop that only says where it would keep its checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    write_tiny_base(tmp_path / "tiny")
    entry = {"source": "path:tiny", "backend": "transformers"}
    Path("params.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry, "tiny-2": entry}}))
    for stage in (stages.pretrain, stages.finetune):
        monkeypatch.setattr(stage, "Training", lambda model, params, world, store, *_, **__: store.directory)
    monkeypatch.setattr(stages.pretrain, "initial_weights_identity", lambda place: place)
    monkeypatch.setattr(stages.pretrain, "initial_model", lambda *_: None)
    Path("base").mkdir()
    Path("base/model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(stages.finetune, "BASE_DIR", Path("base"))
    monkeypatch.setattr(stages.finetune, "load_model", lambda place: (None, "byte"))
    return tmp_path


def pretrain_directory(params: Any, fingerprint: str = "shards") -> Path:
    data: Any = SimpleNamespace(tokenizer=BYTES, fingerprint=fingerprint, val_sequences=1)
    found: Any = stages.pretrain.begin(params, data, WORLD)
    return Path(found)


def finetune_directory(params: Any, content: bytes = b"example") -> Path:
    examples = [SimpleNamespace(digest=content)]
    held_out = dict.fromkeys(("all", "output"), SimpleNamespace(per_epoch=1))
    data: Any = SimpleNamespace(examples=examples, held_out=held_out)
    found: Any = stages.finetune.begin(params, data, WORLD, FACTS)
    return Path(found)


def others(value: Any, hint: Any) -> list[Any]:
    """Other values of a knob, of which one at least should be allowed."""
    if get_origin(hint) is Literal:
        # auto last: it may be what the value is already, float32 on a CPU without AMX
        return sorted((other for other in get_args(hint) if other != value), key=lambda other: other == "auto")
    match value:
        case bool():
            return [not value]
        case int():
            return [value * 2, value + 1, value - 1]
        case float():
            return [value / 2, value + 0.25] if value else [0.25]
        case str():
            return [f"{value}-2"]
        case dict():
            return [{key: number + 1 for key, number in value.items()}]
        case list():
            numbers = [one for one in value if isinstance(one, int)]
            return [[one + 1 for one in numbers], [*value, *value], [*value, "other"]]
    raise AssertionError(value)


def changed(params: Any, name: str) -> Any:
    """The params with another, allowed value of one knob."""
    value = getattr(params, name)
    for other in others(value, get_type_hints(type(params))[name]):
        try:
            if other != value:
                return replace(params, **{name: other})
        except ValueError:
            continue
    raise AssertionError(f"no other value for {name}: {value!r}")


SMALL = {"precision": "float32", "compile": False, "optimizer": "adamw", "parallel": "ddp"}
CASES: dict[str, tuple[Any, Directory]] = {
    "pretrain": (
        params_of(stages.pretrain.Params, "pretrain", n_layer=1, n_head=2, d_model=8, context=8, dropout=0.1, **SMALL),
        pretrain_directory,
    ),
    "finetune": (
        params_of(stages.finetune.Params, "finetune", **SMALL),
        finetune_directory,
    ),
    "qlora": (
        params_of(stages.qlora.Params, "qlora", base="tiny", backend="hf", dtype="float32"),
        lambda params: stages.qlora.adapter_directory(params, load_model_entry(params.base), "data"),
    ),
    "grpo": (
        params_of(
            stages.grpo.Params, "grpo", base="tiny", backend="hf", dtype="float32", checkpoint_every=2, micro_batch=6
        ),
        lambda params: stages.grpo.adapter_directory(params, ["data"]),
    ),
}


@pytest.mark.parametrize("stage", CASES)
def test_another_value_is_another_training(stage: str, project: Path) -> None:
    params, directory = CASES[stage]
    before = directory(params)
    names = {field.name for field in fields(params)}
    assert names >= FREE[stage]
    same = {name for name in names if directory(changed(params, name)) == before}
    assert same == FREE[stage]


def test_a_step_may_be_cut_otherwise_if_it_has_as_many_samples(project: Path) -> None:
    params = replace(CASES["qlora"][0], micro_batch=2, gradient_accumulation_steps=6)
    directory = CASES["qlora"][1]
    assert directory(replace(params, micro_batch=4, gradient_accumulation_steps=3)) == directory(params)
    assert directory(replace(params, micro_batch=4, gradient_accumulation_steps=6)) != directory(params)


def test_other_data_or_weights_are_another_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[Path]:
        qlora, grpo = CASES["qlora"][0], CASES["grpo"][0]
        return [
            *(pretrain_directory(CASES["pretrain"][0], shards) for shards in ("shards", "other")),
            *(finetune_directory(CASES["finetune"][0], content) for content in (b"example", b"other")),
            *(stages.qlora.adapter_directory(qlora, load_model_entry(qlora.base), data) for data in ("data", "other")),
            *(stages.grpo.adapter_directory(grpo, [data]) for data in ("data", "other")),
        ]

    before = found()
    assert len(set(before)) == len(before)
    Path("base/model.safetensors").write_bytes(b"other")
    write_tiny_base(project / "tiny-other", seed=1)
    entry = {"source": "path:tiny-other", "backend": "transformers"}
    Path("params.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry}}))
    after = found()
    assert before[2] != after[2]
    assert before[4] != after[4]


def test_how_conversations_are_written_is_part_of_the_key(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, entry = CASES["qlora"][0], load_model_entry("tiny")
    before = stages.qlora.adapter_directory(params, entry, "data")
    for change in ({"thinking": True}, {"system_role": "fold"}):
        assert stages.qlora.adapter_directory(params, replace(entry, **change), "data") != before
    monkeypatch.setattr("stages.lib.conversations.chat_format.TODAY", datetime.date(2030, 1, 1))
    assert stages.qlora.adapter_directory(params, entry, "data") != before
