"""Document sources -> data/shards: exact duplicates out, the rest tokenized into memory-mapped shards of uint16.

Every document's ids are followed by the tokenizer's end of text. A killed run goes on at the next unwritten shard.
Run: python -m stages.shard
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("shard", ["check sources", "tokenize", "write"])

import json
import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.place import cache_dir
from stages.lib.cache.turns import take_turn
from stages.lib.core.hashes import ledger_key
from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load
from stages.lib.core.records import Record, atomic_path, write_json
from stages.lib.corpus.sources import DocumentSource, Work, hub_commits, parse_source, read_source, work_of
from stages.lib.instructions.examples import KINDS, Example, InstructionSource
from stages.lib.instructions.examples import parse_source as parse_instructions
from stages.lib.instructions.examples import read_source as read_instructions
from stages.lib.reading.documents import Document, DocumentOrDrop, Drop
from stages.lib.reading.drop_advice import keys_told
from stages.lib.shards.reading import FORMAT, MANIFEST, MAX_VOCABULARY, SPLITS, manifest
from stages.lib.shards.shard_state import ShardState, source_identity
from stages.lib.shards.sorting import Item, Tally, check_splits, sort_documents
from stages.lib.shards.source_names import SourceNames, source_names
from stages.lib.shards.splitting import SplitBy, why_not_by_documents
from stages.lib.shards.writing import Sorted, SplitWriter, tokenize
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer

OUTPUT_DIR = Path("data/shards")
DROPPED = "dropped.jsonl"
Split = Literal["auto", "documents", "tokens"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `shard` of params.yaml."""

    sources: list[dict[str, Any]]  # each a `kind` (as in chunk, or as in finetune) and the fields of its dataclass
    tokenizer: str  # byte, gpt2, hf:ORG/NAME@REVISION or hf:DIRECTORY
    shard_tokens: int  # tokens per shard, of 2 bytes each, >= 1
    split: Split  # documents: whole ones, by the SHA-256 of their text; tokens: the tail of each; auto: see splitting
    val_fraction: float  # for validation, of the documents or of the text, 0..1
    max_document_chars: int  # longer documents are dropped (`too_long`)
    workers: int  # processes that tokenize; 0: one a core

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: no source is named")
        if self.shard_tokens < 1:
            raise ValueError(f"shard_tokens: {self.shard_tokens} is below 1")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction: {self.val_fraction} is not between 0 and 1")
        if self.max_document_chars < 1:
            raise ValueError(f"max_document_chars: {self.max_document_chars} is below 1")
        if self.workers < 0:
            raise ValueError(f"workers: {self.workers} is negative")
        self.parsed_sources()

    def parsed_sources(self) -> list[DocumentSource | InstructionSource]:
        """The typed sources. Raises `ValueError` naming the key."""
        return [
            parse_instructions(content, f"sources[{i}]")
            if isinstance(content, dict) and content.get("kind") in KINDS
            else parse_source(content, f"sources[{i}]")
            for i, content in enumerate(self.sources)
        ]


def summary(tally: Tally, content: Record) -> dict[str, Any]:
    """The metrics: documents in = kept + dropped by reason, how they are split, and what each split holds."""
    tokens = {split: content["splits"][split]["tokens"] for split in SPLITS}
    return {
        "documents": check_counts(tally.documents, tally.kept, dict(tally.dropped)),
        "split": {
            "by": tally.by,
            "documents_in_both": tally.cut,
            "val_share": tokens["val"] / sum(tokens.values()),
        },
        **{
            split: {
                "documents": tally.parts[split],
                "characters": tally.characters[split],
                "tokens": tokens[split],
                "characters_per_token": tally.characters[split] / tokens[split],
                "shards": len(content["splits"][split]["shards"]),
                "documents_by_source": {
                    name: tally.by_source[number, split] for number, name in enumerate(content["sources"])
                },
            }
            for split in SPLITS
        },
        "tokenizer": content["tokenizer"]["name"],
        "vocab_size": content["tokenizer"]["vocab_size"],
        "fingerprint": content["fingerprint"],
    }


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: tokens to train on."""
    return {"shard": {"tokens": results["train"]["tokens"]}}


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Raises `ValueError` when ids of the tokenizer do not fit into uint16."""
    if tokenizer.vocab_size > MAX_VOCABULARY:
        raise ValueError(
            f"tokenizer {tokenizer.name!r} has {tokenizer.vocab_size} ids; shards are uint16 and hold ids below "
            f"{MAX_VOCABULARY}: choose a smaller vocabulary"
        )


def read_all(params: Params, names: SourceNames) -> Iterator[Item]:
    """All sources one after another, each under its progress bar; what they ask for is checked before any is read."""

    def advance(amount: int) -> None:
        bar.update(amount)  # of the source being read

    streams: list[tuple[str, Work, Iterator[Item]]] = []
    for entry, source in enumerate(params.parsed_sources()):
        if isinstance(source, InstructionSource):
            examples = instruction_texts(read_instructions(source), entry, names)
            streams.append((source.kind, Work(source.limit or None, "example"), examples))
        else:
            stream = read_source(source, params.max_document_chars, advance)
            streams.append((source.kind, work_of(source), named(stream, entry, names)))
    for kind, work, items in streams:
        with progress.bar(f"shard {kind}", work.total, work.unit, unit_scale=True) as bar:
            for item in items:
                yield item
                if work.unit == "example":
                    advance(1)


