"""BM25's words against bm25s's own (two or more letters, any run of others between), on English with judgments.

Run: python -m bench.bm25 [--data DIR] [--file FILE]

Collections: those of DIR (default: $LLMILL_REAL_DATA) in BEIR's layout; the sections of its pages of documentation,
each asked for by its heading, which is taken out of it; and the parameters of the installed `peft` and `accelerate`,
each asked for by name, as "What is the default value of r in LoraConfig?", over the entries of all their docstrings.
Prints MRR with its paired difference, nDCG@10 and the shares of queries with a right text among the first 5 and 10.
"""

import argparse
import csv
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import bm25s
import numpy as np

from bench.defaults import parameter_entries
from stages.lib.core.records import read_jsonl
from stages.lib.ranking.measures import mean_measures, query_measures
from stages.lib.search import bm25
from stages.lib.statistics.bootstrap import compare

Tokenize = Callable[[Sequence[str]], list[list[str]]]
HEADING = re.compile(r"^#{1,4} +(.+?) *#*$", re.MULTILINE)
TOP_K = [5, 10]
DEPTH = 100


class Collection(NamedTuple):
    """Texts, queries, and the places of the texts that are right for each query."""

    name: str
    texts: list[str]
    queries: list[str]
    right: list[set[int]]


def plain(texts: Sequence[str]) -> list[list[str]]:
    """bm25s's own words."""
    tokens: list[list[str]] = bm25s.tokenize(list(texts), stopwords="english", return_ids=False, show_progress=False)
    return tokens


def beir(folder: Path) -> Collection:
    """A collection in BEIR's layout."""
    texts = read_jsonl(folder / "corpus.jsonl")
    queries = read_jsonl(folder / "queries.jsonl")
    places = {record["_id"]: number for number, record in enumerate(texts)}
    right: dict[str, set[int]] = {record["_id"]: set() for record in queries}
    if (folder / "qrels.jsonl").exists():
        judged = [(r["query-id"], r["corpus-id"], r["score"]) for r in read_jsonl(folder / "qrels.jsonl")]
    else:
        with (folder / "qrels/test.tsv").open(encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t"))[1:]
        judged = [(query, text, int(score)) for query, text, score in rows]
    for query, text, score in judged:
        if score > 0:
            right[query].add(places[text])
    return Collection(
        folder.name,
        [f"{r.get('title') or ''} {r['text']}" for r in texts],
        [r["text"] for r in queries],
        list(right.values()),
    )


def sections(file: Path) -> Collection:
    """Sections of pages, asked for by their headings; headings that more than three sections bear are no queries."""
    texts: list[str] = []
    asked: dict[str, set[int]] = {}
    for page in read_jsonl(file):
        parts = HEADING.split(page["text"])
        for heading, body in zip(parts[1::2], parts[2::2], strict=True):
            if len(body.strip()) >= 80:
                asked.setdefault(re.sub(r"\[\[.*?\]\]|<[^>]*>", "", heading).strip(), set()).add(len(texts))
                texts.append(body)
    chosen = {heading: right for heading, right in asked.items() if len(right) <= 3 and len(heading.split()) >= 2}
    return Collection("headings", texts, list(chosen), list(chosen.values()))


def parameters() -> Collection:
    """Entries of parameters, asked for by name; equal entries of several classes are all right."""
    entries = parameter_entries()
    texts = [f"{entry.owner} {entry.text}" for entry in entries]
    queries = [f"What is the default value of {entry.name} in {entry.owner}?" for entry in entries]
    return Collection("parameters", texts, queries, [{number} for number in range(len(entries))])


def measured(collection: Collection, tokenize: Tokenize) -> dict[str, dict[str, float]]:
    """The measures of each query of a collection by words of one kind; k1 and b as in params.yaml."""
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index(tokenize(collection.texts), show_progress=False)
    per_query = {}
    for number, tokens in enumerate(tokenize(collection.queries)):
        known = index.get_tokens_ids(tokens)
        scores = index.get_scores(known) if known else np.zeros(len(collection.texts))
        order = np.argsort(-scores, kind="stable")[:DEPTH]
        right = collection.right[number]
        gains = np.array([int(int(place) in right and scores[place] > 0) for place in order], dtype=np.int64)
        per_query[str(number)] = query_measures(gains, [1] * len(right), TOP_K)
    return per_query


def main(data: Path) -> str:
    """The table, as markdown."""
    collections = [beir(data / "xquad_en_beir"), beir(data / "limit_small")]
    collections += [sections(data / "hf_docs/huggingface_doc_2023-12.jsonl"), parameters()]
    names = ["mrr", "ndcg_at_10", "accuracy_at_5", "accuracy_at_10"]
    columns = ["collection", "texts", "queries", "words", *names, "MRR - bm25s's (95%)"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for collection in collections:
        found = {"bm25s's": measured(collection, plain), "ours": measured(collection, bm25.tokenize)}
        ranks = {label: np.array([[query["mrr"]] for query in each.values()]) for label, each in found.items()}
        change = compare(ranks["ours"], ranks["bm25s's"][:, 0], samples=10_000, seed=0)
        for label, per_query in found.items():
            means = mean_measures(per_query)
            row = [collection.name, f"{len(collection.texts):,}", f"{len(collection.queries):,}", label]
            row += [f"{means[name]:.4f}" for name in names]
            interval = f"{change.difference[0]:+.4f} ({change.low[0]:+.4f} to {change.high[0]:+.4f})"
            lines.append(f"| {' | '.join([*row, interval if label == 'ours' else ''])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMILL_REAL_DATA", "../shared/data")))
    parser.add_argument("--file", type=Path, help="where the table is written, beside the screen")
    args = parser.parse_args()
    table = main(args.data)
    print(table)
    if args.file:
        args.file.write_text(table + "\n")
