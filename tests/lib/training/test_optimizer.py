"""What the optimizers do to a weight, the learning rate of a step, and clipping."""

from typing import Any, Literal

import pytest
import torch

from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.training.optimizer import (
    build_optimizers,
    clip_gradients,
    learning_rate,
    moments,
    set_learning_rate,
)
from tests.lib.training.training_setup import settings


def model(**changes: Any) -> GPT:
    """Matrices in blocks and outside, and vectors of both kinds: norms and biases."""
    torch.manual_seed(0)
    return GPT(
        GPTConfig(vocab_size=16, context=8, n_layer=1, n_head=2, d_model=8, norm="layernorm", bias=True, **changes)
    )


def with_gradients(made: GPT, value: float) -> GPT:
    for parameter in made.parameters():
        parameter.grad = torch.full_like(parameter, value)
    return made


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_matrices_decay_and_vectors_do_not(optimizer: Literal["adamw", "muon"]) -> None:
    made = model()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1.0)  # biases, too, have something to lose
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    optimizers = build_optimizers(made, settings(optimizer=optimizer, weight_decay=0.5, lr=0.1))
    with_gradients(made, 0.0)
    for one in optimizers:
        one.step()
    kept = {name for name, parameter in made.named_parameters() if torch.equal(parameter, before[name])}
    assert kept == {name for name, parameter in made.named_parameters() if parameter.dim() == 1}
    for name, parameter in made.named_parameters():
        if name not in kept:
            assert torch.allclose(parameter, before[name] * (1 - 0.1 * 0.5)), name  # decoupled: lr x decay of itself


def test_muon_takes_the_matrices_of_the_blocks_alone() -> None:
    made = model(tied=False)
    adamw, muon = build_optimizers(made, settings(optimizer="muon"))
    names = {parameter: name for name, parameter in made.named_parameters()}
    matrices = {names[parameter] for group in muon.param_groups for parameter in group["params"]}
    assert matrices == {name for name, one in made.named_parameters() if name.startswith("blocks.") and one.dim() == 2}
    others = {names[parameter] for group in adamw.param_groups for parameter in group["params"]}
    assert others == {*names.values()} - matrices


def test_muon_is_set_up_as_published() -> None:
    """Jordan 2024, section on the definition; torch's defaults, which we take, may move."""
    _, muon = build_optimizers(model(), settings(optimizer="muon", weight_decay=0.25))
    (group,) = muon.param_groups
    published = {"momentum": 0.95, "nesterov": True, "ns_steps": 5, "ns_coefficients": (3.4445, -4.775, 2.0315)}
    assert {key: group[key] for key in published} == published
    assert group["weight_decay"] == 0.25


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_muons_update_is_orthogonal_and_as_large_as_adamws_whatever_the_gradient(scale: float) -> None:
    """arXiv:2502.16982, section 2.2: root mean square 0.2 of the learning rate, for a matrix of any shape."""
    torch.manual_seed(0)
    made = GPT(GPTConfig(vocab_size=16, context=8, n_layer=1, n_head=2, d_model=32))
    before = {name: one.detach().clone() for name, one in made.named_parameters()}
    for parameter in made.parameters():
        parameter.grad = torch.randn_like(parameter) * scale
    _, muon = build_optimizers(made, settings(optimizer="muon", weight_decay=0.0, lr=0.01))
    muon.step()
    for name, parameter in made.named_parameters():
        if name.startswith("blocks.") and parameter.dim() == 2:
            update = (parameter.detach() - before[name]) / 0.01
            assert float(update.square().mean().sqrt()) == pytest.approx(0.2, rel=0.2), name
            values = torch.linalg.svdvals(update)
            # Newton-Schulz with these coefficients brings singular values near 1, not to it (0.68 to 1.13).
            assert float(values.max() / values.min()) < 2, name
            assert parameter.grad is not None
            assert float((update * parameter.grad).sum()) < 0, name  # downhill


def test_muon_steps_as_torchs_does_but_for_its_bfloat16() -> None:
    ours, theirs = model(), model()
    muon: Any
    _, muon = build_optimizers(ours, settings(optimizer="muon", weight_decay=0.1, lr=0.02))
    matrices = [one for name, one in theirs.named_parameters() if name.startswith("blocks.") and one.dim() == 2]
    published: Any = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    before = [one.detach().clone() for one in matrices]
    for step in range(3):  # with momentum from the second on
        torch.manual_seed(step)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        muon.step()
        published.step()
    found = [one for name, one in ours.named_parameters() if name.startswith("blocks.") and one.dim() == 2]
    for one, other, start in zip(found, matrices, before, strict=True):
        moved = (other - start).detach().norm()
        assert float((one - other).detach().norm() / moved) < 0.05 and float(moved) > 0.01
    assert moments(ours, [muon])["blocks.0.attention.qkv.weight/momentum_buffer"].dtype == torch.float32


def test_the_betas_are_of_mean_and_square() -> None:
    made = with_gradients(model(), 2.0)
    optimizers = build_optimizers(made, settings(optimizer="adamw", beta1=0.9, beta2=0.75))
    optimizers[0].step()
    found = moments(made, optimizers)
    assert torch.allclose(found["embedding.weight/exp_avg"], torch.tensor((1 - 0.9) * 2.0))
    assert torch.allclose(found["embedding.weight/exp_avg_sq"], torch.tensor((1 - 0.75) * 4.0))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end() -> None:
    params = settings(steps=21, warmup_fraction=0.2, lr=1.0, min_lr_fraction=0.1)  # 4 steps of warm-up, then 17
    rates = [learning_rate(step, params) for step in range(21)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.1 + 0.9 / 2)  # half of the cosine
    assert rates[20] == pytest.approx(0.1)
    assert learning_rate(0, settings(steps=1, warmup_fraction=0.0, lr=1.0)) == 1.0


def test_every_group_gets_the_learning_rate() -> None:
    optimizers = build_optimizers(model(), settings(optimizer="muon"))
    set_learning_rate(optimizers, 0.125)
    assert {group["lr"] for one in optimizers for group in one.param_groups} == {0.125}


def test_gradients_are_clipped_to_the_limit_and_the_norm_before_is_told() -> None:
    count = sum(parameter.numel() for parameter in model().parameters())
    whole = count**0.5 * 2.0

    def norm_after(limit: float) -> float:
        made = with_gradients(model(), 2.0)
        assert clip_gradients(made, limit) == pytest.approx(whole)
        return float(torch.cat([one.grad.flatten() for one in made.parameters() if one.grad is not None]).norm())

    assert norm_after(1.0) == pytest.approx(1.0, rel=1e-4)
    assert norm_after(2 * whole) == pytest.approx(whole)
    assert norm_after(0.0) == pytest.approx(whole)  # 0: no clipping


def test_a_norm_that_is_not_finite_is_told() -> None:
    made = with_gradients(model(), float("nan"))
    assert not clip_gradients(made, 1.0) < float("inf")
