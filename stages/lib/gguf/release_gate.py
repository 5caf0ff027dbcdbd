"""What a GGUF file must show before it is released: that it is the model which was trained, near enough.

Three comparisons, each with its own thresholds: weights as they are in the file, de-quantized, against the model as it
was trained, an adapter on its base, on held-out text (what merging and quantization cost); the file's tokens in
llama.cpp against those of training and asking (chat template, special tokens, splitting); greedy replies of llama.cpp
against transformers on the same weights (what the conversion got wrong) and against the model as it was trained.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import beginning
from stages.lib.core.progress import each
from stages.lib.gguf.gate_texts import HeldOut
from stages.lib.gguf.llama_runtime import GreedyReply, LlamaRuntime
from stages.lib.gguf.message_shapes import explained_shapes, first_difference, template_faults

TEXTS = 8  # held-out texts whose tokens are compared
ROWS_AT_ONCE = 256  # tokens whose log-probabilities are compared at once


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
def log_probs(model: Any, tokens: Tensor, last: int = 0) -> Tensor:
    """(T,) tokens -> (T, V) log-probabilities of what follows each, float32 on the CPU; `last`: of so many alone."""
    logits = model(tokens[None].to(model.device), use_cache=False, logits_to_keep=last).logits[0]
    found: Tensor = logits.float().log_softmax(-1).cpu()
    return found


def keep_log_probs(model: Any, windows: Tensor, directory: Path) -> list[Path]:
    """Writes the model's log-probabilities, a file for each window: those of all together may take gigabytes.

    Raises:
        ValueError: the model gives NaN.
    """
    files = []
    for i, window in enumerate(each(windows, "the model as it was trained", "window")):
        found = log_probs(model, window)
        if bool(found.isnan().any()):
            raise ValueError("the model gives NaN on held-out text: did its training diverge?")
        files.append(directory / f"{i}.npy")
        np.save(files[-1], found.numpy())
    return files


def kept_log_probs(files: Iterable[Path]) -> Iterator[Tensor]:
    """What `keep_log_probs` wrote, (T, V) a window."""
    for file in files:
        yield torch.from_numpy(np.load(file))


def closeness(reference: Iterable[Tensor], model: Any, windows: Tensor) -> dict[str, float]:
    """How far a model is from the reference's log-probabilities (one (T, V) a window), averaged over tokens.

    mean_kl: KL(reference || model) in nats; top_agreement: share of tokens with the same most likely successor;
    perplexity_ratio: the model's perplexity over the reference's.
    """
    kl, same, loss, reference_loss, places = 0.0, 0, 0.0, 0.0, 0
    for theirs, window in zip(reference, each(windows, "the weights in the file", "window"), strict=True):
        ours = log_probs(model, window)
        pieces = zip(torch.split(theirs, ROWS_AT_ONCE), torch.split(ours, ROWS_AT_ONCE), strict=True)
        kl += sum(float((p.exp() * (p - q)).sum()) for p, q in pieces)
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
    runtime: LlamaRuntime, tokenizer: Any, fmt: ChatFormat, held: HeldOut, *, ends: set[int], max_new_tokens: int
) -> tuple[dict[str, Any], list[GreedyReply]]:
    """What the file does in llama.cpp: how it reads conversations and texts, and its greedy replies to the prompts."""
    faults = template_faults(tokenizer, fmt, runtime) if tokenizer.chat_template else {}
    explained = {name: why for name, why in explained_shapes(tokenizer).items() if name in faults}
    compared = [text for text in held.texts if text.plain][:TEXTS]
    # Where the template writes the beginning itself, llama.cpp's server takes it away and puts its own.
    own = str(tokenizer.bos_token) if beginning(tokenizer) else ""
    read = [runtime.tokens(text.text.removeprefix(own)) for text in compared]
    differences = [first_difference(text.tokens, found, tokenizer) for text, found in zip(compared, read, strict=True)]
    replies = [runtime.greedy(prompt, max_new_tokens) for prompt in each(held.prompts, "replies by llama.cpp", "reply")]
    return {
        "template_faults": {name: fault for name, fault in faults.items() if name not in explained},
        "explained_shapes": explained,
        "texts": len(compared),
        "text_faults": [fault for fault in differences if fault],
        "replies": len(replies),
        "replies_stopped": sum(reply.ended for reply in replies),
        "replies_run_past_the_end": sum(bool(ends & set(reply.tokens[:-1])) for reply in replies),
        "reply_tokens": sum(len(reply.tokens) for reply in replies),
    }, replies


def agreements(name: str, model: Any, prompts: Sequence[list[int]], replies: Sequence[GreedyReply]) -> dict[str, Any]:
    """How far a model agrees with the greedy replies; the keys begin with `name`.

    The tokens of a reply are put to the model at once: at each step, would it have drawn the same token? So the first
    step that differs is where its own greedy reply would part.
    """
    pairs = list(zip(prompts, replies, strict=True))
    steps = [agreement(model, prompt, reply) for prompt, reply in each(pairs, f"{name} against llama.cpp", "reply")]
    same = [bool(step) for flags, _ in steps for step in flags]
    gaps = [gap for _, differences in steps for gap in differences]
    return {
        f"{name}_agreement": sum(same) / max(len(same), 1),
        f"{name}_agreeing_prefix": [len(flags) if all(flags) else flags.index(False) for flags, _ in steps],
        f"{name}_logprob_difference": sum(gaps) / len(gaps) if gaps else None,
    }


def agreement(model: Any, prompt: list[int], reply: GreedyReply) -> tuple[list[bool], list[float]]:
    """For each token of a reply, whether the model would have drawn it; and by how much their log-probabilities
    differ, where the runtime gives them."""
    tokens = torch.tensor([*prompt, *reply.tokens])
    predicted = log_probs(model, tokens, last=len(reply.tokens) + 1)[:-1]
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
