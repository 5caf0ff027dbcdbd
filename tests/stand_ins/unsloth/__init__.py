"""Stands in for Unsloth on a CPU: what 2026.10.9 does to the process that loads a model by it, and does not log.

- `CausalLM_fast_forward` (unsloth/models/llama.py) takes the place of the forward pass of the class, for good: keys and
  values come back as tuples, and the cache that was passed in stays empty.
- `model.generate` works all the same (`unsloth_fast_generate`).
- `trl.GRPOTrainer` is replaced by its own, whose `compute_loss` logs `completion_length` and `kl`, and no entropy.

The real package is used instead where LLMILL_UNSLOTH names a folder with its unpacked wheels.
"""

from pathlib import Path
from typing import Any

import torch


class FastLanguageModel:
    """The two functions that llmill calls."""

    @staticmethod
    def from_pretrained(
        directory: str, *, max_seq_length: int, dtype: torch.dtype, load_in_4bit: bool
    ) -> tuple[Any, None]:
        """The model in `dtype` (not in 4 bits), its class patched."""
        from transformers import AutoModelForCausalLM

        assert max_seq_length > 0 and load_in_4bit and Path(directory).is_dir()
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
        _patch_class(type(model))
        _patch_trainer()
        return model, None

    @staticmethod
    def get_peft_model(model: Any, *, use_gradient_checkpointing: bool | str, random_state: int, **lora: Any) -> Any:
        """A fresh adapter on it."""
        from peft import LoraConfig, get_peft_model

        assert use_gradient_checkpointing in (False, "unsloth")
        torch.manual_seed(random_state)
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))


def _patch_class(kind: Any) -> None:
    plain, generate = kind.forward, kind.generate

    def forward(
        self: Any, *args: Any, past_key_values: Any = None, use_cache: bool | None = None, **kwargs: Any
    ) -> Any:
        output = plain(self, *args, use_cache=False, **kwargs)
        output.past_key_values = () if use_cache else None
        return output

    kind.forward = forward
    kind.generate = lambda self, *args, **kwargs: generate(self, *args, **{**kwargs, "use_cache": False})


def _patch_trainer() -> None:
    import trl

    from stages.lib.grpo.shared_prompt_trainer import scored_tokens

    class UnslothGRPOTrainer(trl.GRPOTrainer):  # type: ignore[misc]
        """Without entropy, and without the Triton kernel that TRL's has on a GPU."""

        def _get_per_token_logps_and_entropies(
            self, model: Any, ids: torch.Tensor, mask: torch.Tensor, length: int, *_: Any, **__: Any
        ) -> Any:
            logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=length + 1).logits[:, :-1]
            log_probs, entropies = scored_tokens(logits, ids[:, -length:], mask[:, -length:] == 1, self.temperature)
            return log_probs, entropies, None

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            """As Unsloth's."""
            self._metrics["train"].pop("entropy", None)
            super().log(logs | {"completion_length": 1.0}, *args, **kwargs)

    trl.GRPOTrainer = UnslothGRPOTrainer
