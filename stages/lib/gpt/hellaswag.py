"""HellaSwag (Zellers et al. 2019, arXiv:1905.07830), both common ways, with 95% intervals.

`acc_norm_tokens`, as build-nanogpt's hellaswag.py: the raw context, then each ending after a space, tokenized apart;
the ending whose mean log-probability a token is highest wins. GPT-2 124M: 29.55 (sum instead of mean, `acc_tokens`:
28.59).
`acc_norm_chars`, as lm-evaluation-harness: activity label and context cleaned of WikiHow's markers, context and
ending tokenized together; the sum is divided by the characters of the ending. GPT-2 124M: 31.14 (`acc_chars`: 28.92).

Run: python -m stages.lib.gpt.hellaswag --ckpt models/gpt/best --file hellaswag_val.jsonl
or:  python -m stages.lib.gpt.hellaswag --hf openai-community/gpt2 --revision COMMIT
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.stats import binomtest

from stages.lib.corpus.documents import Drop
from stages.lib.corpus.files import json_records
from stages.lib.corpus.hub import HubSource, hub_records
from stages.lib.gpt.checkpoints import load_model
from stages.lib.gpt.huggingface import from_hf
from stages.lib.gpt.model import GPT
from stages.lib.gpt.tokenizers import Tokenizer, load_tokenizer
from stages.lib.records import Record

HUB = HubSource(
    kind="hub", name="Rowan/hellaswag", revision="218ec52e09a7e7462a5400043bb9a69a41d06b76", split="validation"
)
ENDINGS = 4
MEASURES = ("acc_tokens", "acc_norm_tokens", "acc_chars", "acc_norm_chars")
_HEAD_ROWS = 512  # positions whose logits are in memory together: 100 MB at GPT-2's vocabulary
_MAX_BYTES = 1_000_000  # of a line


@dataclass(frozen=True)
class Item:
    """A context, its four endings, and which of them is right."""

    activity_label: str
    ctx: str
    ctx_parts: tuple[str, str] | None  # ctx_a and ctx_b; None where the file has only `ctx`
    endings: tuple[str, ...]
    label: int


def load_items(source: str | Path, limit: int = 0) -> tuple[list[Item], Counter[str]]:
    """Items of a JSONL file of the upstream schema, or of the hub's validation split at its pin (`source` is "hub").

    `ctx_a` and `ctx_b` may be absent: `ctx` stands for both then, and ctx_b's first letter stays small.

    Args:
        source: "hub" or a path.
        limit: items at most; 0: all.

    Returns:
        The items, and the number of broken records by reason.

    Raises:
        ValueError: no such file, or not one usable item in it.
    """
    if str(source) != "hub" and not Path(source).is_file():
        raise ValueError(f"{source}: no such file; name a HellaSwag file of the upstream schema, or `hub`")
    records = _hub() if str(source) == "hub" else json_records(Path(source), _MAX_BYTES)
    items: list[Item] = []
    dropped: Counter[str] = Counter()
    first: Drop | None = None
    for found in records:
        item = found if isinstance(found, Drop) else as_item(*found)
        if isinstance(item, Drop):
            first = first or item
            dropped[item.reason] += 1
        else:
            items.append(item)
            if len(items) == limit:
                break
    if not items:
        seen = (
            f"; the first of {dropped.total()} dropped: {first.source}: {first.reason} {first.detail}" if first else ""
        )
        raise ValueError(f"{source}: holds no usable HellaSwag item{seen}")
    return items, dropped


def _hub() -> Iterator[tuple[str, Record]]:
    for number, record in enumerate(hub_records(HUB)):
        yield f"{HUB.name}[{number}]", record


def as_item(where: str, record: Record) -> Item | Drop:
    """The item in a record, or the drop that it is.

    Reasons: `no_label` (also the empty one of the test split), `not_four_endings`, `empty_ending`, `no_context`,
    `no_activity_label`.
    """
    label, endings = record.get("label"), record.get("endings")
    if isinstance(label, bool) or str(label) not in ("0", "1", "2", "3"):
        return Drop(where, "no_label", f"expected 0..3, found {label!r}")
    if not isinstance(endings, list) or len(endings) != ENDINGS or not all(isinstance(e, str) for e in endings):
        return Drop(where, "not_four_endings", f"found {str(endings)[:80]!r}")
    if not all(clean(ending) for ending in endings):
        return Drop(where, "empty_ending")
    context, parts = record.get("ctx"), (record.get("ctx_a"), record.get("ctx_b"))
    if not isinstance(context, str) or not context.strip():
        return Drop(where, "no_context", f"ctx is {context!r}")
    if not isinstance(record.get("activity_label"), str):
        return Drop(where, "no_activity_label")
    a, b = parts
    both = (a, b) if isinstance(a, str) and isinstance(b, str) else None
    return Item(record["activity_label"], context, both, tuple(endings), int(str(label)))


def clean(text: str) -> str:
    """lm-evaluation-harness's `preprocess`: WikiHow's [title] begins a sentence, other bracketed markers go."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def query(item: Item) -> str:
    """The context that lm-evaluation-harness shows."""
    context = item.ctx if item.ctx_parts is None else f"{item.ctx_parts[0]} {item.ctx_parts[1].capitalize()}"
    return clean(f"{item.activity_label}: {context}")


