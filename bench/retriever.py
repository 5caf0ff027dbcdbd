"""What training a retriever on pages' own questions gives: on other pages' questions, and on people's.

Run: python -m bench.retriever PART --train "PAGES/*.jsonl" --beir DIR [--chunks 700] [--depth 3] [--seed 0]

PART is embedding or cross_encoder. Cuts the pages as stage chunk does, words questions by rule (qa/candidates.py),
mines negatives and trains as stage retriever does, by params.yaml. Then searches: a BEIR folder (corpus.jsonl,
queries.jsonl, qrels/test.tsv) that no training saw, and the pages that were held out. Prints MRR and accuracy at 1, and
each system's difference in MRR to BM25 and to the untuned embedding with the p of the paired randomization test.
The cross-encoder reads the best `--depth` of BM25 and the untuned embedding together (sum of z-scores); a right text
that is not among them counts as found behind them all, at the place where the sum has it. Beside it stands what needs
no training: late interaction of the same weights, question and text read apart, over the same candidates and over all.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.questions import draw_chunks
from stages.lib.core.params import load
from stages.lib.core.records import read_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.reranking.rerankers import open_encoder_reranker
from stages.lib.retriever_training import joint_reading
from stages.lib.retriever_training.document_groups import document_groups, held_out_groups
from stages.lib.retriever_training.examples import Mining, by_rule, cut_windows, in_batches, mine
from stages.lib.retriever_training.publishing import publish
from stages.lib.retriever_training.trainers import device
from stages.lib.search.bm25 import BM25
from stages.lib.search.fusion import z_scores
from stages.lib.statistics.bootstrap import compare
from stages.lib.weights.models import ModelEntry, load_model_entry, locate_safetensors
from stages.retriever import Params, train

Embed = Callable[[list[str], bool], np.ndarray]  # texts, whether they are questions -> (n, H)
Read = Callable[[list[tuple[str, str]]], np.ndarray]  # questions with texts -> (n,)
SAMPLES = 5000  # of the randomization test


@dataclass(frozen=True)
class Searched:
    """Q questions on N texts, each answered by one of them, and the scores of the systems so far."""

    name: str
    questions: list[str]
    texts: list[str]
    right: np.ndarray  # (Q,)
    scores: dict[str, np.ndarray]  # system -> (Q, N)

    def ranks(self, system: str) -> np.ndarray:
        """(Q,) of the right text, from 1; ties count against it."""
        scores = self.scores[system]
        own = scores[np.arange(len(scores)), self.right][:, None]
        found: np.ndarray = (scores >= own).sum(axis=1)
        return found

    def show(self) -> None:
        """Prints a row a system."""
        found = {system: 1.0 / self.ranks(system) for system in self.scores}
        print(f"\n{self.name}: {len(self.questions)} questions, {len(self.texts)} texts", flush=True)
        for system, values in found.items():
            told = f"{system:28} MRR {values.mean():.3f}, accuracy at 1 {(values == 1).mean():.3f}"
            for other in ("BM25", "MiniLM", "late interaction, all"):
                if system != other and other in found:
                    one = compare(values[:, None], found[other], SAMPLES, 0)
                    told += f"; {one.difference[0]:+.3f} to {other} (p {one.p[0]:.4f})"
            print(told, flush=True)


def baselines(name: str, questions: list[str], texts: list[str], right: list[int], vectors: Embed) -> Searched:
    """BM25, the untuned embedding, and both."""
    scores = {"BM25": BM25(texts).scores(questions), "MiniLM": vectors(questions, True) @ vectors(texts, False).T}
    scores["BM25 + MiniLM"] = np.sum([np.apply_along_axis(z_scores, 1, one) for one in scores.values()], axis=0)
    return Searched(name, questions, texts, np.array(right), scores)


def beir(folder: Path) -> tuple[list[str], list[str], list[int]]:
    """Questions, texts, and the text that answers each question; of those that have one."""
    documents = read_jsonl(folder / "corpus.jsonl", ["_id", "text"])
    questions = {one["_id"]: one["text"] for one in read_jsonl(folder / "queries.jsonl", ["_id", "text"])}
    column = {one["_id"]: place for place, one in enumerate(documents)}
    rows = [line.split("\t") for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]]
    return [questions[q] for q, _, _ in rows], [one["text"] for one in documents], [column[d] for _, d, _ in rows]


def rerank(searched: Searched, system: str, read: Read, depth: int) -> None:
    """Adds the rows of what reads the best candidates, alone and in sum with those that it reads behind."""
    first = searched.scores["BM25 + MiniLM"]
    best = np.argsort(-first, axis=1, kind="stable")[:, :depth]
    pairs = [(q, searched.texts[t]) for q, row in zip(searched.questions, best, strict=True) for t in row]
    values = read(pairs).reshape(best.shape)
    for name, weight in ((system, 0.0), (f"{system} + both", 1.0)):
        scores = first - 1e6  # what is not read stays below
        own = np.take_along_axis(first, best, 1)
        np.put_along_axis(scores, best, values + weight * own, 1)
        searched.scores[name] = scores


def late_interaction(searched: Searched, entry: ModelEntry, depth: int) -> None:
    """Adds the rows of what was not trained: MaxSim over the same candidates, and over all texts."""

    def read(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return reranker.score([QueryDocument(*pair) for pair in pairs]).values

    with open_encoder_reranker(replace(entry, rerank_method="late_interaction"), searched.texts) as reranker:
        rerank(searched, f"late interaction, best {depth}", read, depth)
        pairs = [(question, text) for question in searched.questions for text in searched.texts]
        searched.scores["late interaction, all"] = read(pairs).reshape(len(searched.questions), -1)


def arguments() -> argparse.Namespace:
    """What the command line tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("embedding", "cross_encoder"))
    parser.add_argument("--train", nargs="+", required=True, help="globs of files, as in chunk.sources")
    parser.add_argument("--beir", type=Path, required=True, help="a folder of people's questions")
    parser.add_argument("--chunks", type=int, default=700, help="how many are drawn")
    parser.add_argument("--test-fraction", type=float, default=0.3, help="of the pages, held out")
    parser.add_argument("--steps", type=int, default=0, help="in place of those of params.yaml")
    parser.add_argument("--depth", type=int, default=3, help="candidates that the cross-encoder reads")
    parser.add_argument("--seed", type=int, help="in place of that of params.yaml: draw, split and training")
    parser.add_argument("--untrained", action="store_true", help="also the cross-encoder before its training")
    return parser.parse_args()


