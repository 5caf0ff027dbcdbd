"""The lines that use TRL's Triton kernel, which needs a GPU: walked with the same arithmetic in torch in its place."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.grpo import shared_prompt_trainer
from stages.lib.lora import supervised_trainer
from stages.lib.lora.batches import collate
from stages.lib.lora.masks import IGNORED, MaskedChat
from tests.lib.grpo.test_shared_prompt_trainer import IDS, LENGTH, MASK, make_trainer

SAMPLES = [
    MaskedChat("a", [5, 6, 7, 8, 9], [IGNORED, IGNORED, 7, 8, IGNORED]),
    MaskedChat("b", [9, 8, 7], [IGNORED, 8, 7]),
]


class TorchInPlace:
    """TRL's ChunkedLogProbFunction by its signature; what it is asked for is counted."""

    calls = 0

    @classmethod
    def apply(  # noqa: PLR0917  # as TRL calls it
        cls,
        hidden: Tensor,  # (N, H)
        weight: Tensor,  # (V, H)
        bias: Tensor | None,
        targets: Tensor,  # (N,)
        temperature: float,
        chunk_size: int,
        soft_cap: float | None,
        scale: float,
        outputs: tuple[str, ...],
    ) -> tuple[Tensor | None, ...]:
        cls.calls += 1
        assert bias is None and soft_cap is None
        logs = (hidden @ weight.T * scale / temperature).float().log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1).detach() if "entropy" in outputs else None
        best = logs.argmax(-1) == targets if "is_top1" in outputs else None
        return logs.gather(1, targets[:, None])[:, 0], entropy, None, None, best


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> type[TorchInPlace]:
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", TorchInPlace)
    for module in (shared_prompt_trainer, supervised_trainer):
        monkeypatch.setattr(module, "has_fused_loss", lambda tokens: True)
    monkeypatch.setattr(TorchInPlace, "calls", 0)
    torch.set_num_threads(1)
    return TorchInPlace


def test_grpo_scores_replies_by_the_kernel_as_without_it(
    tiny_directory: Path, tmp_path: Path, kernel: type[TorchInPlace], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tiny_directory, tmp_path, temperature=0.7)
    found = []
    for fused in (True, False):
        monkeypatch.setattr(shared_prompt_trainer, "has_fused_loss", lambda tokens, fused=fused: fused)
        trainer.model.zero_grad()
        log_probs, entropies = trainer._shared_pass(trainer.model, IDS, MASK, LENGTH)
        log_probs[MASK[:, -LENGTH:] == 1].exp().sum().backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
        found.append((log_probs.detach(), entropies, gradients))
    assert kernel.calls == 1
    for one, other in zip(found[0][:2], found[1][:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert len(found[0][2]) == len(found[1][2]) > 0
    for one, other in zip(found[0][2], found[1][2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"beta": 0.1}, {"gradient_checkpointing": "full"}])
def test_grpo_trains_by_the_kernel(
    tiny_directory: Path, tmp_path: Path, kernel: type[TorchInPlace], changes: dict[str, Any]
) -> None:
    trainer = make_trainer(tiny_directory, tmp_path, **changes)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert kernel.calls >= trainer.state.global_step == 2
    moved = [name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])]
    assert moved and all("lora" in name for name in moved)


@pytest.mark.parametrize("counted", [None, 7])
def test_a_supervised_loss_by_the_kernel_is_that_without_it(
    tiny_directory: Path,
    tmp_path: Path,
    kernel: type[TorchInPlace],
    monkeypatch: pytest.MonkeyPatch,
    counted: int | None,
) -> None:
    from datasets import Dataset
    from trl import SFTConfig

    trainer = supervised_trainer.SupervisedTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32),
        args=SFTConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to=[],
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        data_collator=lambda rows: rows,
        train_dataset=Dataset.from_list([{"input_ids": one.input_ids, "labels": one.labels} for one in SAMPLES]),
        processing_class=AutoTokenizer.from_pretrained(tiny_directory),
    )
    losses = []
    for fused in (True, False):
        monkeypatch.setattr(supervised_trainer, "has_fused_loss", lambda tokens, fused=fused: fused)
        losses.append(trainer.compute_loss(trainer.model, collate(SAMPLES, 0, False), num_items_in_batch=counted))
    assert kernel.calls == 1
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
