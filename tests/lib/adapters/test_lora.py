from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.lib.adapters.lora import Lora, add_lora, in_float32, load_quantized

LORA = Lora(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["q_proj"])


def trained(directory: Path, seed: int) -> dict[str, torch.Tensor]:
    """What a fresh adapter on a base in bfloat16 would train."""
    model = add_lora(AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16), LORA, seed)
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_fresh_adapter_follows_its_seed_and_is_the_base(tiny_directory: Path) -> None:
    one, same, other = (trained(tiny_directory, seed) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all("lora" in name and bool((one[name] == 0).all()) == ("lora_B" in name) for name in one)


def test_what_is_trained_is_float32_over_a_base_in_bfloat16(tiny_directory: Path) -> None:
    assert {parameter.dtype for parameter in trained(tiny_directory, 0).values()} == {torch.float32}
    layer = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    layer.weight.requires_grad_(False)
    in_float32(layer)
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.bfloat16, torch.float32)


def test_target_modules_of_no_layer_are_named(tiny_directory: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"target_modules \['nothing'\]"):
        add_lora(model, Lora(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["nothing"]), seed=0)


def test_unpacked_weights_give_the_numbers_of_the_4_bits(tiny_directory: Path) -> None:
    ids = torch.arange(24).reshape(2, 12)
    outputs, gradients = [], []
    for unpacked in (False, True):
        model = add_lora(load_quantized(tiny_directory, "float32", unpacked), LORA, seed=0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # else the gradient of A is 0
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        outputs.append(loss.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert torch.equal(*outputs)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)


def test_unpacked_weights_are_rounded_and_frozen(tiny_directory: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32)
    model = load_quantized(tiny_directory, "float32", unpacked=True)
    for name, parameter in model.named_parameters():
        layer = model.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, torch.nn.Linear) and "lm_head" not in name:
            assert type(layer) is torch.nn.Linear and not parameter.requires_grad
            assert parameter.unique().numel() < plain.get_parameter(name).unique().numel()
        else:
            assert torch.equal(parameter, plain.get_parameter(name))
