"""TRL's GRPOTrainer that computes the prompt of a group once, in generation and in training.

The replies of a group (Shao et al., arXiv:2402.03300) have one prompt, of which TRL makes as many copies. It is most of
the tokens, so here its keys and values are computed once and shared by the group; in training the gradient flows
back through them. The numbers are TRL's up to rounding. Two of TRL's methods that begin with an underscore are
overridden, so its version is pinned; where sharing does not apply (several processes' sharded weights, gradient
checkpointing, images, vLLM), they are left to TRL.

Shapes: B replies of a micro-batch, U distinct prompts of them, P prompt tokens, C reply tokens.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from trl import GRPOTrainer

from stages.lib.adapters.fused_loss import has_fused_loss
from stages.lib.adapters.merged_layers import MergedLayers
from stages.lib.decoding import grouped_attention
from stages.lib.grpo.rollouts import sample_replies


class SharedPromptTrainer(GRPOTrainer):  # type: ignore[misc]  # trl is untyped
    """GRPO with one pass over each distinct prompt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.accelerator.unwrap_model(self.model).config.get_text_config()
        full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        self._shares = full and not sharded and not self.use_vllm
        self._merged = MergedLayers(self.accelerator.unwrap_model(self.model))

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], None]:
        """Replies to prompts (equal ones beside each other), end tokens with them."""
        if not self._shares or images is not None or multimodal_fields:
            result: tuple[list[list[int]], None] = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
            return result
        model = self.accelerator.unwrap_model(self.model_wrapped)
        training = model.training
        attention = model.config._attn_implementation
        model.eval()  # so that gradient checkpointing and dropout are off
        model.get_base_model().set_attn_implementation(grouped_attention.NAME)
        try:
            with self._merged.swapped_in():
                replies = sample_replies(
                    model,
                    prompt_ids,
                    max_tokens=self.max_completion_length,
                    temperature=self.temperature,
                    ends=self.eos_token_ids,
                    # By step and reply and not by what was drawn before, so that a resumed training draws the same,
                    # in as many processes as there are: each one has as many replies, in the order of the processes.
                    seed=self.args.seed * 1_000_003 + self.state.global_step,
                    first=self.accelerator.process_index * len(prompt_ids),
                )
        finally:
            model.get_base_model().set_attn_implementation(attention)
            model.train(training)
        return replies, None

    def _get_per_token_logps_and_entropies(  # noqa: PLR0917  # as TRL calls it
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **multimodal: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Log-probabilities and entropies (B, C) of the last C = `logits_to_keep` tokens of input_ids (B, P + C)."""
        shares = (
            self._shares
            and not self.args.gradient_checkpointing  # transformers drops the cache under it
            and self.accelerator.num_processes == 1  # DistributedDataParallel: one forward pass a backward pass
            and input_ids.shape[1] - logits_to_keep > 1
        )
        special = compute_aux_loss or any(value is not None for value in multimodal.values())
        if special or (not shares and has_fused_loss(input_ids)):
            result: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                compute_aux_loss=compute_aux_loss,
                **multimodal,
            )
            return result
        size = batch_size or len(input_ids)
        one_pass = self._shared_pass if shares else self._whole_pass
        with self.accelerator.autocast(), self._merged.learning() if shares else nullcontext():
            parts = [
                one_pass(model, ids, mask, logits_to_keep)
                for ids, mask in zip(torch.split(input_ids, size), torch.split(attention_mask, size), strict=True)
            ]
        log_probs, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return log_probs, entropies if compute_entropy else None, None

    def _shared_pass(self, model: Any, ids: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Two passes: the distinct prompts without their last token, then that token and the replies (B, C)."""
        start = int(mask.any(0).int().argmax())  # columns that are padding in every row
        end = ids.shape[1] - length + max(int(mask[:, -length:].sum(1).max()), 1)
        padding = ids.shape[1] - end
        ids, mask = ids[:, start:end], mask[:, start:end]
        length -= padding
        head = ids.shape[1] - length - 1  # prompt tokens but the last, P - 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        # Prompts are the same when tokens and mask are: twice the token, one more where it counts.
        _, rows = torch.unique(ids[:, :head] * 2 + mask[:, :head], dim=0, return_inverse=True)
        first = torch.stack([(rows == u).int().argmax() for u in range(int(rows.max()) + 1)])  # a row of each prompt
        cache = DynamicCache()
        model(
            input_ids=ids[first, :head],
            attention_mask=mask[first, :head],
            position_ids=positions[first, :head],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.batch_select_indices(rows)
        inputs = {
            "input_ids": ids[:, head:-1],  # (B, C): the token before each one that is scored
            "attention_mask": mask[:, :-1],
            "position_ids": positions[:, head:-1],
            "past_key_values": cache,
        }
        replies, scored = ids[:, -length:], mask[:, -length:] == 1
        if has_fused_loss(ids):
            outputs = model(**inputs, shift_labels=replies.masked_fill(~scored, -100), fused_lm_head=True)
            log_probs, entropies = outputs.log_probs, outputs.entropy
        else:
            log_probs, entropies = scored_tokens(model(**inputs).logits, replies, scored, self.temperature)
        pad = torch.nn.functional.pad
        return pad(log_probs, (0, padding)), pad(entropies, (0, padding))

    def _whole_pass(self, model: Any, ids: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """One pass over prompts and replies, as TRL's own, which needs Triton and so cannot train on a CPU."""
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
        return scored_tokens(logits, ids[:, -length:], mask[:, -length:] == 1, self.temperature)


def scored_tokens(logits: Tensor, tokens: Tensor, scored: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each token and entropy of its distribution (no gradient), (B, C); 0 where not `scored`.

    Args:
        logits: (B, C, V), those that each token was drawn from.
        tokens: (B, C).
        scored: (B, C), False for padding, which is left out of the computation.
        temperature: of sampling.
    """
    log_probs = (logits[scored].float() / temperature).log_softmax(-1)  # (N, V)
    chosen = log_probs.gather(-1, tokens[scored][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(log_probs.exp() * log_probs).sum(-1)
    empty = chosen.new_zeros(scored.shape)
    return empty.masked_scatter(scored, chosen), empty.masked_scatter(scored, entropy)
