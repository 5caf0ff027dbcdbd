"""A sentence as the classes of its words: "The passage doesn't say what r is." -> SRC DO NEG TELL _ IS.

What a reply does (refuse, deny, tell) shows in few words: for the text, for telling and finding out, for not and
missing, for I and we. reply_words.yaml has them, in several languages; all other words are `_`. So what is learned of
"the passage does not say" serves "the docs never mention" and "der Text erwähnt nicht" as well.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

WORDS = Path(__file__).with_name("reply_words.yaml")
OTHER, NUMBER, BEGIN, END = "_", "#", "^", "$"
_CJK = r"\u3005-\u30ff\u3400-\u9fff"
_PIECE = re.compile(rf"[{_CJK}]+|[^\W_]+(?:[-_.][^\W_]+)*|[?:;,]")
_ARTICLES = frozenset("the a an der die den dem ein eine el la los las les un une il o os de het".split())
_KEPT = frozenset("and or then only also by with at than default defaults , : ;".split())
_GIVEN = frozenset("given provided presented supplied above current present".split())
_LONGEST = 6  # characters of a Chinese or Japanese entry
_TERMINATED = re.compile(r"(?<=[.!?])[\])\"'”]*\s+|(?<=[。！？])|\n+")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|et al|cf|vs|Fig|Eq|z\. ?B|p\. ?ex)\.$", re.IGNORECASE)


class Token(NamedTuple):
    """A word or a run of unknown ones: its class, and the word as it was compared."""

    kind: str
    word: str


class Lexicon(NamedTuple):
    """Words, their beginnings, and words of scripts without blanks -> class."""

    words: dict[str, str]
    stems: dict[str, str]
    unspaced: dict[str, str]


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """reply_words.yaml; where a word stands in two classes, the first one counts."""
    found = Lexicon({}, {}, {})
    for kind, text in yaml.safe_load(WORDS.read_text(encoding="utf-8")).items():
        for word in unicodedata.normalize("NFKC", text).lower().split():
            unspaced = re.match(f"[{_CJK}]", word)
            table = found.unspaced if unspaced else found.stems if word.endswith("*") else found.words
            table.setdefault(word.rstrip("*"), kind)
    return found


def plain(text: str) -> str:
    """Lower case, one kind of apostrophe, contractions written out: "Can't" -> "can not", "n'est" -> "ne est"."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    text = re.sub(r"\bn ?/ ?a\b|\bk\. ?a\.", " unknown ", text)
    text = re.sub(r"\bcan(?:not|'?t)\b", "can not", text)
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r"\b(do|does|did|is|are|was|were|has|have|could|would)nt\b", r"\1 not", text)
    text = re.sub(r"\bn'", "ne ", text)
    return re.sub(r"\b[ldcsjmtqu]+'(?=\w)|'\w{1,2}\b", " ", text)


def frame(text: str) -> list[Token]:
    """The sentence between BEGIN and END; neighbouring unknown words are one token."""
    found = [Token(BEGIN, "")]
    for piece in _PIECE.findall(plain(text)):
        for token in _unspaced(piece) if re.match(f"[{_CJK}]", piece) else _spaced(piece):
            if token.kind == "SRC" and (found[-1].kind == "IT" or found[-1].word in _GIVEN):
                found.pop()  # "this paper", "the provided text"
            if token.kind != OTHER or found[-1].kind != OTHER:
                found.append(token)
    return [*found, Token(END, "")]


def _spaced(piece: str) -> list[Token]:
    if any(character.isdigit() for character in piece):
        return [Token(NUMBER, piece)]
    if piece in _ARTICLES:
        return []
    return [Token(_kind(piece) or (piece if piece in _KEPT else OTHER), piece)]


def _kind(word: str) -> str | None:
    words, stems, _ = lexicon()
    return words.get(word) or next((stems[word[:n]] for n in range(len(word), 2, -1) if word[:n] in stems), None)


def _unspaced(piece: str) -> list[Token]:
    known, found, place = lexicon().unspaced, [], 0
    while place < len(piece):
        ends = range(min(len(piece), place + _LONGEST), place, -1)
        end = next((end for end in ends if piece[place:end] in known), place + 1)
        found.append(Token(known.get(piece[place:end], OTHER), piece[place:end]))
        place = end
    return found


def reply_sentences(reply: str) -> list[str]:
    """The sentences of a reply, in order; brackets around the whole are left away."""
    found: list[str] = []
    for part in _TERMINATED.split(reply.strip().strip("[]")):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += f" {part}"
        elif part and part.strip():
            found.append(part.strip())
    return found
