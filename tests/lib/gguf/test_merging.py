"""What peft computes at run time is what is merged, also where the embedding is the output layer."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.merging import MergedWeights, Source, merge
from tests.lib.gguf.tiny_families import LLAMA

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")
TOKENS = torch.arange(20, 60)[None]
EVERY = ["q_proj", "embed_tokens", "lm_head"]
KINDS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "output": {"target_modules": ["q_proj", "lm_head"]},
    "both": {"target_modules": EVERY},
    "embedding_alone": {"target_modules": ["embed_tokens"]},
    "tied_adapters": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "whole_embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "whole_output": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "whole_both": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "some_tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [30, 31]},
    "dora": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
}
UNTIES = {"embedding", "output", "both", "embedding_alone", "tied_adapters", "dora"} | {
    "whole_embedding",
    "whole_output",
    "whole_both",
}


def tuned(kind: str, tied: bool, scale: float = 0.2) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=tied))
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **KINDS[kind]))
    trained = ("lora_B", "lora_embedding_A", "modules_to_save", "trainable_tokens_delta")
    for name, parameter in model.named_parameters():
        if any(part in name for part in trained):
            parameter.data += scale * torch.randn(parameter.shape)
    return model.eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(TOKENS).logits
    return found


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_merged_is_what_ran(kind: str, tied: bool) -> None:
    running = tuned(kind, tied)
    expected = logits(running)
    merged = merge(running)
    assert torch.allclose(logits(merged.model), expected, atol=1e-3)
    assert merged.untied == (tied and kind in UNTIES)
    assert merged.model.config.tie_word_embeddings == (tied and kind not in UNTIES)
    shapes = {name: tuple(tensor.shape) for name, tensor in merged.model.state_dict().items()}
    written = {placed.name for placed in make_layout(merged.model.config, shapes).tensors}
    assert ("output.weight" in written) == (not tied or kind in UNTIES)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("some_tokens", "dora")])
def test_an_adapter_without_effect_or_with_nan_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"the adapter changes nothing"):
        Source("adapters/a", lambda: (tuned(kind, tied=True, scale=0.0), None)).running()
    assert Source("adapters/a", lambda: (tuned(kind, tied=True), None)).running()
    with pytest.raises(ValueError, match=r"adapters/a: the adapter holds NaN"):
        Source("adapters/a", lambda: (tuned(kind, tied=True, scale=float("nan")), None)).running()


def test_a_model_without_an_adapter_stays_as_it_is() -> None:
    model = LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True))
    merged = merge(model)
    assert merged.model is model and (merged.merged_modules, merged.untied) == (0, False)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("kind", ["attention", "output"])
def test_each_type_is_made_of_the_merged_weights(copied: bool, kind: str) -> None:
    loads = []

    def load() -> tuple[Any, Any]:
        loads.append(kind)
        return tuned(kind, tied=True), None

    source = Source("here", load)
    expected = {name: tensor.clone() for name, tensor in merge(source.running()[0]).model.state_dict().items()}
    merged = MergedWeights(source, merge(source.running()[0]), copied)
    loads.clear()
    for _ in range(3):
        model, found = merged.take()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        for tensor in model.state_dict().values():
            tensor.fill_(7.0)  # the file's weights
        del model, found
    assert len(loads) == (0 if copied else 2)
    merged.let_go()
    _, found = merged.take()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
