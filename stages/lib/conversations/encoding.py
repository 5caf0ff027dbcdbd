"""From a rendered text to token ids: what the tokenizer puts first is there once, and contents hold no markup."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from stages.lib.conversations.markup import Markup, markup_of
from stages.lib.conversations.rendering import Rendered, plain

ANCHOR = "\n"  # what no tokenizer joins with a letter, a digit or a blank behind it


@dataclass(frozen=True)
class Encoded:
    """Token ids, and where in the rendered text each one's characters are; (0, 0) for one that was put before it."""

    ids: list[int]
    offsets: list[tuple[int, int]]


def encode(tokenizer: Any, rendered: Rendered) -> list[int]:
    """Token ids of a rendered text.

    They begin with what the tokenizer itself puts first (`<s>`), whether or not the template wrote it, and once.
    """
    return _encode(tokenizer, rendered, offsets=False).ids


def encode_with_offsets(tokenizer: Any, rendered: Rendered) -> Encoded:
    """The same, and where each token is in the text; needs a fast tokenizer."""
    return _encode(tokenizer, rendered, offsets=True)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that goes on where another ends: without a beginning, and without markup.

    SentencePiece's tokenizers put a blank before what they read alone, which is none within a text.
    """
    alone = _read(tokenizer, plain(tokenizer, text), offsets=False).ids
    before = _read(tokenizer, plain(tokenizer, ANCHOR), offsets=False).ids
    within = _read(tokenizer, plain(tokenizer, ANCHOR + text), offsets=False).ids
    return within[len(before) :] if within[: len(before)] == before else alone


def beginning(tokenizer: Any) -> list[int]:
    """The token ids that a tokenizer puts before every text; often `<s>` alone, or none."""
    whole = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    place = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    return whole[:place]


def _encode(tokenizer: Any, rendered: Rendered, offsets: bool) -> Encoded:
    found = _read(tokenizer, rendered, offsets)
    first = beginning(tokenizer)
    if first and found.ids[: len(first)] != first:
        return Encoded(first + found.ids, [(0, 0)] * len(first) + found.offsets)
    return found


def _read(tokenizer: Any, rendered: Rendered, offsets: bool) -> Encoded:
    if rendered.quotes:
        return _read_quoted(markup_of(tokenizer), rendered)
    made = tokenizer(rendered.marked, add_special_tokens=False, return_offsets_mapping=offsets)
    return Encoded(list(made["input_ids"]), [tuple(pair) for pair in made["offset_mapping"]] if offsets else [])


def _read_quoted(markup: Markup, rendered: Rendered) -> Encoded:
    """By the copy of the tokenizer: markup under its aliases, and the quoted strings as they are."""
    copy = markup.aliased(rendered.text)
    assert markup.pattern is not None
    parts: list[str] = []
    ours, theirs = [0], [0]  # places in the text and in what the copy reads, where both begin anew
    last = 0

    def add(read: str, length: int) -> None:
        parts.append(read)
        ours.append(ours[-1] + length)
        theirs.append(theirs[-1] + len(read))

    for match in markup.pattern.finditer(rendered.marked):
        before = rendered.unquoted(rendered.marked[last : match.start()])
        add(before, len(before))
        add(copy.names[match[0]], len(match[0]))
        last = match.end()
    rest = rendered.unquoted(rendered.marked[last:])
    add(rest, len(rest))

    def place(theirs_place: int) -> int:
        piece = bisect_right(theirs, theirs_place) - 1
        if piece + 1 < len(ours):
            return min(ours[piece] + theirs_place - theirs[piece], ours[piece + 1])
        return ours[-1]

    made = copy.tokenizer.encode("".join(parts), add_special_tokens=False)
    ids = [copy.ids.get(token, token) for token in made.ids]
    return Encoded(ids, [(place(start), place(end)) for start, end in made.offsets])
