"""Pairs of texts that share most of their word 5-grams, exactly, in about 3 kB a text of 1,000 characters.

Candidates come from a prefix filter (Chaudhuri, Ganti and Kaushik 2006): with each set's 5-grams sorted from rare to
common, two sets at or above the threshold share one among the first n - ceil(t n) + 1 of each. 5-grams are compared by
64-bit hashes, of which a million texts have 1.2 GB; as sets of strings they had 20 GB and more. The pairs that come of
it are compared in full.

Shapes: T texts, G 5-grams of all texts, P of them in the prefixes.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stages.lib.english.words import normalised

SHINGLE_WORDS = 5
Hashes = npt.NDArray[np.uint64]


def similar_pairs(texts: Sequence[str], similarity: float) -> list[tuple[int, int]]:
    """Pairs i < j of texts whose word 5-grams have at least that Jaccard similarity, exactly; by j, then i."""
    grams = [_hashes(text) for text in texts]
    prefixes = _prefixes(grams, similarity)
    pairs = []
    for j, candidates in enumerate(_sharing(prefixes)):
        for i in candidates:
            shared = len(np.intersect1d(grams[i], grams[j], assume_unique=True))
            # Two 5-grams of one hash could change the count; a pair near the threshold is counted in full below.
            if shared + 1 < similarity * (len(grams[i]) + len(grams[j]) - shared - 1):
                continue
            one, other = shingles(texts[i]), shingles(texts[j])
            if len(one & other) >= similarity * len(one | other):
                pairs.append((i, j))
    return pairs


def shingles(text: str) -> set[str]:
    """The word 5-grams of a text in lower case without punctuation; the whole of a shorter text; none of nothing."""
    words = normalised(text).split()
    if not words:
        return set()
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def _hashes(text: str) -> Hashes:
    """(n,) of a text's n 5-grams, in order."""
    digests = b"".join(
        hashlib.blake2b(gram.encode(errors="surrogatepass"), digest_size=8).digest() for gram in shingles(text)
    )
    return np.unique(np.frombuffer(digests, dtype=np.uint64))


def _prefixes(grams: Sequence[Hashes], similarity: float) -> list[Hashes]:
    """Of each text the 5-grams of its prefix that another text has too."""
    everything = np.concatenate([*grams, np.empty(0, np.uint64)])  # (G,)
    everything.sort()
    found = []
    for own in grams:
        first = np.searchsorted(everything, own, side="left")
        frequency = np.searchsorted(everything, own, side="right") - first  # (n,)
        # A margin against rounding in the product: one 5-gram more only costs time.
        length = min(len(own), int((1 - similarity) * len(own)) + 2)
        rarest = np.argsort(frequency, kind="stable")[:length]  # of one frequency by hash
        found.append(own[rarest[frequency[rarest] > 1]])
    return found


def _sharing(prefixes: Sequence[Hashes]) -> Iterator[list[int]]:
    """Of each text the earlier ones that share a 5-gram of both prefixes, ascending."""
    lengths = [len(prefix) for prefix in prefixes]
    owners = np.repeat(np.arange(len(prefixes), dtype=np.int32), lengths)  # (P,)
    grams = np.concatenate([*prefixes, np.empty(0, np.uint64)])  # (P,)
    order = np.argsort(grams, kind="stable")  # owners of one 5-gram ascend
    owners, grams = owners[order], grams[order]
    starts = np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1]])) if len(grams) else np.empty(0, int)
    groups = np.repeat(starts, np.diff([*starts, len(grams)]))  # (P,) where the owners of this 5-gram begin
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))  # of each prefix's 5-gram among the sorted ones
    first = 0
    for length in lengths:
        places = place[first : first + length]
        first += length
        earlier = [owners[groups[at] : at] for at in places if groups[at] < at]
        yield np.unique(np.concatenate(earlier)).tolist() if earlier else []
