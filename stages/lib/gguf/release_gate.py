"""What a GGUF file must show before it is released: that it is the model which was trained, near enough.

Three comparisons, each with its own thresholds: weights as they are in the file, de-quantized, against the 16-bit
model on held-out text (what quantization costs); the file's tokens in llama.cpp against the tokenizer's (chat
template, special tokens, splitting); greedy replies of llama.cpp against transformers on the same weights (what the
conversion got wrong) and against the 16-bit model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.lib.gguf.llama_runtime import GreedyReply, LlamaRuntime
from stages.lib.gguf.message_shapes import first_difference, template_faults


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """See the stage's Params."""

    max_mean_kl: float
    min_top_agreement: float
    max_perplexity_ratio: float
    min_runtime_agreement: float
    min_greedy_agreement: float
    min_stopped: int
    excused_shapes: tuple[str, ...] = ()


def make_windows(texts: Sequence[list[int]], length: int, total: int) -> Tensor:
    """(W, T) tokens of the texts one after the other, `total` of them or fewer, in windows of `length`.

    Raises:
        ValueError: there are not enough tokens for one window.
    """
    tokens = [token for text in texts for token in text][:total]
    count = len(tokens) // length
    if not count:
        raise ValueError(f"the held-out text has {len(tokens)} tokens, a window needs {length}")
    return torch.tensor(tokens[: count * length]).view(count, length)


@torch.no_grad()
def log_probs(model: Any, tokens: Tensor) -> Tensor:
    """(T,) tokens -> (T, V) log-probabilities of what follows each, float32 on the CPU."""
    logits = model(tokens[None].to(model.device), use_cache=False).logits[0]
    found: Tensor = logits.float().log_softmax(-1).cpu()
    return found


def closeness(reference: Sequence[Tensor], model: Any, windows: Tensor) -> dict[str, float]:
    """How far a model is from the reference's log-probabilities (one (T, V) a window), averaged over tokens.

    mean_kl: KL(reference || model) in nats; top_agreement: share of tokens with the same most likely successor;
    perplexity_ratio: the model's perplexity over the reference's.
    """
    kl, same, loss, reference_loss, places = 0.0, 0, 0.0, 0.0, 0
    for theirs, window in zip(reference, windows, strict=True):
        ours = log_probs(model, window)
        kl += float((theirs.exp() * (theirs - ours)).sum())
        same += int((theirs.argmax(-1) == ours.argmax(-1)).sum())
        places += len(window)
        following = window[1:, None]
        loss -= float(ours[:-1].gather(1, following).sum())
        reference_loss -= float(theirs[:-1].gather(1, following).sum())
    targets = places - len(windows)
    return {
        "mean_kl": max(kl / places, 0.0),
        "top_agreement": same / places,
        "perplexity": math.exp(loss / targets),
        "reference_perplexity": math.exp(reference_loss / targets),
        "perplexity_ratio": math.exp((loss - reference_loss) / targets),
    }


def closeness_faults(found: dict[str, float], limits: Thresholds) -> list[str]:
    """Which thresholds the weights miss, with the numbers."""
    faults = []
    if not found["mean_kl"] <= limits.max_mean_kl:
        faults.append(f"mean_kl {found['mean_kl']:.4g} > max_mean_kl {limits.max_mean_kl:g}")
    if not found["top_agreement"] >= limits.min_top_agreement:
        faults.append(f"top_agreement {found['top_agreement']:.4g} < min_top_agreement {limits.min_top_agreement:g}")
    if not found["perplexity_ratio"] <= limits.max_perplexity_ratio:
        ratio, limit = found["perplexity_ratio"], limits.max_perplexity_ratio
        faults.append(f"perplexity_ratio {ratio:.4g} > max_perplexity_ratio {limit:g}")
    return faults


def run_checks(
    runtime: LlamaRuntime,
    tokenizer: Any,
    *,
    prompts: Sequence[list[int]],
    texts: Sequence[str],
    models: dict[str, Any],
    ends: set[int],
    max_new_tokens: int,
) -> dict[str, Any]:
    """What the file does in llama.cpp.

    `models`: "file" (transformers with the file's weights) and "reference" (the 16-bit model). The tokens of a greedy
    reply are put to both models at once: at each step, would they have drawn the same token? So the first step that
    differs is where their own greedy replies would part.
    """
    faults = template_faults(tokenizer, runtime) if tokenizer.chat_template else {}
    text_faults = [
        fault
        for text in texts
        if (fault := first_difference(tokenizer(text)["input_ids"], runtime.tokens(text), tokenizer))
    ]
    replies = [runtime.greedy(prompt, max_new_tokens) for prompt in prompts]
    found: dict[str, Any] = {
        "template_faults": faults,
        "text_faults": text_faults,
        "replies": len(replies),
        "replies_stopped": sum(reply.ended for reply in replies),
        "replies_run_past_the_end": sum(bool(ends & set(reply.tokens[:-1])) for reply in replies),
        "reply_tokens": sum(len(reply.tokens) for reply in replies),
    }
    for name, model in models.items():
        steps = [agreement(model, prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
        same = [bool(step) for flags, _ in steps for step in flags]
        prefixes = [len(flags) if all(flags) else flags.index(False) for flags, _ in steps]
        found[f"{name}_agreement"] = sum(same) / max(len(same), 1)
        found[f"{name}_agreeing_prefix"] = prefixes
        gaps = [gap for _, differences in steps for gap in differences]
        found[f"{name}_logprob_difference"] = sum(gaps) / len(gaps) if gaps else None
    return found


def agreement(model: Any, prompt: list[int], reply: GreedyReply) -> tuple[list[bool], list[float]]:
    """For each token of a reply, whether the model would have drawn it; and by how much their log-probabilities
    differ, where the runtime gives them."""
    tokens = torch.tensor([*prompt, *reply.tokens])
    predicted = log_probs(model, tokens)[len(prompt) - 1 : -1]
    drawn = tokens[len(prompt) :]
    same = (predicted.argmax(-1) == drawn).tolist()
    if not reply.logprobs:
        return same, []
    gaps = predicted.gather(1, drawn[:, None])[:, 0] - torch.tensor(reply.logprobs)
    return same, gaps.abs().tolist()


def runtime_faults(found: dict[str, Any], limits: Thresholds, chat: bool) -> list[str]:
    """Which thresholds the file misses in llama.cpp, with the numbers."""
    faults = []
    wrong = {name: fault for name, fault in found["template_faults"].items() if name not in limits.excused_shapes}
    if wrong:
        name, fault = next(iter(wrong.items()))
        faults.append(
            f"chat template: {len(wrong)} message shapes read otherwise ({', '.join(wrong)}); {name}: {fault}"
        )
    if found["text_faults"]:
        faults.append(f"{len(found['text_faults'])} held-out texts read otherwise: {found['text_faults'][0]}")
    if found["replies_run_past_the_end"]:
        faults.append(f"{found['replies_run_past_the_end']} of {found['replies']} replies go on after their end token")
    if chat and found["replies_stopped"] < limits.min_stopped:
        faults.append(
            f"{found['replies_stopped']} of {found['replies']} replies stop; min_stopped {limits.min_stopped}"
        )
    for key, name, limit in (
        ("file_agreement", "min_runtime_agreement", limits.min_runtime_agreement),
        ("reference_agreement", "min_greedy_agreement", limits.min_greedy_agreement),
    ):
        if not found[key] >= limit:
            faults.append(f"{key} {found[key]:.4g} of greedy tokens < {name} {limit:g}")
    return faults
