"""What a retriever learns from: a question, the text that answers it, and texts that nearly do.

Chunks are learned in windows of a few sentences: a training step costs by the token, and a window says as well as a
chunk what belongs together. Hard negatives come in turn from BM25 over the windows and from the untuned embedding over
the chunks. A text of the question's own group of documents is none, nor one that scores nearly as high as the right
one (NV-Retriever, arXiv:2407.15831: a share of the positive's score): both may be right answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from stages.lib.core.records import Record
from stages.lib.languages.english_or_not import guess
from stages.lib.passages.sentences import sentences
from stages.lib.qa.candidates import candidates
from stages.lib.search.bm25 import BM25
from stages.lib.statistics.drawing import drawn, fraction_of

LOOKED_AT = 30  # best windows, and chunks, of those that are no right answers: among them negatives are sought
PARSED_TOGETHER = 100  # chunks
CANDIDATES = 3  # of a chunk, of which the first that is a whole question is asked
FEWEST_CHARS = 40  # shorter windows teach nothing
LONGEST = 1.5  # a window of one long sentence is cut at so many window_chars


@dataclass(frozen=True, kw_only=True)
class Window:
    """A few sentences of a chunk."""

    chunk: int  # place of its chunk
    start: int  # in the chunk's text
    text: str


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question with the window that answers it."""

    question: str
    window: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row of a training."""

    question: str
    positive: str
    negatives: tuple[str, ...]
    group: str  # of the positive's documents


def cut_windows(chunks: Sequence[Record], window_chars: int) -> list[Window]:
    """The windows of all chunks: whole sentences, as many as `window_chars` hold, at least one."""
    found = []
    for place, chunk in enumerate(chunks):
        text = chunk["text"]
        start = end = 0
        for span in (*sentences(text), None):
            if span and (end == start or span.end - start <= window_chars):
                start, end = (span.start if end == start else start), span.end
                continue
            piece = text[start : min(end, start + int(LONGEST * window_chars))]
            if len(piece) >= FEWEST_CHARS:
                found.append(Window(chunk=place, start=start, text=piece))
            if span:
                start, end = span.start, span.end
    return found


def of_chunks(chunks: Sequence[Record], windows: Sequence[Window]) -> dict[str, list[int]]:
    """Id of a chunk -> numbers of its windows, in the order of the text."""
    found: dict[str, list[int]] = {}
    for number, window in enumerate(windows):
        found.setdefault(chunks[window.chunk]["id"], []).append(number)
    return found


def generated(questions: Sequence[Record], chunks: Sequence[Record], windows: Sequence[Window]) -> Iterator[Asked]:
    """The generated questions about these chunks, each with the window where its supporting span begins.

    A question whose support is not known goes with its chunk's first window; one whose chunk has no window is left out.
    """
    numbers = of_chunks(chunks, windows)
    for question in questions:
        if own := numbers.get(question["chunk"]):
            begins = question["support"]["start"] if question["support"] else 0
            yield Asked(question=question["question"], window=_at(begins, own, windows))


def by_rule(chunks: Sequence[Record], windows: Sequence[Window], count: int, seed: int) -> list[Asked]:
    """At most `count` questions that rules word from the parse of a sentence (qa/candidates.py), one a chunk.

    The chunks are drawn by hash, and no more of them are parsed than are needed. The rules are English: of a chunk in
    another language nothing is asked.
    """
    numbers, by_id = of_chunks(chunks, windows), {chunk["id"]: chunk for chunk in chunks}
    names = [name for name in drawn(f"questions by rule {seed}", by_id) if name in numbers]
    found: list[Asked] = []
    for start in range(0, len(names), PARSED_TOGETHER):
        if len(found) >= count:
            break
        some = [by_id[name] for name in names[start : start + PARSED_TOGETHER]]
        some = [chunk for chunk in some if guess(chunk["text"]) != "other"]
        for chunk, planned in zip(some, candidates(some, CANDIDATES), strict=True):
            whole = [one for one in planned if one.question]
            if whole:
                window = _at(whole[0].fact.start, numbers[chunk["id"]], windows)
                found.append(Asked(question=whole[0].question, window=window))
    return found[:count]


def _at(place: int, numbers: Sequence[int], windows: Sequence[Window]) -> int:
    """The last of a chunk's windows that begins no later than `place`; its first, if none does."""
    before = [number for number in numbers if windows[number].start <= place]
    return before[-1] if before else numbers[0]