@dataclass(frozen=True)
class Row:
    """One ending to be scored."""

    ids: np.ndarray  # the context's and the ending's tokens, int64
    scored: int  # of them, the ending's: the last ones
    divisor: float


def rows_by_tokens(item: Item, tokenizer: Tokenizer) -> list[Row]:
    """The four endings as build-nanogpt reads them."""
    context = tokenizer.encode(item.ctx)
    endings = [tokenizer.encode(" " + ending) for ending in item.endings]
    return [Row(np.concatenate((context, ending)), len(ending), len(ending)) for ending in endings]


def rows_by_chars(item: Item, tokenizer: Tokenizer) -> list[Row]:
    """The four endings as lm-evaluation-harness reads them: a space as delimiter, blanks moved to the ending."""
    context = query(item)
    kept = context.rstrip()
    rows = []
    for choice in map(clean, item.endings):
        whole = tokenizer.encode(kept + context[len(kept) :] + " " + choice)
        before = tokenizer.encode(kept)
        # The context keeps its own tokens even where a merge across the border would have changed the last one.
        ending = whole[len(before) :]
        rows.append(Row(np.concatenate((before, ending)), len(ending), len(choice)))
    return rows


def windows(row: Row, context: int) -> Iterator[tuple[np.ndarray, int]]:
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
    model: GPT, rows: Sequence[Row], device: str | torch.device = "cpu", batch_tokens: int = 16_384
) -> np.ndarray:
    """Sum of the log-probabilities of each row's scored tokens, (rows,) float64.

    Windows are batched by length, at most `batch_tokens` a batch (one window at least).
    """
    todo = [(*window, i) for i, row in enumerate(rows) for window in windows(row, model.config.context)]
    todo.sort(key=lambda window: -len(window[0]))
    sums = np.zeros(len(rows))
    training = model.training
    model.eval()
    start = 0
    with torch.inference_mode():
        while start < len(todo):
            batch = todo[start : start + max(1, batch_tokens // len(todo[start][0]))]
            found = _batch([(ids, count) for ids, count, _ in batch], model, torch.device(device))
            np.add.at(sums, [i for _, _, i in batch], found)
            start += len(batch)
    model.train(training)
    return sums


def _batch(batch: list[tuple[np.ndarray, int]], model: GPT, device: torch.device) -> np.ndarray:
    """Sums of windows, the longest first; what stands behind a window's end, causality hides from it."""
    ids = np.zeros((len(batch), len(batch[0][0])), dtype=np.int64)
    scored = np.zeros(ids.shape, dtype=bool)
    for i, (window, count) in enumerate(batch):
        ids[i, : len(window)] = window
        scored[i, len(window) - count : len(window)] = True
    tokens = torch.from_numpy(ids).to(device)
    mask = torch.from_numpy(scored).to(device)[:, 1:]
    hidden = model.hidden(tokens[:, :-1])[mask]  # (scored, C): the logits of the rest are never computed
    targets = tokens[:, 1:][mask]  # (scored,)
    losses = [
        F.cross_entropy(model.logits(part).float(), target, reduction="none").double()
        for part, target in zip(torch.split(hidden, _HEAD_ROWS), torch.split(targets, _HEAD_ROWS), strict=True)
    ]
    sums = torch.zeros(len(batch), dtype=torch.float64, device=device)
    found: np.ndarray = sums.index_add_(0, mask.nonzero()[:, 0], -torch.cat(losses)).cpu().numpy()
    return found


def count_correct(
    model: GPT,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    device: str | torch.device = "cpu",
    batch_tokens: int = 16_384,
) -> Counter[str]:
    """How many items each measure of `MEASURES` answers rightly, and the `items`: processes may add up their shares.

    Also `cropped`: endings, of both ways together, whose context did not fit as a whole into the model's.
    Equal scores: the first ending, as numpy's argmax has it.
    """
    counts: Counter[str] = Counter(items=len(items))
    labels = np.array([item.label for item in items])
    for way, make in (("tokens", rows_by_tokens), ("chars", rows_by_chars)):
        rows = [row for item in items for row in make(item, tokenizer)]
        sums = log_likelihoods(model, rows, device, batch_tokens)
        means = sums / [row.divisor for row in rows]
        counts[f"acc_{way}"] = int((sums.reshape(-1, ENDINGS).argmax(1) == labels).sum())
        counts[f"acc_norm_{way}"] = int((means.reshape(-1, ENDINGS).argmax(1) == labels).sum())
        counts["cropped"] += sum(len(row.ids) > model.config.context + 1 for row in rows)
    return counts


def summarize(counts: Counter[str]) -> dict[str, Any]:
    """Each measure as a share of the items with its Wilson score interval, and what was cropped."""
    n = counts["items"]
    measures: dict[str, Any] = {"items": n, "cropped": counts["cropped"]}
    for name in MEASURES:
        interval = binomtest(counts[name], n).proportion_ci(confidence_level=0.95, method="wilson")
        measures[name] = {"value": counts[name] / n, "low": float(interval.low), "high": float(interval.high)}
    return measures


def score(
    model: GPT,
    tokenizer: Tokenizer,
    items: Sequence[Item],
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


def main(command_line: Sequence[str] | None = None) -> None:
    """Scores a checkpoint, or a Hugging Face GPT-2, and prints the measures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.gpt.hellaswag", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ckpt", type=Path, help="checkpoint directory, such as models/gpt/best")
    source.add_argument("--hf", help="a GPT-2 of the hub (ORG/NAME, with --revision), or its local directory")
    parser.add_argument("--revision", default="", help="commit hash of --hf")
    parser.add_argument("--tokenizer", default="gpt2", help="of --hf; default: gpt2")
    parser.add_argument(
        "--file", default="hub", help="JSONL of the upstream schema; default: the hub's validation split"
    )
    parser.add_argument("--limit", type=int, default=0, help="items at most; 0: all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-tokens", type=int, default=16_384)
    arguments = parser.parse_args(command_line)
    try:
        items, dropped = load_items(arguments.file, arguments.limit)
        if arguments.ckpt is not None:
            model, name = load_model(arguments.ckpt, arguments.device)
        else:
            model, name = from_hf(arguments.hf, arguments.revision).to(arguments.device), arguments.tokenizer
        measures = score(model, load_tokenizer(name), items, arguments.device, arguments.batch_tokens)
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps({**measures, "dropped": dict(dropped)}, indent=2))


if __name__ == "__main__":
    main()
