"""Train, validation and test by source document: which sources belong together, and on which side each stands.

Sources that share a near-identical text (word 5-gram Jaccard similarity) or the same longer answer form one group,
and a group is never divided. Its side follows from a hash of its members' names and the seed alone: no order of
records changes it, and adding a document moves no other group that it is not joined to.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from stages.lib.english.words import normalised
from stages.lib.statistics.drawing import fraction_of

ChatSplit = Literal["train", "val", "test"]
SPLITS: tuple[ChatSplit, ...] = ("train", "val", "test")
SHINGLE_WORDS = 5
MIN_ANSWER_WORDS = 5  # shorter answers ("True", "8") are shared by chance


def group_sources(texts: Sequence[tuple[str, str, str]], similarity: float) -> dict[str, str]:
    """Source -> its group's name, the first of its members' names.

    Args:
        texts: (source, context, answer); an empty context or answer joins nothing.
        similarity: Jaccard similarity of the word 5-grams, 0..1, from which two contexts count as the same.
    """
    parents = {source: source for source, _, _ in texts}

    def root(source: str) -> str:
        while parents[source] != source:
            parents[source] = parents[parents[source]]
            source = parents[source]
        return source

    def join(first: str, second: str) -> None:
        low, high = sorted((root(first), root(second)))
        parents[high] = low

    answers: dict[str, str] = {}
    for source, _, answer in texts:
        words = normalised(answer)
        if len(words.split()) >= MIN_ANSWER_WORDS:
            join(source, answers.setdefault(words, source))
    for first, second in similar_pairs([context for _, context, _ in texts], similarity):
        join(texts[first][0], texts[second][0])
    return {source: root(source) for source in parents}


def similar_pairs(texts: Sequence[str], similarity: float) -> list[tuple[int, int]]:
    """Pairs i < j of texts whose word 5-grams have at least that Jaccard similarity, exactly.

    Candidates come from a prefix filter (Chaudhuri, Ganti and Kaushik 2006): with each set's 5-grams sorted from
    rare to common, two sets at or above the threshold share one among the first n - ceil(t n) + 1 of each.
    """
    sets = [shingles(text) for text in texts]
    frequency: dict[str, int] = defaultdict(int)
    for grams in sets:
        for gram in grams:
            frequency[gram] += 1
    index: dict[str, list[int]] = defaultdict(list)
    pairs = []
    for j, grams in enumerate(sets):
        ordered = sorted(grams, key=lambda gram: (frequency[gram], gram))
        # A margin against rounding in the product: one 5-gram more only costs time.
        prefix = ordered[: min(len(ordered), int((1 - similarity) * len(ordered)) + 2)]
        for i in sorted({i for gram in prefix for i in index[gram]}):
            if len(grams & sets[i]) >= similarity * len(grams | sets[i]):
                pairs.append((i, j))
        for gram in prefix:
            index[gram].append(j)
    return pairs


def shingles(text: str) -> set[str]:
    """The word 5-grams of a text in lower case without punctuation; the whole of a shorter text; none of nothing."""
    words = normalised(text).split()
    if not words:
        return set()
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def side(group: str, val_fraction: float, test_fraction: float, seed: int) -> ChatSplit:
    """The side of a group: a hash of seed and name against the fractions."""
    place = fraction_of(f"split {seed}", group)
    if place < test_fraction:
        return "test"
    return "val" if place < test_fraction + val_fraction else "train"
