"""TRL's SFTTrainer, on machines too where its fused loss has no kernel."""

from typing import Any

from torch import Tensor
from trl import SFTTrainer

from stages.lib.adapters.fused_loss import has_fused_loss
from stages.lib.adapters.merged_layers import MergedLayers
from stages.lib.lora.supervised_logits import token_losses


class SupervisedTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped
    """SFTTrainer whose loss on a CPU is computed without Triton, and through base + LoRA as one weight.

    TRL 1.15 scores tokens with a Triton kernel alone; torch for CPUs comes without Triton, and there its training
    stops with an AttributeError. On a GPU the kernel is used as TRL does.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._merged = MergedLayers(self.model)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss of the learned tokens; of the whole step's, where `num_items_in_batch` counts them."""
        labels: Tensor = inputs["labels"]
        if has_fused_loss(labels) or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        others = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        with self._merged.learning():
            losses, _ = token_losses(model, others, labels)
        if num_items_in_batch is None:
            return losses.mean()
        # The tokens of all processes are counted, and DDP takes the mean of their gradients.
        return losses.sum() / num_items_in_batch * self.accelerator.num_processes
