"""chunks, selected questions, embeddings -> models/{base}-{part}: an embedding or a cross-encoder, trained on them.

Run: python -m stages.retriever PART   (one of retriever.parts)

Documents are held out by groups; on their questions alone the benchmark measures what comes out, beside the untuned
systems. A killed training goes on from its last checkpoint in .cache/retriever/.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("retriever", ["examples", "train", "search", "write"])

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, assert_never, get_args

import numpy as np

from stages.lib.adapters.resuming import last_whole_checkpoint, logged, prune_finished, step_of, train_once
from stages.lib.adapters.schedule import Schedule
from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.training_directory import training_directory
from stages.lib.cache.turns import take_turn
from stages.lib.core.hashes import ledger_key
from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, read_param
from stages.lib.core.records import Record, read_jsonl, write_csv, write_jsonl
from stages.lib.core.telling import check_tell, told_text
from stages.lib.embedding.embedders import Embedder, open_embedder
from stages.lib.retriever_training.document_groups import document_groups, held_out_groups
from stages.lib.retriever_training.examples import Example, Mining, by_rule, cut_windows, generated, in_batches, mine
from stages.lib.retriever_training.publishing import card, publish
from stages.lib.retriever_training.runs import reranked, run_records
from stages.lib.retriever_training.trainers import cross_encoder_trainer, device, embedding_trainer, run
from stages.lib.search import embedding_files as stored
from stages.lib.weights.models import ModelEntry, load_model_entry, locate_safetensors, weights_identity

CHUNKS = Path("data/chunks/chunks.jsonl")
SELECTED = Path("data/selected/qa_selected.jsonl")
NEAR_PAIRS = Path("data/near_pairs")
OUT = Path("data/retriever")
MODELS_DIR = Path("models")
LEAST_GROUPS = 2  # of documents with questions, to train on: a batch's other texts are its negatives
READ_TOKENS = 256  # of a question and a chunk together that the cross-encoder reads
INSTRUCTION = "base"  # whose query vectors' candidates the cross-encoder reads
PACKAGES = ("torch", "transformers", "sentence-transformers", "accelerate", "tokenizers")
Part = Literal["embedding", "cross_encoder"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one part is trained."""

    steps: int  # optimizer steps, >= 1
    questions_per_step: int  # of unlike groups of documents, >= 2
    lr: float  # peak
    negatives: int  # hard negatives a question, >= 1
    max_length: int  # tokens of a text (cross_encoder: of a pair) that are learned
    tuned_share: float  # of the tuned weights in the mean with the base's that is published, 0..1; 1: tuned alone

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("questions_per_step", 2), ("negatives", 1), ("max_length", 8)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is below {least}")
        if not 0 <= self.tuned_share <= 1:
            raise ValueError(f"tuned_share: {self.tuned_share} is not in 0..1")