@dataclass(frozen=True, kw_only=True)
class Mining:
    """What hard negatives are sought with; C chunks of training documents, H the embedding's size."""

    chunks: Sequence[Record]  # (C,)
    groups: Mapping[str, str]  # document -> group
    vectors: np.ndarray  # (C, H) of the untuned embedding
    embed: Callable[[Sequence[str]], np.ndarray]  # questions -> (q, H)
    negatives: int  # hard negatives a question
    false_negative_share: float  # of the positive's score, from which a text counts as a right answer too


def mine(asked: Sequence[Asked], windows: Sequence[Window], mining: Mining) -> list[Example]:
    """An example for each question that has enough negatives; the others are left out."""
    texts = [window.text for window in windows]
    group = [mining.groups[mining.chunks[window.chunk]["document"]] for window in windows]
    chunk_windows: dict[int, list[int]] = {}
    for number, window in enumerate(windows):
        chunk_windows.setdefault(window.chunk, []).append(number)
    questions = [one.question for one in asked]
    sparse = BM25(texts).each_scores(questions)
    dense = mining.embed(questions) @ mining.vectors.T  # (q, C)
    found = []
    for one, by_words, by_meaning in zip(asked, sparse, dense, strict=True):
        own_chunk = windows[one.window].chunk
        few = by_words < mining.false_negative_share * by_words[one.window]  # (windows,)
        far = by_meaning < mining.false_negative_share * by_meaning[own_chunk]  # (C,)
        near = [c for c in _best(by_meaning, far) if c in chunk_windows]
        second = [max(chunk_windows[c], key=lambda n: by_words[n]) for c in near]
        in_turn = [n for pair in zip_longest(_best(by_words, few), second) for n in pair if n is not None]
        negatives = _different(in_turn, texts, group, one.window)[: mining.negatives]
        if len(negatives) == mining.negatives:
            found.append(
                Example(
                    question=one.question,
                    positive=texts[one.window],
                    negatives=tuple(negatives),
                    group=group[one.window],
                )
            )
    return found


def _best(scores: np.ndarray, allowed: np.ndarray) -> list[int]:
    """The places of the highest scores among those `allowed`, at most LOOKED_AT, best first."""
    places = np.flatnonzero(allowed)
    return [int(place) for place in places[np.argsort(-scores[places], kind="stable")[:LOOKED_AT]]]


def _different(numbers: Sequence[int], texts: Sequence[str], group: Sequence[str], own: int) -> list[str]:
    """The texts of other groups than the question's own, each once."""
    return list(dict.fromkeys(texts[n] for n in numbers if group[n] != group[own] and texts[n] != texts[own]))


def in_batches(examples: Sequence[Example], size: int, count: int, seed: int) -> list[Example]:
    """`count` batches of `size`, one behind the other; none has two examples of one group, whose texts may be alike.

    Where the examples are too few they come again, in another order.

    Raises:
        ValueError: fewer groups than a batch has places.
    """
    if len({example.group for example in examples}) < size:
        raise ValueError(f"{len(examples)} examples of fewer groups of documents than the {size} places of a batch")
    plan: list[Example] = []
    waiting: list[Example] = []
    passes = 0
    while len(plan) < size * count:
        waiting += _shuffled(examples, f"{seed} {passes}")
        passes += 1
        while len(plan) < size * count:
            batch: dict[str, int] = {}  # group -> place of its first example among the waiting
            for place, example in enumerate(waiting):
                if len(batch) < size:
                    batch.setdefault(example.group, place)
            if len(batch) < size:
                break
            plan += [waiting[place] for place in batch.values()]
            taken = set(batch.values())
            waiting = [example for place, example in enumerate(waiting) if place not in taken]
    return plan


def _shuffled(examples: Sequence[Example], seed: str) -> list[Example]:
    numbers = sorted(range(len(examples)), key=lambda n: fraction_of(f"examples {seed}", f"{n}"))
    return [examples[n] for n in numbers]
