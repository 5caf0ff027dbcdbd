"""Document sources -> data/shards: exact duplicates out, the rest tokenized into memory-mapped shards of uint16.

Every document's ids are followed by the tokenizer's end of text. A killed run goes on at the next unwritten shard.
Run: python -m stages.shard
"""

import json
import os
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import ledger_key
from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load
from stages.lib.core.records import Record, atomic_path, write_json
from stages.lib.corpus.sources import DocumentSource, Work, hub_commits, parse_source, read_source, work_of
from stages.lib.instructions.examples import KINDS, Example, InstructionSource
from stages.lib.instructions.examples import parse_source as parse_instructions
from stages.lib.instructions.examples import read_source as read_instructions
from stages.lib.reading.documents import Advance, Document, DocumentStream, Drop, duplicate_key
from stages.lib.shards.reading import FORMAT, MANIFEST, MAX_VOCABULARY, SPLITS, ShardSplit, manifest
from stages.lib.shards.shard_state import ShardState, source_identity
from stages.lib.shards.writing import Sorted, SplitWriter, tokenize
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer

OUTPUT_DIR = Path("data/shards")
DROPPED = "dropped.jsonl"


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `shard` of params.yaml."""

    sources: list[dict[str, Any]]  # each a `kind` (as in chunk, or as in finetune) and the fields of its dataclass
    tokenizer: str  # byte, gpt2, hf:ORG/NAME@REVISION or hf:DIRECTORY
    shard_tokens: int  # tokens per shard, of 2 bytes each, >= 1
    val_fraction: float  # of the documents, drawn by the SHA-256 of their text, 0..1
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


@dataclass
class Tally:
    """What a run counts, for the metrics."""

    documents: int = 0  # that came in
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    kept: Counter[ShardSplit] = field(default_factory=Counter)  # by split
    characters: Counter[ShardSplit] = field(default_factory=Counter)  # by split


def split_of(key: bytes, val_fraction: float) -> ShardSplit:
    """The split of a document, by its `duplicate_key`: the same in every corpus and at every place."""
    return "val" if int.from_bytes(key[:8]) < val_fraction * 2**64 else "train"


def sort_documents(items: DocumentStream, val_fraction: float, tally: Tally) -> Iterator[Sorted | Drop]:
    """Every document in its split, or the drop that a text which came before is; counts them."""
    seen: set[bytes] = set()
    for item in items:
        tally.documents += 1
        drop = item
        if isinstance(item, Document):
            key = duplicate_key(item.text)
            if key not in seen:
                seen.add(key)
                split = split_of(key, val_fraction)
                yield Sorted(split, tally.kept[split], item.text)
                tally.kept[split] += 1
                tally.characters[split] += len(item.text)
                continue
            drop = Drop(item.source, "duplicate_document", f"the text came before ({key.hex()[:12]})")
        assert isinstance(drop, Drop)
        tally.dropped[drop.reason] += 1
        yield drop


def summary(tally: Tally, content: Record) -> dict[str, Any]:
    """The metrics: documents in = kept + dropped by reason, and what each split holds."""
    return {
        "documents": check_counts(tally.documents, tally.kept.total(), dict(tally.dropped)),
        **{
            split: {
                "documents": tally.kept[split],
                "characters": tally.characters[split],
                "tokens": content["splits"][split]["tokens"],
                "characters_per_token": tally.characters[split] / content["splits"][split]["tokens"],
                "shards": len(content["splits"][split]["shards"]),
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


def read_all(params: Params) -> DocumentStream:
    """All sources one after another, each under its progress bar; what they ask for is checked before any is read."""

    def advance(amount: int) -> None:
        bar.update(amount)  # of the source being read

    streams: list[tuple[str, Work, DocumentStream]] = []
    for source in params.parsed_sources():
        if isinstance(source, InstructionSource):
            texts = instruction_texts(read_instructions(source), advance)
            streams.append((source.kind, Work(source.limit or None, "example"), texts))
        else:
            stream = read_source(source, params.max_document_chars, advance)
            streams.append((source.kind, work_of(source), stream))
    for kind, work, items in streams:
        with tqdm(total=work.total, unit=work.unit, unit_scale=True, desc=f"shard {kind}") as bar:
            yield from items


def instruction_texts(examples: Iterator[Example | Drop], advance: Advance) -> DocumentStream:
    """Each example as a document: the prompt, an empty line, the answer."""
    for example in examples:
        advance(1)
        yield (
            example if isinstance(example, Drop) else Document(example.source, f"{example.prompt}\n\n{example.answer}")
        )


def make_shards(params: Params, tokenizer: Tokenizer, state: ShardState, tally: Tally) -> int:
    """Writes what is missing of the shards, and what was dropped, into the state's directory.

    Returns how many tokens were made in this run.

    Raises:
        ValueError: a split got no document.
    """
    writers = {split: SplitWriter(state, split, params.shard_tokens) for split in SPLITS}
    made = 0
    with atomic_path(state.directory / DROPPED) as temporary, temporary.open("w", encoding="utf-8") as dropped:

        def wanted() -> Iterator[Sorted]:
            for item in sort_documents(read_all(params), params.val_fraction, tally):
                if isinstance(item, Drop):
                    dropped.write(json.dumps(asdict(item), ensure_ascii=False) + "\n")
                elif writers[item.split].wants(item.number):
                    yield item

        workers = params.workers or os.cpu_count() or 1
        for document, tokens, first in tokenize(tokenizer, wanted(), workers):
            writers[document.split].add(document.number, tokens, first)
            made += len(tokens)
        for split, writer in writers.items():
            if not tally.kept[split]:
                advice = "raise" if split == "val" else "lower"
                raise ValueError(
                    f"none of the {tally.kept.total()} documents fell into the split {split!r}: {advice} val_fraction "
                    f"({params.val_fraction}), or give more documents"
                )
            writer.close(tally.kept[split])
    return made


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
    sources = [source_identity(source) for source in params.parsed_sources()]
    settings = {key: value for key, value in asdict(params).items() if key != "workers"}
    code = code_identity(make_shards, load_tokenizer)
    state = ShardState(cache_dir() / "shard" / ledger_key(FORMAT, settings, tokenizer.identity, sources, code)[:16])
    watch.lap("check sources")
    tally = Tally()
    made = make_shards(params, tokenizer, state, tally)
    content = manifest(tokenizer, params.shard_tokens, state.shards)
    write_json(state.directory / MANIFEST, content)
    watch.lap("tokenize")
    results = summary(tally, content)
    if commits := hub_commits(params.parsed_sources()):
        results["revisions"] = commits
    write_metrics("shard", results, headline)
    publish(state.directory, OUTPUT_DIR)
    shutil.rmtree(state.root)
    watch.write(
        tokens=made,
        tokens_per_second=round(made / watch.parts["tokenize"], 1),
        worker_memory_mb=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, 1),
    )
    split = " and ".join(f"{results[split]['tokens']:,} {split}" for split in SPLITS)
    print(ending("shard", results["documents"], "documents", f"{split} tokens", OUTPUT_DIR))


if __name__ == "__main__":
    main()
