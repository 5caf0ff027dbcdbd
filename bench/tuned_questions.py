"""Whether the project's own qlora, on questions that people wrote, makes a better question writer of the default model.

Run: python -m bench.tuned_questions FOLDER [--folds 2] [--steps 18] [--asked 40] [--keep DIR]

FOLDER holds passages with questions in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv). The passages are
parted into folds; on each, stages qlora and eval run in an empty folder: trained on the others' questions, asked for a
question on each of its own passages. Prints, over all folds: the loss of people's questions before and after; of the
questions that base and tuned wrote, and people's own, how many are one question, how many of their content words stand
in the passage.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.metrics import read_results
from stages.lib.core.records import Record, read_jsonl, write_json, write_jsonl
from stages.lib.english.words import content_words
from tests.params_of import project_params

ROOT = Path(__file__).resolve().parents[1]
ORDER = "You write one question on a text, which the text answers and which is understood without it."


def read_pairs(folder: Path) -> list[tuple[str, str]]:
    """(passage, question) of people, in the order of the questions."""
    texts = {str(record["_id"]): str(record["text"]) for record in read_jsonl(folder / "corpus.jsonl")}
    asked = {str(record["_id"]): str(record["text"]) for record in read_jsonl(folder / "queries.jsonl")}
    with (folder / "qrels/test.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    return [(texts[row[1]], asked[row[0]]) for row in rows if row[0] in asked and row[1] in texts]


def chats(pairs: Sequence[tuple[str, str]], name: str) -> Iterator[Record]:
    """Conversations in which a text is answered by a question."""
    for i, (passage, question) in enumerate(pairs):
        turns = [("system", ORDER), ("user", f"Text:\n{passage}\n\nQuestion:"), ("assistant", question)]
        yield {
            "id": f"{name}-{i}", "kind": "selected", "source": name, "made_by": "people", "context": passage,
            "question": f"{name}-{i}", "answer": question,
            "messages": [{"role": role, "content": content} for role, content in turns],
            "text": "\n".join(f"<|{role}|>\n{content}" for role, content in turns),
        }  # fmt: skip


def run_fold(place: Path, train: Sequence[Any], held_out: Sequence[Any], arguments: argparse.Namespace) -> None:
    """Trains on the one, asks for questions on the other's passages, each once."""
    params = project_params()
    params["qlora"] |= {"steps": arguments.steps, "max_length": 512, "val_limit": 0}
    params["eval"] |= {"systems": ["base", "qlora"], "questions": 0, "max_new_tokens": 32}
    write_json(place / "params.yaml", params)  # JSON is YAML
    shutil.copy(ROOT / "prompts.yaml", place)
    write_jsonl(place / "data/chunks/chunks.jsonl", [])
    once = list({passage: (passage, question) for passage, question in held_out}.values())[: arguments.asked]
    for split, pairs in (("train", train), ("val", held_out[: 3 * arguments.asked : 3]), ("test", once)):
        write_jsonl(place / f"data/instruct/synthetic_qa_{split}.jsonl", list(chats(pairs, split)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LLMILL_CACHE": str(ROOT / ".cache")}
    for stage in ("qlora", "eval"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=place, env=environment, check=True)


def told(name: str, written: Sequence[tuple[str, str]]) -> str:
    """A line on one writer's (question, passage) pairs."""
    shares = [len(content_words(q) & content_words(p)) / max(1, len(content_words(q))) for q, p in written]
    whole = sum(q.endswith("?") and q.count("?") == 1 and len(q.split()) > 3 for q, _ in written)
    different = len({q for q, _ in written})
    return (
        f"{name}: {whole} of {len(written)} are one whole question, {different} are different; "
        f"{np.mean(shares):.2f} of their content words stand in the passage"
    )


def main() -> None:
    """Runs the folds and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.tuned_questions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="corpus.jsonl, queries.jsonl, qrels/test.tsv")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=18, help="of qlora; a step is 4 questions")
    parser.add_argument("--asked", type=int, default=40, help="passages of a fold that are asked about")
    parser.add_argument("--keep", type=Path, help="the folder to work in; default: one that is removed")
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.folder)
    fold_of = {passage: i % arguments.folds for i, passage in enumerate(sorted({passage for passage, _ in pairs}))}
    written: dict[str, list[tuple[str, str]]] = {"base": [], "qlora": [], "reference": []}
    with tempfile.TemporaryDirectory() as temporary:
        for fold in range(arguments.folds):
            place = (arguments.keep or Path(temporary)).absolute() / str(fold)
            train = [pair for pair in pairs if fold_of[pair[0]] != fold]
            run_fold(place, train, [pair for pair in pairs if fold_of[pair[0]] == fold], arguments)
            losses = read_results("qlora", place)
            print(json.dumps({key: losses[key] for key in losses if key.startswith("val_loss")}), flush=True)
            with (place / "data/evaluation/evaluation.csv").open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    for name, questions in written.items():
                        questions.append((row[name].strip(), row["context"]))
    for name, questions in written.items():
        print(told({"qlora": "tuned", "reference": "people"}.get(name, name), questions))


if __name__ == "__main__":
    main()
