"""What a tuning unlearns: the loss on text that has nothing to do with it, window by window.

Letters: W windows, T tokens of a window, V vocabulary.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.lib.reading.documents import Document, Drop
from stages.lib.replying.conversation_replies import evaluating
from stages.lib.statistics import bootstrap as statistics

Floats = npt.NDArray[np.float64]


def text_windows(tokenizer: Any, items: Iterable[Document | Drop], length: int, count: int) -> list[list[int]]:
    """The first `length` tokens of each document that has as many, of the first `count` such documents.

    Raises:
        ValueError: fewer than two documents are long enough for an interval.
    """
    windows: list[list[int]] = []
    for item in items:
        if isinstance(item, Document):
            tokens = tokenizer.encode(item.text, add_special_tokens=False)
            if len(tokens) >= length:
                windows.append(list(tokens[:length]))
            if len(windows) == count:
                break
    if len(windows) < 2:
        raise ValueError(
            f"forgetting: {len(windows)} documents of the source have {length} tokens; an interval needs two: "
            "lower forgetting_tokens or name a larger source"
        )
    return windows


def window_losses(model: Any, windows: Sequence[Sequence[int]], batch_size: int) -> Floats:
    """Mean nats per token of each window, (W,); the first token of a window is not predicted."""
    import torch
    from torch.nn.functional import cross_entropy

    losses = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(windows), batch_size):
            ids = torch.tensor(windows[start : start + batch_size], device=model.device)  # (B, T)
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()  # (B, T - 1, V)
            nats = cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")  # (B, T - 1)
            losses += nats.mean(dim=1).double().tolist()
    return np.array(losses)


def forgetting(before: Floats, after: Floats, samples: int, seed: int) -> dict[str, float]:
    """Perplexities before and after, their ratio with its paired 95% interval over windows, and p."""
    found = statistics.compare(after[:, None], before, samples, seed)
    return {
        "perplexity_before": math.exp(before.mean()),
        "perplexity": math.exp(after.mean()),
        "ratio": math.exp(found.difference[0]),
        "ratio_low": math.exp(found.low[0]),
        "ratio_high": math.exp(found.high[0]),
        "p": float(found.p[0]),
    }
