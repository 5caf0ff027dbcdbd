"""Base and LoRA in one product: the model's own numbers and gradients, and nothing is left behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from stages.lib.adapters.merged_layers import MergedLayers

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])


def tuned(directory: Path, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False} | config
    return get_peft_model(model, LoraConfig(**settings)).train()


def test_they_compute_the_same_and_leave_no_trace(tiny_directory: Path) -> None:
    model = tuned(tiny_directory)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        expected = model(IDS).logits
        with model.disable_adapter():
            base = model(IDS).logits
        merged = MergedLayers(model)
        with merged.swapped_in():
            found = model(IDS).logits
            assert not any("lora" in name for name, _ in model.named_parameters())
        again = model(IDS).logits
    assert (expected - base).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(again, expected)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_layers_come_back_after_an_error(tiny_directory: Path) -> None:
    model = tuned(tiny_directory)
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(RuntimeError, match="broken"), MergedLayers(model).swapped_in():
        raise RuntimeError("broken")
    assert [name for name, _ in model.named_modules()] == names


def loss_of(model: Any) -> Any:
    return model(input_ids=IDS, labels=IDS).loss


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("config", [{}, {"use_rslora": True, "r": 2}, {"target_modules": ["q_proj", "down_proj"]}])
def test_gradients_are_pefts_and_the_sum_is_of_todays_weights(tiny_directory: Path, config: dict[str, Any]) -> None:
    model = tuned(tiny_directory, **config)
    merged = MergedLayers(model)
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    for _ in range(2):  # the second time with other weights
        loss_of(model).backward()
        expected = gradients(model)
        with merged.learning():
            assert not any("lora_A" in name for name, _ in model.named_modules())
            loss = loss_of(model)
        loss.backward()  # outside, as a trainer does
        found = gradients(model)
        assert found.keys() == expected.keys() and len(expected) >= 4
        for name, gradient in expected.items():
            assert gradient.abs().max() > 0
            # Another order of summation: an AVX2 CPU was 3.4e-5 of the greatest away, an AMX one 5e-6.
            near = 1e-4 * float(gradient.abs().max())
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=near, msg=name)
            model.get_parameter(name).grad = gradient
        optimizer.step()
        model.zero_grad()


def test_biases_of_another_family_stay_in(tmp_path: Path) -> None:
    """Qwen2's queries, keys and values have biases, and its key heads are fewer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    qwen = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2))
    for name, parameter in qwen.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    qwen.save_pretrained(tmp_path)
    model = tuned(tmp_path)
    expected = loss_of(model)
    expected.backward()
    theirs = gradients(model)
    with MergedLayers(model).learning():
        loss = loss_of(model)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    ours = gradients(model)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_a_sum_that_is_made_anew_before_the_backward_pass_is_refused(tiny_directory: Path) -> None:
    model = tuned(tiny_directory)
    merged = MergedLayers(model)
    with merged.learning():
        loss = loss_of(model)
    with merged.swapped_in(), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("why", ["bfloat16", "dropout", "checkpointing", "disabled", "dora"])
def test_a_training_that_they_do_not_fit_keeps_pefts_layers(tiny_directory: Path, why: str) -> None:
    dtype = torch.bfloat16 if why == "bfloat16" else torch.float32
    model = tuned(tiny_directory, dtype, lora_dropout=0.5 if why == "dropout" else 0.0, use_dora=why == "dora")
    if why == "checkpointing":
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    merged = MergedLayers(model)
    if why == "disabled":
        with model.disable_adapter(), merged.learning():
            assert any("lora_A" in name for name, _ in model.named_modules())
        return
    with merged.learning():
        assert any("lora_A" in name for name, _ in model.named_modules())
        loss = loss_of(model)
    loss.backward()
    assert gradients(model)
