"""Which part of the text is for validation: whole documents drawn by a hash, or the tail of every document."""

from collections.abc import Mapping
from typing import Literal, Protocol, assert_never

from stages.lib.shards.reading import ShardSplit
from stages.lib.splitting.clusters import Clusters
from stages.lib.splitting.splitters import best_boundary

SplitBy = Literal["documents", "tokens"]
LEAST_DOCUMENTS = 10  # in validation, or `auto` does not split by documents
MOST_OFF = 2.0  # likewise: validation's share of the tokens is at most so many times too large or too small
LEAST_PART = 100  # characters; a document that would give one side fewer stays whole
_REACH = 20_000  # characters around the place wanted in which a boundary is looked for, at most
Part = tuple[ShardSplit, str]


class Splitting(Protocol):
    """Sorts documents, one after another."""

    def parts(self, text: str, key: bytes, whole: bool) -> list[Part]:
        """The document's parts and their splits; put together they are its text.

        `key` is its `duplicate_key`; with `whole` it is not to be cut.
        """


def make_splitting(by: SplitBy, val_fraction: float) -> Splitting:
    """The splitting of that name."""
    match by:
        case "documents":
            return ByDocuments(val_fraction)
        case "tokens":
            return ByTokens(val_fraction)
        case _:
            assert_never(by)


def split_of(key: bytes, val_fraction: float) -> ShardSplit:
    """The split of a document, by its `duplicate_key`: the same in every corpus and at every place."""
    return "val" if int.from_bytes(key[:8]) < val_fraction * 2**64 else "train"


class ByDocuments:
    """Each document is on one side, by the hash of its text alone."""

    def __init__(self, val_fraction: float) -> None:
        self.val_fraction = val_fraction

    def parts(self, text: str, key: bytes, whole: bool) -> list[Part]:
        """See `Splitting`."""
        return [(split_of(key, self.val_fraction), text)]


class ByTokens:
    """Each document's tail is for validation; short ones, which stay whole, go to the side that lacks text.

    nanoGPT cuts the one long text of all documents at 90%; here every document is cut, so that each is on both sides.
    What a boundary puts on the wrong side of the place wanted, and what whole documents do, later ones make up for.
    """

    def __init__(self, val_fraction: float) -> None:
        self.val_fraction = val_fraction
        self._owed = 0.0  # characters that validation should have had so far, and has not

    def parts(self, text: str, key: bytes, whole: bool) -> list[Part]:
        """See `Splitting`."""
        share = self.val_fraction * len(text)
        owed = self._owed + share
        visible = len(text.strip())
        if whole or min(share, len(text) - share) < LEAST_PART or visible < 2 * LEAST_PART:
            to_val = owed >= len(text) / 2
            self._owed = owed - (len(text) if to_val else 0)
            return [("val" if to_val else "train", text)]
        cut = tail_start(text, min(max(owed, share / 2), 2 * share))
        self._owed = owed - (len(text) - cut)
        return [("train", text[:cut]), ("val", text[cut:])]


def tail_start(text: str, tail: float) -> int:
    """Where a tail of about `tail` characters (a quarter more or less) begins: at the best boundary near there.

    A blank line is better than the end of a sentence, that than the end of a line, that than other white space; where
    there is none of these no character is torn from its accents (a grapheme cluster). Something visible is on both
    sides if the text has two visible characters.
    """
    begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
    aim = min(max(len(text) - round(tail), begin + 1), end - 1)
    reach = min(round(tail / 4), _REACH)
    low, high = max(aim - reach, begin + 1), min(aim + reach, end - 1)
    cut = best_boundary(text, low, high, aim)
    if text[cut].isspace():
        # Line ends close what stands before them; a blank belongs to the word behind it, as in GPT-2's tokens.
        lines = len(text) - len(text[cut:].lstrip())
        return text.rfind("\n", cut, lines) + 1 or cut
    start = max(0, cut - 1_000)
    return start + Clusters(text[start : cut + 1_000]).before(cut - start, max(low - 1 - start, 0))


def why_not_by_documents(documents: Mapping[ShardSplit, int], tokens: Mapping[ShardSplit, int], share: float) -> str:
    """Why `auto` does not take the split by documents that was made; empty where it does.

    It takes it where validation has at least 10 documents and between half and twice `val_fraction` of the tokens.

    Args:
        documents: of each split.
        tokens: of each split.
        share: the `val_fraction` wanted.
    """
    total = sum(tokens.values())
    found = tokens["val"] / total if total else 0.0
    held = f"{documents['val']:,} of {sum(documents.values()):,} documents would be for validation"
    if documents["val"] < LEAST_DOCUMENTS:
        return f"{held}, {LEAST_DOCUMENTS} are needed"
    if not documents["train"]:
        return f"{held}, none for training"
    if not share / MOST_OFF <= found <= share * MOST_OFF:
        return f"{held}, with {found:.2%} of the tokens where val_fraction is {share:.2%}"
    return ""