def main() -> None:
    """Trains and prints."""
    given = arguments()
    params = load(Params, "retriever")
    if given.seed is not None:
        params = replace(params, seed=given.seed)
    if given.steps:
        longer: dict[str, Any] = {given.part: replace(params.training(given.part), steps=given.steps)}
        params = replace(params, **longer)
    training = params.training(given.part)
    entry = load_model_entry(params.base)
    start = time.monotonic()
    chunks = draw_chunks(given.train, given.chunks, params.seed)
    groups = document_groups(chunks, [])
    out = held_out_groups(groups, given.test_fraction, params.seed)
    seen = [chunk for chunk in chunks if groups[chunk["document"]] not in out]
    kept = [chunk for chunk in chunks if groups[chunk["document"]] in out]
    windows, whole = cut_windows(seen, params.window_chars), cut_windows(kept, max(len(one["text"]) for one in kept))
    asked, other = by_rule(seen, windows, len(seen), params.seed), by_rule(kept, whole, len(kept), params.seed)
    print(f"{len(asked)} questions to learn from, {len(other)} held out; {time.monotonic() - start:.0f} s", flush=True)
    with open_embedder(params.base, entry) as embedder:

        def embed(texts: list[str], asks: bool) -> np.ndarray:
            return embedder.encode_queries(texts) if asks else embedder.encode_documents(texts)

        people = baselines(given.beir.name, *beir(given.beir), embed)
        places = [whole[one.window].chunk for one in other]
        pages = baselines("held-out pages", [one.question for one in other], [c["text"] for c in kept], places, embed)
        people.show()
        pages.show()
        mining = Mining(
            chunks=seen,
            groups=groups,
            vectors=embed([chunk["text"] for chunk in seen], False),
            embed=lambda questions: embed(list(questions), True),
            negatives=training.negatives,
            false_negative_share=params.false_negative_share,
        )
        mined = mine(asked, windows, mining)
    examples = in_batches(mined, training.questions_per_step, training.steps, params.seed)
    print(f"{len(mined)} examples; {time.monotonic() - start:.0f} s", flush=True)
    base = locate_safetensors(entry)
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        train(params, given.part, base, examples, Path(place) / "steps")
        print(f"trained {training.steps} steps in {time.monotonic() - began:.0f} s", flush=True)
        tuned, last = Path(place) / "tuned", Path(place) / f"steps/checkpoint-{training.steps}"
        publish(tuned, last, base, tuned_share=training.tuned_share, facts={}, card="")
        if given.part == "embedding":
            with_tuned(replace(entry, source=f"path:{tuned}", sha256={}), people, pages)
        else:
            models = {"cross-encoder": joint_reading.load(tuned, entry.max_length, device())}
            if given.untrained:
                texts = [text for one in examples for text in (one.positive, *one.negatives)]
                models["before training"] = joint_reading.begin(base, texts, entry.max_length, device())
            for searched in (people, pages):
                late_interaction(searched, entry, given.depth)
                for name, model in models.items():
                    rerank(searched, name, partial(model.predict, show_progress_bar=False), given.depth)
                searched.show()


def with_tuned(entry: ModelEntry, *all_searched: Searched) -> None:
    """Adds the tuned embedding's row to each and prints them."""
    with open_embedder("tuned", entry) as embedder:
        for searched in all_searched:
            queries, documents = embedder.encode_queries(searched.questions), embedder.encode_documents(searched.texts)
            searched.scores["tuned embedding"] = queries @ documents.T
            searched.show()


if __name__ == "__main__":
    main()
