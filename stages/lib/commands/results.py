"""`make results`: the headline numbers of the last run (metrics/*.json) as a table, and the paths of its pictures.

What is left from an earlier run, on other data or params, is left out and named (earlier_runs.py).

Run: python -m stages.lib.commands.results
"""

import argparse
import json
import textwrap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.lib.commands.earlier_runs import earlier_files
from stages.lib.core.metrics import FULL_DIR, METRICS_DIR

# What a headline's number says, in the order of the graph. The last part of a key is found wherever it stands below its
# stage: eval.base.f1 and eval.qlora.f1 are both "eval f1".
LABELS = {
    "shard tokens": "tokens to train on",
    "pretrain val_loss": "validation loss, nats per token",
    "pretrain hellaswag": "HellaSwag accuracy, normalised by tokens",
    "finetune answer_loss": "loss on held-out answers, nats per token",
    "finetune forgetting": "perplexity of pretraining text, x the base's",
    "chunk documents": "documents kept",
    "chunk chunks": "chunks made of them",
    "near_pairs found": "near pairs of chunks found",
    "dedup removed": "near-duplicate chunks removed",
    "qa questions": "questions written",
    "judge auc": "the judge's AUC, right items against wrong ones",
    "select questions": "questions that pass every threshold",
    "embed truncated": "chunks longer than the model reads",
    "benchmark best": "best system by MRR",
    "benchmark accuracy_at_5": "its accuracy@5",
    "benchmark bm25_mrr": "MRR of BM25",
    "benchmark dense_mrr": "MRR of the best embedding",
    "benchmark reranked_mrr": "MRR of the best reranked embedding",
    "benchmark fused_mrr": "MRR of the best embedding fused with BM25",
    "instruct chats": "chats made",
    "instruct reasoned": "questions with reasoning made",
    "qlora val_loss": "validation loss, nats per learned token",
    "qlora fall": "its fall by the training",
    "grpo reward": "mean reward in the last quarter of the steps",
    "grpo f1": "token F1 of the answers to test questions",
    "grpo f1_gain": "its gain over the base",
    "gguf released": "smallest type that passes the release gate",
    "gguf kl": "KL divergence from unquantized, nats per token",
    "gguf bits": "bits per weight",
    "eval f1": "token F1 on held-out questions",
    "eval win_rate": "win rate against the base, by the judge",
    "eval forgetting": "perplexity of general text, x the base's",
    "rag base_f1": "token F1 of the base over passages of the corpus",
    "rag tuned_f1": "token F1 of the released model over them",
    "rag cited": "right chunk cited first",
    "rag answered": "answerable questions that are answered",
    "rag refusal_recall": "questions without a document that are declined",
}
ORDER = list(dict.fromkeys(label.split()[0] for label in LABELS))  # of the stages
NAME, WIDTH = 24, 88  # characters of the first column, and of a line


def leaves(content: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number or text of a headline, with the keys that lead to it."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def headlines(directory: Path, but: Collection[Path] = ()) -> list[tuple[str, str, str]]:
    """(stage with its loop values or system, what is measured, value) of all metrics/*.json, in the graph's order.

    `but`: files that are left out.

    Raises:
        ValueError: there is no metric file, or one is no JSON.
    """
    files = sorted(directory.glob("*.json"))
    if not files:
        raise ValueError(f"{directory}/*.json: no results yet; `make repro` makes them")
    rows = []
    for file in [file for file in files if file not in but]:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}: not JSON ({error}); run its stage again") from error
        for path, value in leaves(content):
            stage, *between, key = path
            loop = file.stem.removeprefix(stage).replace("_", " ").strip() if stage != "benchmark" else ""
            name = " ".join(part for part in (stage, loop, *between) if part)
            number = ORDER.index(stage) if stage in ORDER else len(ORDER)
            rows.append((number, (name, LABELS.get(f"{stage} {key}", key), shown(value))))
    return [row for _, row in sorted(rows, key=lambda row: row[0])]


def shown(value: Any) -> str:
    """A count with separators, a measure with three digits, a text as it is."""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(directory: Path = METRICS_DIR, data: Path = Path("data"), earlier: Mapping[Path, str] | None = None) -> str:
    """The headline numbers, the pictures that are there, and where all the rest is.

    `earlier`: files of an earlier run, with their stages.
    """
    lines, before = [], ""
    for name, label, value in headlines(directory, earlier or ()):
        first = name if name != before else ""
        if len(first) > NAME:  # a line of its own
            lines.append(first)
            first = ""
        left = f"{first:<{NAME}}  {label}"
        if len(left) + 2 + len(value) > WIDTH:
            lines.append(left)
            left = ""
        lines.append(left + f"{value:>{WIDTH - len(left)}}")
        before = name
    if earlier:
        names = ", ".join(dict.fromkeys(earlier.values()))
        told = f"left out, as of an earlier run (`dvc repro` runs those that the graph has): {names}"
        lines += ["", *textwrap.wrap(told, WIDTH, break_on_hyphens=False)]
    pictures = sorted(data.glob("*/*.png"))
    if pictures:
        lines += ["", "pictures:", *(f"  {picture}" for picture in pictures)]
    lines += ["", f"all measures with their intervals: {FULL_DIR}/; what the clock said: make timings"]
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(prog="python -m stages.lib.commands.results", description=__doc__).parse_args()
    print(table(earlier=earlier_files(METRICS_DIR)))


if __name__ == "__main__":
    main()
