"""Train, validation and test by source document: which sources belong together, and on which side each stands.

Sources that share a near-identical text (word 5-gram Jaccard similarity) or the same longer answer form one group,
and a group is never divided. Its side follows from a hash of its members' names and the seed alone: no order of
records changes it, and adding a document moves no other group that it is not joined to.
"""

from collections.abc import Sequence
from typing import Literal

from stages.lib.english.similar_texts import similar_pairs
from stages.lib.english.words import normalised
from stages.lib.statistics.drawing import fraction_of

ChatSplit = Literal["train", "val", "test"]
SPLITS: tuple[ChatSplit, ...] = ("train", "val", "test")
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


def side(group: str, val_fraction: float, test_fraction: float, seed: int) -> ChatSplit:
    """The side of a group: a hash of seed and name against the fractions."""
    place = fraction_of(f"split {seed}", group)
    if place < test_fraction:
        return "test"
    return "val" if place < test_fraction + val_fraction else "train"
