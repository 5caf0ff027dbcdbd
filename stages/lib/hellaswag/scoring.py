"""HellaSwag, both common ways, with 95% intervals; see `hellaswag` for the measures."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from stages.lib.core.progress import each
from stages.lib.gpt.evaluating import evaluating
from stages.lib.gpt.model import GPT
from stages.lib.hellaswag.items import ENDINGS, HellaSwagItem, clean, query
from stages.lib.tokens.tokenizers import Tokenizer

MEASURES = ("acc_tokens", "acc_norm_tokens", "acc_chars", "acc_norm_chars")
_HEAD_ROWS = 512  # positions whose logits are in memory together: 100 MB at GPT-2's vocabulary


@dataclass(frozen=True)
class EndingRow:
    """One ending to be scored."""

    ids: np.ndarray  # the context's and the ending's tokens, int64
    scored: int  # of them, the ending's: the last ones
    divisor: float


def rows_by_tokens(item: HellaSwagItem, tokenizer: Tokenizer) -> list[EndingRow]:
    """The four endings as build-nanogpt reads them."""
    context = tokenizer.encode(item.ctx)
    endings = [tokenizer.encode(" " + ending) for ending in item.endings]
    return [EndingRow(np.concatenate((context, ending)), len(ending), len(ending)) for ending in endings]


def rows_by_chars(item: HellaSwagItem, tokenizer: Tokenizer) -> list[EndingRow]:
    """The four endings as lm-evaluation-harness reads them: a space as delimiter, blanks moved to the ending."""
    context = query(item)
    kept = context.rstrip()
    rows = []
    for choice in map(clean, item.endings):
        whole = tokenizer.encode(kept + context[len(kept) :] + " " + choice)
        before = tokenizer.encode(kept)
        # The context keeps its own tokens even where a merge across the border would have changed the last one.
        ending = whole[len(before) :]
        rows.append(EndingRow(np.concatenate((before, ending)), len(ending), len(choice)))
    return rows


def windows(row: EndingRow, context: int) -> Iterator[tuple[np.ndarray, int]]:
    """Token ids, at most context + 1, and how many of the last ones to score: one window where the ending fits.

    What stands before is cropped from the left. A longer ending is scored in several windows, none of its tokens
    twice: leaving its beginning out would favour it.
    """
    end, left = len(row.ids), row.scored
    while left:
        count = min(left, context)
        yield row.ids[max(0, end - context - 1) : end], count
        end, left = end - count, left - count


def log_likelihoods(
    model: GPT,
    rows: Sequence[EndingRow],
    device: str | torch.device = "cpu",
    batch_tokens: int = 16_384,
    most: Callable[[int], int] | None = None,
) -> np.ndarray:
    """Sum of the log-probabilities of each row's scored tokens, (rows,) float64.

    Windows are batched by length, at most `batch_tokens` a batch (one window at least). `most` is for a model whose
    weights are divided over processes (FSDP), which have to call it equally often: the largest of all their numbers.
    """
    todo = [(*window, i) for i, row in enumerate(rows) for window in windows(row, model.config.context)]
    todo.sort(key=lambda window: -len(window[0]))
    batches = []
    start = 0
    while start < len(todo):
        batches.append(todo[start : start + max(1, batch_tokens // len(todo[start][0]))])
        start += len(batches[-1])
    calls = most(len(batches)) if most else len(batches)  # before the first call, in which all have a part
    sums = np.zeros(len(rows))
    # What FSDP gathers in inference mode could not be trained with afterwards.
    with evaluating(model), torch.inference_mode() if most is None else nullcontext():
        for batch in each(batches, "HellaSwag", "batch"):
            found = _batch([(ids, count) for ids, count, _ in batch], model, torch.device(device), most is not None)
            np.add.at(sums, [i for _, _, i in batch], found)
        for _ in range(calls - len(batches)):
            model(torch.zeros(1, 1, dtype=torch.int64, device=device))
    return sums


def _batch(batch: list[tuple[np.ndarray, int]], model: GPT, device: torch.device, divided: bool) -> np.ndarray:
    """Sums of windows, the longest first; what stands behind a window's end, causality hides from it.

    `divided`: by one call of the model, the only way to its whole weights; all logits are in memory then.
    """
    ids = np.zeros((len(batch), len(batch[0][0])), dtype=np.int64)
    scored = np.zeros(ids.shape, dtype=bool)
    for i, (window, count) in enumerate(batch):
        ids[i, : len(window)] = window
        scored[i, len(window) - count : len(window)] = True
    tokens = torch.from_numpy(ids).to(device)
    mask = torch.from_numpy(scored).to(device)[:, 1:]
    targets = tokens[:, 1:][mask]  # (scored,)
    # (scored, C), or (scored, V): the logits of the rest are never computed
    states = model(tokens[:, :-1])[mask] if divided else model.hidden(tokens[:, :-1])[mask]
    losses = [
        F.cross_entropy((part if divided else model.logits(part)).float(), target, reduction="none").double()
        for part, target in zip(torch.split(states, _HEAD_ROWS), torch.split(targets, _HEAD_ROWS), strict=True)
    ]
    sums = torch.zeros(len(batch), dtype=torch.float64, device=device)
    found: np.ndarray = sums.index_add_(0, mask.nonzero()[:, 0], -torch.cat(losses)).cpu().numpy()
    return found


def count_correct(
    model: GPT,
    tokenizer: Tokenizer,
    items: Sequence[HellaSwagItem],
    device: str | torch.device = "cpu",
    batch_tokens: int = 16_384,
    *,
    most: Callable[[int], int] | None = None,
) -> Counter[str]:
    """How many items each measure of `MEASURES` answers rightly, and the `items`: processes may add up their shares.

    Also `cropped`: endings, of both ways together, whose context did not fit as a whole into the model's.
    Equal scores: the first ending, as numpy's argmax has it. `most`: see `log_likelihoods`.
    """
    counts: Counter[str] = Counter(items=len(items))
    labels = np.array([item.label for item in items])
    for way, make in (("tokens", rows_by_tokens), ("chars", rows_by_chars)):
        rows = [row for item in items for row in make(item, tokenizer)]
        sums = log_likelihoods(model, rows, device, batch_tokens, most)
        means = sums / [row.divisor for row in rows]
        counts[f"acc_{way}"] = int((sums.reshape(-1, ENDINGS).argmax(1) == labels).sum())
        counts[f"acc_norm_{way}"] = int((means.reshape(-1, ENDINGS).argmax(1) == labels).sum())
        counts["cropped"] += sum(len(row.ids) > model.config.context + 1 for row in rows)
    return counts


def summarize(counts: Counter[str]) -> dict[str, Any]:
    """Each measure as a share of the items with its Wilson score interval, and what was cropped."""
    from scipy.stats import binomtest  # half a second to import, where no item may be scored

    n = counts["items"]
    measures: dict[str, Any] = {"items": n, "cropped": counts["cropped"]}
    for name in MEASURES:
        interval = binomtest(counts[name], n).proportion_ci(confidence_level=0.95, method="wilson")
        measures[name] = {"value": counts[name] / n, "low": float(interval.low), "high": float(interval.high)}
    return measures


def score(
    model: GPT,
    tokenizer: Tokenizer,
    items: Sequence[HellaSwagItem],
    device: str | torch.device = "cpu",
    batch_tokens: int = 16_384,
) -> dict[str, Any]:
    """HellaSwag of a model: `count_correct`, then `summarize`.

    Raises:
        ValueError: no items, or the tokenizer has more ids than the model.
    """
    if not items:
        raise ValueError("hellaswag: no items to score")
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"hellaswag: the tokenizer {tokenizer.name} has {tokenizer.vocab_size} ids, "
            f"the model {model.config.vocab_size}: it was trained with another one"
        )
    return summarize(count_correct(model, tokenizer, items, device, batch_tokens))