@dataclass(frozen=True, kw_only=True)
class Params:
    """The `retriever:` section."""

    parts: list[Part]  # what is trained; one process each
    base: str  # an embedding model under models: and of embed.models; both parts start from its weights
    test_fraction: float  # of the groups of documents, held out, 0..1
    window_chars: int  # characters of a text that is learned from
    rule_questions: int  # worded by rules from a parse, one a chunk, beside the generated questions
    generated_passes: int  # how often the generated questions stand among the examples; 0: not at all
    false_negative_share: float  # of the right text's score, from which another text is no negative, 0..1
    embedding: Training
    cross_encoder: Training
    warmup_fraction: float  # of the steps
    weight_decay: float
    clip: float  # global gradient norm at most
    checkpoint_every: int  # steps between checkpoints
    depth: int  # candidates that the cross-encoder reads of each held-out question
    dense_weight: float  # the untuned embedding's share in the fused row of the cross-encoder, 0..1
    seed: int

    def __post_init__(self) -> None:
        if not self.parts or any(part not in get_args(Part) for part in self.parts):
            raise ValueError(f"parts: {self.parts} must be of {list(get_args(Part))}, one at least")
        for name in ("test_fraction", "false_negative_share", "dense_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not in 0..1")
        for name, least in (("window_chars", 50), ("rule_questions", 0), ("generated_passes", 0), ("depth", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is below {least}")
        self.schedule("embedding"), self.schedule("cross_encoder")

    def training(self, part: Part) -> Training:
        """How a part is trained."""
        return self.embedding if part == "embedding" else self.cross_encoder

    def schedule(self, part: Part) -> Schedule:
        """How its optimizer steps."""
        return Schedule(
            lr=self.training(part).lr,
            lr_scheduler_type="cosine",
            warmup_fraction=self.warmup_fraction,
            weight_decay=self.weight_decay,
            clip=self.clip,
            checkpoint_every=self.checkpoint_every,
            seed=self.seed,
            tf32=False,
        )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What is searched and learned from; N embedded chunks, Q selected questions, H dimensions of the base."""

    chunks: list[Record]  # (N,) in the order of the vectors' file
    texts: list[str]  # (N,) as they are searched
    vectors: np.ndarray  # (N, H)
    questions: list[Record]  # (Q,)
    queries: np.ndarray  # (Q, H)
    groups: dict[str, str]  # document -> group
    held_out: set[str]  # names of groups

    def is_held_out(self, document: str) -> bool:
        """Whether no training sees the document."""
        return self.groups[document] in self.held_out


def read_corpus(params: Params) -> Corpus:
    """Reads what the stages before wrote.

    Raises:
        ValueError: files that do not go together, or a base that stage embed did not run.
    """
    if not (embedded := stored.EMBEDDINGS / f"{params.base}_chunks.npy").exists():
        raise ValueError(
            f"params.yaml: retriever.base: {embedded} is not there: name {params.base!r} in embed.models too, or set "
            "retriever.base to a model of it"
        )
    tell = check_tell(read_param("embed.tell"), "embed.tell")
    by_id = {
        chunk["id"]: chunk for chunk in read_jsonl(CHUNKS, ["id", "document", "source", "start", "end", "text", *tell])
    }
    questions = read_jsonl(SELECTED, ["id", "chunk", "question", "support"])
    near = [
        (pair["a"], pair["b"]) for file in sorted(NEAR_PAIRS.glob("*.jsonl")) for pair in read_jsonl(file, ["a", "b"])
    ]
    groups = document_groups(list(by_id.values()), near)
    ids = stored.read_corpus_ids([params.base], by_id)
    vectors = stored.read_vectors(params.base, len(ids))
    chunks = [by_id[name] for name in ids]
    return Corpus(
        chunks=chunks,
        texts=[told_text(chunk, tell) for chunk in chunks],
        vectors=vectors,
        questions=questions,
        queries=stored.read_queries(params.base, INSTRUCTION, [one["id"] for one in questions], vectors.shape[1]),
        groups=groups,
        held_out=held_out_groups(groups, params.test_fraction, params.seed),
    )


def make_examples(params: Params, part: Part, corpus: Corpus, base: Embedder) -> tuple[list[Example], dict[str, int]]:
    """The examples of all steps, batch behind batch, and counts of what they are made from.

    A batch has fewer places where there are fewer groups of documents; there are no examples where there is one group.
    """
    rows = [row for row, chunk in enumerate(corpus.chunks) if not corpus.is_held_out(chunk["document"])]
    chunks = [corpus.chunks[row] for row in rows]
    windows = cut_windows(chunks, params.window_chars)
    written = list(generated(corpus.questions, chunks, windows))
    own = {one.question for one in written}
    worded = [one for one in by_rule(chunks, windows, params.rule_questions, params.seed) if one.question not in own]
    training = params.training(part)
    mining = Mining(
        chunks=chunks,
        groups=corpus.groups,
        vectors=np.asarray(corpus.vectors)[rows],
        embed=lambda questions: base.encode_queries(questions, progress="embed questions"),
        negatives=training.negatives,
        false_negative_share=params.false_negative_share,
    )
    asked = [*written, *worded]
    mined = mine(asked, windows, mining) if asked else []
    examples = [one for one in mined for _ in range(params.generated_passes if one.question in own else 1)]
    counts = {
        "windows": len(windows),
        "generated": sum(one.question in own for one in mined),
        "by_rule": sum(one.question not in own for one in mined),
        "without_negatives": len(asked) - len(mined),
    }
    places = min(training.questions_per_step, len({one.group for one in examples}))
    if places < LEAST_GROUPS:
        return [], counts
    return in_batches(examples, places, training.steps, params.seed), counts


def training_place(params: Params, part: Part, base: ModelEntry, examples: Sequence[Example]) -> Path:
    """Where the checkpoints lie: a hash of what decides the weights. The params of the data count by the examples."""
    training = asdict(params.training(part))
    del training["tuned_share"]  # of what is published
    schedule = asdict(params.schedule(part))
    del schedule["checkpoint_every"]
    inputs = [weights_identity(base), examples_hash(examples)]
    return training_directory(
        "retriever", {"part": part, **training, **schedule}, inputs, code_identity(train, without=[Params]), PACKAGES
    )


def train(params: Params, part: Part, base: Path, examples: Sequence[Example], directory: Path) -> None:
    """Trains a part to the end, from its last whole checkpoint on."""
    training = params.training(part)
    match part:
        case "embedding":
            make = embedding_trainer
        case "cross_encoder":
            make = cross_encoder_trainer
        case _:
            assert_never(part)
    trainer = make(
        base,
        examples,
        size=len(examples) // training.steps,
        max_length=training.max_length,
        schedule=params.schedule(part),
        directory=directory,
    )
    run(trainer, directory)


def train_or_go_on(params: Params, part: Part, base: ModelEntry, examples: Sequence[Example]) -> tuple[Path, int]:
    """The last checkpoint of a training that is whole, and the step at which this process took it up."""
    import torch

    from stages.lib.launching.world import World

    directory = training_place(params, part, base, examples)
    take_turn(directory)
    resumed_from = step_of(last_whole_checkpoint(directory))
    checkpoint = train_once(
        directory,
        params.training(part).steps,
        lambda: train(params, part, locate_safetensors(base), examples, directory),
        World(0, 1, torch.device("cpu")),
    )
    return checkpoint, resumed_from


def search(params: Params, part: Part, entry: ModelEntry, corpus: Corpus, depth: int) -> list[Record]:
    """The runs of a trained part on the held-out questions, `depth` chunks deep; `entry`: of its directory."""
    by_id = {chunk["id"]: chunk["document"] for chunk in corpus.chunks}
    rows = [row for row, one in enumerate(corpus.questions) if corpus.is_held_out(by_id[one["chunk"]])]
    if not rows:
        return []
    names = [corpus.questions[row]["id"] for row in rows]
    asked = [corpus.questions[row]["question"] for row in rows]
    ids = [chunk["id"] for chunk in corpus.chunks]
    order = sorted(range(len(ids)), key=lambda place: ids[place], reverse=True)  # between equals, as trec_eval does
    ordered = [ids[place] for place in order]
    title = f"{params.base}-{part}"

    def ranked(queries: np.ndarray, documents: np.ndarray) -> list[np.ndarray]:
        scores = queries @ np.asarray(documents)[order].T  # (questions, N)
        return list(np.argsort(-scores, axis=1, kind="stable")[:, :depth])

    match part:
        case "embedding":
            with open_embedder(title, entry) as embedder:
                documents = embedder.encode_documents(corpus.texts, progress="embed chunks")
                queries = embedder.encode_queries(asked, progress="embed questions")
            return run_records(title, "dense", names, [one.tolist() for one in ranked(queries, documents)], ordered)
        case "cross_encoder":
            from stages.lib.retriever_training import joint_reading

            queries = corpus.queries[rows]
            first = ranked(queries, corpus.vectors)
            pairs = [
                (question, corpus.texts[order[column]])
                for question, found in zip(asked, first, strict=True)
                for column in found[: params.depth]
            ]
            model = joint_reading.load(Path(entry.source.partition(":")[2]), READ_TOKENS, device())
            scores = model.predict(pairs, show_progress_bar=False).reshape(len(rows), -1)  # (questions, depth)
            records = []
            for name, weight in ((title, 0.0), (f"{title}_fused", params.dense_weight)):
                new = [
                    reranked(found, own, corpus.vectors[[order[c] for c in found[: params.depth]]] @ query, weight)
                    for found, own, query in zip(first, scores, queries, strict=True)
                ]
                records += run_records(name, "reranked", names, new, ordered)
            return records
        case _:
            assert_never(part)


def tuned_entry(base: ModelEntry, part: Part, directory: Path) -> ModelEntry:
    """The entry of a published part: run as its base is, from its own directory."""
    return replace(base, source=f"path:{directory}", revision="", sha256={})


def main() -> None:
    """Reads chunks, questions and vectors, writes a model, its runs on the held-out questions, curve and metrics."""
    params = load(Params, "retriever")
    if len(sys.argv) != 2 or sys.argv[1] not in params.parts:
        raise ValueError(f"usage: python -m stages.retriever PART, one of {params.parts}; found {sys.argv[1:]}")
    part: Part = sys.argv[1]
    watch = Stopwatch(f"retriever_{part}")
    base = load_model_entry(params.base)
    depth = read_param("benchmark.depth")
    corpus = read_corpus(params)
    with open_embedder(params.base, base) as embedder:
        examples, counts = make_examples(params, part, corpus, embedder)
    watch.lap("examples")

    training, place = params.training(part), locate_safetensors(base)
    checkpoint, curve, resumed_from = place, list[Record](), 0
    if examples:
        checkpoint, resumed_from = train_or_go_on(params, part, base, examples)
        curve = [{"step": row["step"], "train_loss": row["loss"]} for row in logged(checkpoint)]
    else:
        print(f"retriever {part}: fewer than {LEAST_GROUPS} groups of documents to learn from; the base stays")
    target = MODELS_DIR / f"{params.base}-{part}"
    facts = {"base": params.base, "base_identity": weights_identity(base), "examples": examples_hash(examples)}
    method = {
        "embedding": "An embedding model, by MultipleNegativesRankingLoss with mined hard negatives.",
        "cross_encoder": "A cross-encoder by joint reading, trained by ListNet over a right text and hard negatives.",
    }[part]
    publish(
        target,
        checkpoint,
        place,
        tuned_share=training.tuned_share if examples else 1.0,
        facts=facts,
        card=card(target.name, params.base, method, {**counts, **asdict(training)}),
    )
    if examples:
        prune_finished(training_place(params, part, base, examples))
    watch.lap("train")

    runs = search(params, part, tuned_entry(base, part, target), corpus, depth) if examples else []
    watch.lap("search")
    write_jsonl(OUT / f"{part}_runs.jsonl", runs)
    write_csv(OUT / f"{part}_curve.csv", curve)
    held_out = len({record["query"] for record in runs})
    groups = set(corpus.groups.values())
    write_metrics(
        f"retriever_{part}",
        {
            **counts,
            "groups": check_counts(len(groups), len(groups) - len(corpus.held_out), {"held_out": len(corpus.held_out)}),
            "held_out_questions": held_out,
            "first_train_loss": curve[0]["train_loss"] if curve else None,
            "final_train_loss": curve[-1]["train_loss"] if curve else None,
        },
    )
    watch.write(resumed_from_step=resumed_from)
    asked = check_counts(len(corpus.questions), held_out, {"of_training_documents": len(corpus.questions) - held_out})
    print(ending(f"retriever {part}", asked, "questions", f"runs of {target},", OUT))


def examples_hash(examples: Sequence[Example]) -> str:
    """What is learned, in its order."""
    return ledger_key([asdict(one) for one in examples])


if __name__ == "__main__":
    main()