def named(stream: Iterator[DocumentOrDrop], entry: int, names: SourceNames) -> Iterator[Item]:
    """Each document with the number of its source; the source of a drop is not asked for."""
    for item in stream:
        yield Item(item, names.number(entry, item.origin) if isinstance(item, Document) else 0, whole=False)


def instruction_texts(examples: Iterator[Example | Drop], entry: int, names: SourceNames) -> Iterator[Item]:
    """Each example as a document that stays whole: the prompt, an empty line, the answer."""
    for example in examples:
        if isinstance(example, Drop):
            yield Item(example, 0, whole=True)
        else:
            number = names.number(entry, names.origin_of(entry, example.source))
            yield Item(Document(example.source, f"{example.prompt}\n\n{example.answer}"), number, whole=True)


def make_shards(params: Params, tokenizer: Tokenizer, names: SourceNames, state: ShardState, tally: Tally) -> int:
    """Writes what is missing of the shards, and what was dropped, into the state's directory.

    Returns how many tokens were made in this run.
    """
    writers = {split: SplitWriter(state, split, params.shard_tokens) for split in SPLITS}
    made = 0
    with atomic_path(state.directory / DROPPED) as temporary, temporary.open("w", encoding="utf-8") as dropped:

        def wanted() -> Iterator[Sorted]:
            for item in sort_documents(read_all(params, names), params.val_fraction, tally):
                if isinstance(item, Drop):
                    dropped.write(json.dumps(asdict(item), ensure_ascii=False) + "\n")
                elif writers[item.split].wants(item.number):
                    yield item

        workers = params.workers or os.cpu_count() or 1
        for document, tokens, first in tokenize(tokenizer, wanted(), workers):
            writers[document.split].add(document.number, document.source, tokens, first)
            made += len(tokens)
        for split, writer in writers.items():
            writer.close(tally.parts[split])
    return made


def split_and_make(
    params: Params, tokenizer: Tokenizer, names: SourceNames, states: dict[SplitBy, ShardState]
) -> tuple[Tally, int]:
    """Makes the shards by the split that is asked for; `auto` tries documents first, and says why it does not take it.

    Returns what was counted, and how many tokens were made for these shards in this run.

    Raises:
        ValueError: no document is left, or none in one of the splits.
    """
    for by, state in states.items():
        tally = Tally(by)
        made = make_shards(params, tokenizer, names, state, tally)
        if params.split == "auto" and by == "documents" and tally.kept:
            tokens = {split: sum(shard["tokens"] for shard in state.shards[split]) for split in SPLITS}
            if reason := why_not_by_documents(tally.parts, tokens, params.val_fraction):
                print(f"shard: {reason}: split by tokens, the tail of every document is for validation", flush=True)
                continue
        break
    check_splits(tally, params.val_fraction)
    return tally, made


def publish(directory: Path, place: Path) -> None:
    """Puts a finished directory into its place as a whole; what was there goes first."""
    place.parent.mkdir(parents=True, exist_ok=True)
    near = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    shutil.move(directory, near)  # a rename, or a copy where .cache is on another file system
    if place.exists():
        shutil.rmtree(place)
    near.rename(place)


def main() -> None:
    """Reads params.yaml, writes data/shards/ and metrics/shard.json."""
    params = load(Params, "shard")
    watch = Stopwatch("shard")
    tokenizer = load_tokenizer(params.tokenizer)
    check_tokenizer(tokenizer)
    sources = params.parsed_sources()
    names = source_names(sources)
    settings = {key: value for key, value in asdict(params).items() if key not in ("workers", "split")}
    code = code_identity(make_shards, load_tokenizer)
    key = ledger_key(FORMAT, settings, tokenizer.identity, [source_identity(source) for source in sources], code)[:16]
    ways: list[SplitBy] = ["documents", "tokens"] if params.split == "auto" else [params.split]
    take_turn(cache_dir() / "shard" / key)
    states = {by: ShardState(cache_dir() / "shard" / f"{key}_{by}") for by in ways}
    watch.lap("check sources")
    tally, made = split_and_make(params, tokenizer, names, states)
    state = states[tally.by]
    content = manifest(tokenizer, params.shard_tokens, state.shards, names.names)
    write_json(state.directory / MANIFEST, content)
    watch.lap("tokenize")
    results = summary(tally, content)
    if commits := hub_commits(sources):
        results["revisions"] = commits
    write_metrics("shard", results, headline)
    publish(state.directory, OUTPUT_DIR)
    for state in states.values():
        if state.root.exists():
            shutil.rmtree(state.root)
    watch.write(
        tokens=made,
        tokens_per_second=round(made / watch.parts["tokenize"], 1),
        worker_memory_mb=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, 1),
    )
    tokens = " and ".join(f"{results[split]['tokens']:,} {split}" for split in SPLITS)
    made_of = f"split by {tally.by}: {tokens} tokens ({results['split']['val_share']:.1%} for validation)"
    print(ending("shard", results["documents"], "documents", made_of, OUTPUT_DIR, why=keys_told(tally.lacking)))


if __name__ == "__main__":
    main()
