"""Pages made from one template: where many texts differ in the same place alone, what stands there is data.

A name in small letters or a word of a language that fact_words.py does not know is seen to be a fact by that.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from stages.lib.wording.form import words_of

FILLERS = 5  # different ones in one place from which on they are data; wording seldom varies in so many ways
TextPair = tuple[int, int]


def template_pairs(texts: Sequence[str], pairs: Iterable[TextPair]) -> Mapping[TextPair, str]:
    """The pairs whose texts are equal but for one place that at least five texts fill differently; how, to read.

    Args:
        texts: no two of the same words.
        pairs: positions of two texts each.
    """
    fillers: dict[bytes, set[str]] = {}
    places = {}
    for a, b in pairs:
        difference = _difference(texts[a], texts[b])
        if difference is None:
            continue
        frame, ours, theirs = difference
        fillers.setdefault(frame, set()).update((ours, theirs))
        places[a, b] = frame, ours, theirs
    return {
        pair: f"{ours or 'nothing'} | {theirs or 'nothing'}, where {len(fillers[frame])} texts differ"
        for pair, (frame, ours, theirs) in places.items()
        if len(fillers[frame]) >= FILLERS
    }


def _difference(one: str, other: str) -> tuple[bytes, str, str] | None:
    """A digest of what the texts share at both ends, and what stands between; None: that is more than they share."""
    left, right = ([word.form for word in words_of(text)] for text in (one, other))
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    if 2 * (start + end) < max(len(left), len(right)):
        return None
    frame = "\n".join((" ".join(left[:start]), " ".join(left[len(left) - end :])))
    parts = " ".join(left[start : len(left) - end]), " ".join(right[start : len(right) - end])
    return hashlib.blake2b(frame.encode(), digest_size=16).digest(), *parts
