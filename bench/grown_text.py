"""Documents for inputs of any size: real text first, then its sentences in new orders.

The order is fixed: the packages that the default graph chunks, those that it shards, all other installed packages by
name (docstrings and READMEs, as `kind: packages` reads them), the OpenStax chapters of LLMILL_REAL_DATA where that is
set; then documents of sentences drawn at random from all of these, as long as real ones are. So a small input is the
beginning of a large one, and the smallest is the default's own. A vocabulary stops growing where real text ends.
"""

import glob
import importlib.metadata
import json
import os
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.lib.reading.documents import Document, duplicate_key
from stages.lib.reading.packages import PackagesSource, read_packages
from tests.params_of import section

OPENSTAX = "pretrain/openstax_*.jsonl"  # of LLMILL_REAL_DATA
ENOUGH = 10**9  # characters of a document
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
LEAST_SENTENCE, MOST_SENTENCE = 30, 500  # characters
PARAGRAPH = 5  # sentences

Text = tuple[str, str]  # source, text


def default_packages(stage: str) -> list[str]:
    """The packages whose documentation the default's stage reads."""
    return [name for source in section(stage)["sources"] for name in source["names"]]


def default_size(stage: str) -> int:
    """Characters of the documents that the default's stage is given, exact duplicates included."""
    return sum(len(text) for _, text in package_documents(default_packages(stage)))


def package_documents(names: Iterable[str]) -> Iterator[Text]:
    """Docstrings and READMEs of packages; one without Python files has none."""
    for name in names:
        try:
            items = read_packages(PackagesSource(kind="packages", names=[name]), ENOUGH, lambda _: None)
        except ValueError:
            continue
        yield from ((item.source, item.text) for item in items if isinstance(item, Document))


def real_documents() -> Iterator[Text]:
    """All real text that is there; behind the default's own no document comes whose text was there before."""
    first = list(dict.fromkeys([*default_packages("chunk"), *default_packages("shard")]))
    others = sorted({distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()})
    seen: set[bytes] = set()
    for name in [*first, *(name for name in others if name not in first)]:
        for source, text in package_documents([name]):
            key = duplicate_key(text)
            if key not in seen or name in first:
                yield source, text
            seen.add(key)
    for file in sorted(glob.glob(f"{os.environ.get('LLMILL_REAL_DATA', '')}/{OPENSTAX}")):  # noqa: PTH207
        with Path(file).open(encoding="utf-8") as lines:
            yield from ((f"{Path(file).name}:{i}", json.loads(line)["text"]) for i, line in enumerate(lines))


def recombined(texts: list[str]) -> Iterator[Text]:
    """Documents without end, of sentences of the texts, as long as a text drawn at random."""
    rng = random.Random(0)
    parts = (part.strip() for text in texts for part in SENTENCE.split(text))
    pool = [part for part in parts if LEAST_SENTENCE <= len(part) <= MOST_SENTENCE]
    lengths = [len(text) for text in texts]
    number = 0
    while True:
        wanted, size = rng.choice(lengths), 0
        sentences: list[str] = []
        while size < wanted:
            sentences.append(rng.choice(pool))
            size += len(sentences[-1]) + 1
        paragraphs = (" ".join(sentences[i : i + PARAGRAPH]) for i in range(0, len(sentences), PARAGRAPH))
        yield f"recombined:{number}", "\n\n".join(paragraphs)
        number += 1


def write_real(place: Path) -> None:
    """Writes all real text into a JSONL file: reading it from the packages takes a minute."""
    with place.open("w", encoding="utf-8") as out:
        for source, text in real_documents():
            out.write(json.dumps({"source": source, "text": text}, ensure_ascii=False) + "\n")


def write_grown(real: Path, place: Path, characters: float) -> float:
    """Writes documents of so many characters together; returns the share of them that is real text.

    Args:
        real: what `write_real` wrote.
        place: a JSONL file.
        characters: in all; the last document is written whole.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    written = of_real = 0
    texts: list[str] = []
    with real.open(encoding="utf-8") as lines, place.open("w", encoding="utf-8") as out:
        for line in lines:
            if written >= characters:
                break
            out.write(line)
            texts.append(json.loads(line)["text"])
            written += len(texts[-1])
        of_real = written
        if written < characters:
            for source, text in recombined(texts):
                out.write(json.dumps({"source": source, "text": text}, ensure_ascii=False) + "\n")
                written += len(text)
                if written >= characters:
                    break
    return of_real / written
