"""Columns of docs/families.md: an adapter of a small random model merged, and released through the whole gate."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from stages import gguf as stage
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.core.metrics import Stopwatch
from stages.lib.gguf.merging import Source, merge
from stages.lib.weights.base import load_base, put_adapter
from stages.lib.weights.models import ModelEntry
from tests import families
from tests.params_of import section

REFUSED = "no GGUF layout is known"
PARAMS: dict[str, Any] = section("gguf") | {
    "model": "family",
    "base": "family",
    "dtype": "float32",
    "types": ["F16"],
    "held_out_tokens": 128,
    "window": 64,
    "conversations": 1,
    "max_new_tokens": 12,
    "runtime_threads": 1,
    "max_mean_kl": 1e-3,
    "min_top_agreement": 0.97,
    "max_perplexity_ratio": 1.01,
    "min_runtime_agreement": 0.9,
    "min_greedy_agreement": 0.9,
    "min_stopped": 0,
}
CHATS = [
    [
        {"role": "system", "content": "Answer from the text."},
        {"role": "user", "content": f"Thing {i} is red. Über 漢字\n\nWhich colour has it?"},
        {"role": "assistant", "content": f"Thing {i} is red."},
    ]
    for i in range(8)
]


def with_adapter(name: str) -> tuple[Any, Any]:
    """The family's small model with a random adapter on its attention and its embedding, tied or not; tokenizer."""
    from peft import LoraConfig, get_peft_model

    entry = ModelEntry(source=f"path:{families.small_model(name)}", backend="transformers")
    model, _ = load_base(entry)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # peft's on tied embeddings
        torch.manual_seed(1)  # the gate loads the run anew, and has to find the same one
        tuned = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "embed_tokens"])
        )
        for key, parameter in tuned.named_parameters():
            if "lora_B" in key or "lora_embedding_A" in key:
                parameter.data.normal_(std=0.05)
        tuned.save_pretrained(folder, save_embedding_layers=False)
        base, tokenizer = load_base(entry)
        return put_adapter(base, Path(folder)), tokenizer


def merging(name: str) -> str:
    """The merged model computes what the adapter computes on its base."""
    running, tokenizer = with_adapter(name)
    tokens = torch.tensor([tokenizer(CHATS[0][1]["content"])["input_ids"]])
    with torch.no_grad():
        expected = running(tokens).logits
        merged = merge(running)
        found = merged.model(tokens).logits
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))
    return "embedding and output part" if merged.untied else ""


def gate(name: str, thinking: bool = False) -> str:
    """The adapter's file passes the release gate: weights, tokens, texts, greedy replies in llama.cpp."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = Path(folder) / "held.jsonl"
        held.write_text("\n".join(json.dumps({"messages": chat}) for chat in CHATS))
        params = stage.Params(**PARAMS | {"held_out": str(held)})
        source = Source(name, lambda: with_adapter(name))
        release = stage.Release(source, ChatFormat(thinking=thinking), families.small_model(name))
        try:
            metrics = stage.export(params, release, Path(folder) / "out", Stopwatch("gguf"), copied=True)
        except ValueError as error:
            if REFUSED not in str(error):
                raise
            return f"refused: no layout for {str(error).partition('model_type ')[2].partition(':')[0]}"
    found = metrics["types"]["F16"]
    assert not found["faults"], found["faults"]
    explained = sorted(found["runtime"]["explained_shapes"])
    return f"but {', '.join(explained)}" if explained else ""
