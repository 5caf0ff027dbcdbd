"""A choice that a Literal gains is an error wherever nobody has said what it means, never one of the old ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from gguf import GGMLQuantizationType as Type

from stages import embed, eval, qlora
from stages.lib.adapters.device import check_attention
from stages.lib.adapters.lora import check_unsloth, set_checkpointing
from stages.lib.adapters.schedule import Schedule
from stages.lib.chats.edge_cases import EDGE_KINDS, EdgeKind, wanted_counts, write_edge_cases
from stages.lib.evaluation.win_rate import WORTH, Outcome
from stages.lib.gguf.quantization import DEFAULTS, FileType, choose_types
from stages.lib.gpt.model import GPT, MLP, GPTConfig, PositionEncoding
from stages.lib.gpt_export.huggingface_layouts import to_gpt2
from stages.lib.grpo.rewards import Name, build_rewards
from stages.lib.grpo.run import train_adapter
from stages.lib.grpo.settings import GRPOSettings, trl_config
from stages.lib.judging.likelihood import NULL, measure
from stages.lib.judging.validity import PROBES, Criterion, JudgedItem
from stages.lib.launching.world import World
from stages.lib.lora.memory import BYTES, Shape, TuningLoad, estimate
from stages.lib.near_duplicates.duplication import judge_pairs
from stages.lib.qa.question_writing import PROMPTS
from stages.lib.training.distributed import spread
from stages.lib.training.memory import TrainingLoad, training_memory
from stages.lib.training.optimizer import build_optimizers
from stages.lib.training.precision import in_bfloat16
from stages.lib.weights.models import Dtype, ModelEntry
from tests.lib.training.training_setup import settings

NEW: Any = "a_new_choice"
TRAINING = settings()
CONFIG = GPTConfig(vocab_size=8, context=4, n_layer=1, n_head=1, d_model=4)
LOAD = TrainingLoad(config=CONFIG, micro_batch=1, precision="float32", processes=2)
SHAPE = Shape(**dict.fromkeys(Shape.__dataclass_fields__, 1))
TUNING = TuningLoad(rows=1, length=1, supervised=1, dtype="float32", checkpointing="none")
ITEM = JudgedItem(question="q", answer="a", context="c", document="d")
ENTRY = ModelEntry(source="path:x", backend="transformers")
SCHEDULE = Schedule(
    lr=1e-4,
    lr_scheduler_type="cosine",
    warmup_fraction=0.0,
    weight_decay=0.0,
    clip=1.0,
    checkpoint_every=1,
    seed=0,
    tf32=False,
)
GRPO_SETTINGS = GRPOSettings(
    steps=1,
    prompts_per_step=1,
    num_generations=2,
    micro_batch=2,
    max_new_tokens=1,
    temperature=1.0,
    loss_type="grpo",
    beta=0.0,
    epsilon=0.2,
    num_iterations=1,
    scale_rewards="group",
    mask_truncated_completions=False,
    gradient_checkpointing="none",
    use_vllm=False,
    vllm_gpu_memory_utilization=0.3,
    max_prompt_length=8,
)
ONE = World(rank=0, size=1, device=torch.device("cpu"))


def changed(thing: Any, field: str) -> Any:
    """A frozen dataclass with the new choice, whatever its own checks would say."""
    copy = replace(thing)
    object.__setattr__(copy, field, NEW)
    return copy


UNASKED: Any = SimpleNamespace(  # a model that nobody asks
    entry=changed(ModelEntry(source="path:x", backend="transformers"), "judge_method"),
    score=lambda requests, progress: [],
    generate=lambda requests, progress: [],
)


def chosen(**knobs: Any) -> Any:
    """The few knobs that a function reads before it chooses."""
    return SimpleNamespace(**knobs)


NO_SHARES: dict[EdgeKind, float] = dict.fromkeys(EDGE_KINDS, 0.1)
CONSUMERS: dict[str, Callable[[], Any]] = {
    "activation": lambda: MLP(changed(CONFIG, "activation"))(torch.zeros(1, 1, 4)),
    "activation's memory": lambda: training_memory(replace(LOAD, config=changed(CONFIG, "activation"))),
    "activation in GPT-2": lambda: to_gpt2(changed(CONFIG, "activation"), {}),
    "position": lambda: GPT(changed(CONFIG, "position")),
    "norm": lambda: GPT(changed(CONFIG, "norm")),
    "optimizer": lambda: build_optimizers(GPT(CONFIG), changed(TRAINING, "optimizer")),
    "optimizer's memory": lambda: training_memory(changed(LOAD, "optimizer")),
    "parallel": lambda: spread(GPT(CONFIG), changed(TRAINING, "parallel"), "float32", ONE),
    "parallel's memory": lambda: training_memory(changed(LOAD, "parallel")),
    "precision": lambda: in_bfloat16(NEW),
    "checkpointing": lambda: set_checkpointing(None, NEW),
    "checkpointing's memory": lambda: estimate(SHAPE, changed(TUNING, "checkpointing")),
    "GRPO's checkpointing": lambda: trl_config(
        changed(GRPO_SETTINGS, "gradient_checkpointing"), SCHEDULE, Path("x"), True
    ),
    "file type": lambda: choose_types({"blk.0.attn_qkv.weight": (256, 256)}, NEW, "gpt2", 1),
    "judge's method": lambda: judge_pairs([("a", "b")], UNASKED, prompt="p", max_tokens=1, excess_nats=1.0),
    "criterion": lambda: measure(
        [(NEW, ITEM)], UNASKED, prompts={"answer_without_context_prompt": "{question}"}, rarity={}, progress=""
    ),
    "writer of edge cases": lambda: write_edge_cases([], {}, {}, None, chosen(edge_cases=[NEW], shares=NO_SHARES)),
    "qlora's backend": lambda: qlora.open_model(chosen(backend=NEW), Path("x"), "float32", False),
    "qlora's trainer": lambda: qlora.train_adapter(
        chosen(backend=NEW), chosen(), "float32", Path("x"), unpacked=False, processes=1
    ),
    "grpo's backend": lambda: train_adapter(chosen(), NEW, {}),
    "attention": lambda: check_attention(NEW, "float32", "hf"),
    "system": lambda: eval.ask_system(NEW, chosen(base="b", asking=None), ENTRY, [], []),
    "system's check": lambda: eval.check_systems(chosen(base="b", systems=["base", NEW]), ENTRY),
}


@pytest.mark.parametrize("what", CONSUMERS)
def test_a_choice_that_nobody_has_described_is_an_error(what: str) -> None:
    with pytest.raises((AssertionError, KeyError), match=NEW):
        CONSUMERS[what]()


TABLES: dict[str, tuple[Any, Any]] = {
    "corpora": (embed.CORPORA, embed.Corpus),
    "bytes of a dtype": (BYTES, Dtype),
    "GGUF types": (DEFAULTS, FileType),
    "edge cases": (EDGE_KINDS, EdgeKind),
    "edge cases written": (write_edge_cases([], {}, {}, None, chosen(edge_cases=[], shares=NO_SHARES)), EdgeKind),
    "wanted edge cases": (wanted_counts([], NO_SHARES), EdgeKind),
    "worth of an outcome": (WORTH, Outcome),
    "probes": (PROBES, Criterion),
    "wrong items to calibrate by": (NULL, Criterion),
    "rewards": (build_rewards(dict.fromkeys(get_args(Name), 1.0), lambda texts: torch.zeros(0).numpy(), (1, 2)), Name),
    "question prompts": (PROMPTS, ModelEntry.__annotations__["qa_strategy"]),
    "judge's prompts": (eval.JUDGE_PROMPTS, ModelEntry.__annotations__["judge_method"]),
}


@pytest.mark.parametrize("what", TABLES)
def test_tables_hold_every_choice(what: str) -> None:
    table, choices = TABLES[what]
    assert sorted(table) == sorted(get_args(choices))


@pytest.mark.parametrize("position", get_args(PositionEncoding))
def test_a_gpt_has_what_its_positions_need(position: PositionEncoding) -> None:
    model = GPT(replace(CONFIG, position=position))
    assert (model.positions is None) == (position == "rope") == hasattr(model, "cos")


def test_fused_attention_has_one_size_more_than_the_mix() -> None:
    shapes: dict[str, tuple[int, ...]] = {"blk.5.attn_qkv.weight": (256, 256), "output.weight": (256, 256)}
    found = {kind: choose_types(shapes, kind, "gpt2", 24)["blk.5.attn_qkv.weight"].type for kind in get_args(FileType)}
    assert found == {
        "Q4_K_M": Type.Q5_K,
        "Q5_K_M": Type.Q6_K,
        "Q6_K": Type.Q6_K,
        "Q8_0": Type.Q8_0,
        "F16": Type.F16,
    }


def test_unsloth_has_no_selective_checkpointing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(ValueError, match=r"gradient_checkpointing: unsloth has none and full"):
        check_unsloth("selective")
