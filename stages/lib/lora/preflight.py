"""What is looked at before the first step of a training, because a wrong mask trains without a complaint."""

from collections.abc import Collection, Sequence
from typing import Any

from stages.lib.lora.batches import collate
from stages.lib.lora.masks import IGNORED, MaskedChat, supervises_end

LEAK = 1e-2  # share of the largest logit by which a packed sample's logits may differ (bfloat16 rounds to 0.4%)


def check_supervision(samples: Sequence[MaskedChat], ends: Collection[int], tokenizer: Any) -> dict[str, int]:
    """Counts what is learned.

    Raises:
        ValueError: there are no samples, one of them teaches nothing, or no end of turn is ever learned.
    """
    if not samples:
        raise ValueError("no training samples are left: raise max_length, or look at what instruct dropped")
    empty = [sample.id for sample in samples if sample.supervised == 0]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(samples)} samples have zero supervised tokens, such as {empty[0]!r}: the "
            "assistant's words were cut off (raise max_length) or the chat template has no assistant turn"
        )
    ended = sum(supervises_end(sample, ends) for sample in samples)
    if not ended:
        names = [tokenizer.convert_ids_to_tokens(end) for end in sorted(ends)]
        raise ValueError(
            f"no sample has an end of turn {names} among its supervised tokens: the model would never learn to stop. "
            "Does the chat template end the assistant's turn with a token that generation_config.eos_token_id has?"
        )
    return {
        "samples": len(samples),
        "tokens": sum(len(sample.input_ids) for sample in samples),
        "supervised_tokens": sum(sample.supervised for sample in samples),
        "longest": max(len(sample.input_ids) for sample in samples),
        "samples_with_end_of_turn": ended,
    }


def show_sample(sample: MaskedChat, tokenizer: Any, color: bool) -> str:
    """The sample as text: what is learned stands in ⟦ ⟧ (and in green on a terminal), the rest is dim."""
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(sample.input_ids, sample.labels, strict=True):
        learned = label != IGNORED
        if not runs or runs[-1][0] != learned:
            runs.append((learned, []))
        runs[-1][1].append(token)
    parts = []
    for learned, tokens in runs:
        text = tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        mark = f"⟦{text}⟧" if learned else text
        parts.append((f"\x1b[1;32m{mark}\x1b[0m" if learned else f"\x1b[2m{mark}\x1b[0m") if color else mark)
    head = f"sample {sample.id}: {len(sample.input_ids)} tokens, of which the {sample.supervised} in ⟦ ⟧ are learned"
    return f"{head}\n{'-' * 80}\n{''.join(parts).rstrip()}\n{'-' * 80}"


def check_packing(model: Any, samples: Sequence[MaskedChat], pad_id: int) -> float:
    """Packs two samples and changes the first one's tokens: the second one's logits must stay what they are alone.

    Returns:
        The largest difference of a logit, as a share of the largest logit.

    Raises:
        ValueError: the second sample sees the first one: the attention does not tell packed samples apart.
    """
    import torch

    first, second = samples[0], samples[1 % len(samples)]
    other = MaskedChat(first.id, first.input_ids[::-1], first.labels)
    device = next(model.parameters()).device
    logits = []
    training = model.training
    model.eval()
    with torch.no_grad():
        for pack in ([first, second], [other, second], [second]):
            batch = {name: tensor.to(device) for name, tensor in collate(pack, pad_id, packing=True).items()}
            batch.pop("labels")
            logits.append(model(**batch, use_cache=False).logits[0, -len(second.input_ids) :].float())
    model.train(training)
    alone = logits[2]
    share = max(float((packed - alone).abs().max()) for packed in logits[:2]) / float(alone.abs().max())
    if not share <= LEAK:
        raise ValueError(
            f"packing leaks across samples: with another sample before it, the logits of {second.id!r} differ by "
            f"{share:.1%} of the largest one. This model's attention ignores position_ids; set packing: false"
        )
    return share
