"""Optimizers, the learning rate of a step, and moments as named tensors."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import AdamW, Muon, Optimizer

from stages.lib.gpt.model import GPT
from stages.lib.training.distributed import full
from stages.lib.training.training_params import TrainingParams


def learning_rate(step: int, params: TrainingParams) -> float:
    """Of step 0, 1, ...: linear warm-up to `lr`, then a cosine down to `min_lr_fraction` of it at the last step."""
    warmup = round(params.warmup_fraction * params.steps)
    if step < warmup:
        return params.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, params.steps - 1 - warmup)
    low = params.min_lr_fraction
    return params.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def build_optimizers(model: GPT, params: TrainingParams, among: Collection[str] | None = None) -> list[Optimizer]:
    """AdamW with weight decay on matrices alone; with `optimizer: muon`, Muon for the matrices of the blocks.

    Muon (Jordan 2024) with its update scaled to AdamW's root mean square (arXiv:2502.16982, section 2.2), so that both
    take one learning rate. Queries, keys and values are one matrix here and made orthogonal as one; each alone is said
    to train better, but torch's Muon takes whole parameters. `among`: of these parameters alone; None: of all.
    """
    named = {name: one for name, one in model.named_parameters() if among is None or name in among}
    matrices = {name for name, parameter in named.items() if parameter.dim() == 2}
    match params.optimizer:
        case "adamw":
            by_muon = set()
        case "muon":
            by_muon = {name for name in matrices if name.startswith("blocks.")}
        case _:
            assert_never(params.optimizer)
    groups = [
        {"params": [named[name] for name in named if name in matrices - by_muon], "weight_decay": params.weight_decay},
        {"params": [named[name] for name in named if name not in matrices], "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device.type
    optimizers: list[Optimizer] = []
    if groups := [group for group in groups if group["params"]]:
        adamw = AdamW(
            groups,
            lr=params.lr,
            betas=(params.beta1, params.beta2),
            eps=params.eps,
            fused=device in ("cpu", "cuda"),  # where torch has a fused kernel
        )
        optimizers.append(adamw)
    if by_muon:
        muon = (Float32Muon if device == "cpu" else Muon)(
            [named[name] for name in named if name in by_muon],
            lr=params.lr,
            weight_decay=params.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        optimizers.append(muon)
    return optimizers


class Float32Muon(Muon):
    """torch's Muon with its matrices made orthogonal in float32.

    torch does it in bfloat16, as published. A CPU without bfloat16 products took 3.2 times AdamW's step for that, and
    each kind of CPU would train other weights.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """As torch's, for gradients of real numbers."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(
                    parameter.grad.lerp(momentum, group["momentum"]),
                    group["ns_coefficients"],
                    group["ns_steps"],
                    group["eps"],
                )
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(parameter.shape)))


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """U V' of the matrix U S V', (rows, columns), nearly: S ends within 0.7 to 1.2 (Newton-Schulz, Jordan 2024)."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def moments(model: GPT, optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """The optimizers' state as PARAMETER/KEY -> tensor on the CPU."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": full(value).detach().cpu()
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_moments(model: GPT, optimizers: list[Optimizer], saved: Mapping[str, Tensor], path: Path) -> None:
    """Puts saved moments back.

    Raises:
        ValueError: one names a parameter that the model lacks, or has another shape than it.
    """
    named = dict(model.named_parameters())
    states: dict[Tensor, dict[str, Tensor]] = {}
    for place, value in saved.items():
        name, _, key = place.rpartition("/")
        if name not in named:
            raise ValueError(f"{path}: {place} belongs to no parameter of this model")
        parameter = named[name]
        if value.dim() and value.shape != parameter.shape:
            raise ValueError(f"{path}: {place} has shape {tuple(value.shape)}, the parameter {tuple(parameter.shape)}")
        moved = value.clone()
        if isinstance(parameter, DTensor) and value.dim():
            moved = distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
        elif value.dim() or parameter.device.type == "cuda":  # fused AdamW counts its steps on the device
            moved = value.to(parameter.device)
        states.setdefault(parameter, {})[key] = moved
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter] = states[parameter]


def set_learning_rate(optimizers: list[Optimizer], lr: float) -> None:
    """The same for every group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def clip_gradients(model: GPT, limit: float) -> Tensor:
    """Scales gradients down to the global norm `limit` (0: leaves them); returns the norm before, () on the device.

    Gradients under the limit are multiplied by 1: to ask first would have the host wait for the device.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if limit:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return full(norm)
