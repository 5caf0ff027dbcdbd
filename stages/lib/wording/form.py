"""The words of a text apart from its form: case, markup, punctuation, white space.

Two texts with the same words are the same text in another form. In doubt a sign is kept, and the texts
are not the same: minus, decimal point, comparison, percent, the pluses of C++, brackets and quotes of a number, the
target of a link, whatever stands between letters or digits without a blank, the case of a unit after
its number, single signs of code. Compatibility forms are only undone where they are typography
(ligatures, full width): a superscript is not a digit, and "ß" is not "ss".
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

TYPOGRAPHY = ("<wide>", "<narrow>", "<compat>", "<noBreak>", "<initial>", "<medial>", "<final>", "<isolated>")
UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))  # soft hyphen, zero width, direction, BOM
LIKE = str.maketrans({"’": "'", "‘": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "−": "-"})
MARKS = frozenset("#%&*@/\\§‰‱′″_+-<>=|~^$")  # punctuation that means something, but for the cases below
SPACING = re.compile(
    r"(?<!\d)[。，、；：？！「」『』《》〈〉【】〔〕・…—–]|[。，、；：？！「」『』《》〈〉【】〔〕・…—–](?!\d)"
)
# Letters of scripts that put no blanks between words: each is a word.
UNSPACED = re.compile(r"([\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
LINE_MARKUP = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|[-*+•][ \t]+(?![\d.])|>[ \t]+(?![\d.])|(?:```|~~~)(?=\s|$))+", re.MULTILINE
)
NUMBERED = re.compile(r"^([ \t]*)(\d+)[.)][ \t]+", re.MULTILINE)
RULE = re.compile(r"^[ \t]*(?:[-=*_][ \t]*){3,}$|^[ \t|:]*\|[ \t|:-]*-[ \t|:-]*$", re.MULTILINE)
EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
UNDERLINED = re.compile(r"(?<![\w_])(_{1,2})(?=[^\s_])([^\n]*? [^\n]*?[^\s_])\1(?![\w_])")
TAGS = "b|i|em|strong|p|div|span|code|pre|h[1-6]|ul|ol|li|table|thead|tbody|tr|td|th|blockquote|small"
OPENING, CLOSING = re.compile(rf"<({TAGS})>", re.IGNORECASE), re.compile(rf"</({TAGS})>", re.IGNORECASE)
BREAK = re.compile(r"<(?:br|hr) ?/?>", re.IGNORECASE)
LITERAL = re.compile(r"[-+.\d]*\d[-+.\d]*|true|false|none|null", re.IGNORECASE)
UNIT = 3  # letters of a unit's name at most, as in GHz
SENTENCE_END = tuple(".!?:;。！？：；")


class Word(NamedTuple):
    """One word of a text."""

    form: str  # what is compared
    written: str  # with its case
    starts: bool  # a line or a sentence, so that a capital says nothing


def same_words(texts: Sequence[str]) -> list[int]:
    """For each text the place of the one that stays of those with the same words: the longest, the first of equals."""
    stays: dict[bytes, int] = {}
    keys = [form_digest(text) for text in texts]
    for place, key in enumerate(keys):
        if key not in stays or len(texts[place]) > len(texts[stays[key]]):
            stays[key] = place
    return [stays[key] for key in keys]


def form_key(text: str) -> str:
    """The text's words with single blanks between; without any, the text itself. Equal keys: equal up to form."""
    return " ".join(word.form for word in words_of(text)) or f"\n{text.strip()}"


def form_digest(text: str) -> bytes:
    """16 bytes of a hash of `form_key`, which is as long as the text: for who compares many."""
    return hashlib.blake2b(form_key(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=1 << 12)
def words_of(text: str) -> tuple[Word, ...]:
    """The words of a text, as the module's docstring says."""
    found: list[Word] = []
    for line in _without_markup(_typed(text)).split("\n"):
        _read_line(line, found)
    return tuple(found)


def _typed(text: str) -> str:
    """The text with one character for each way to type the same one."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(UNSEEN)
        text = SPACING.sub(" ", text)  # before the full-width comma becomes a comma
        text = "".join(_plain(character) for character in text).translate(LIKE)
        text = re.sub(r"(?<=\d)[–—](?=\d)", "-", text)
    return text.replace("\r\n", "\n").replace("\r", "\n")


@lru_cache(maxsize=1 << 12)
def _plain(character: str) -> str:
    decomposed = unicodedata.decomposition(character)
    if not decomposed.startswith(TYPOGRAPHY) or unicodedata.category(character) == "No":
        return character
    return "".join(chr(int(code, 16)) for code in decomposed.split()[1:])


def _without_markup(text: str) -> str:
    """The text without headings' signs, bullets, rules, emphasis and paired tags."""
    if "<" in text:
        pairs = {tag.lower() for tag in OPENING.findall(text)}
        opened = [tag.lower() for tag in OPENING.findall(text)]
        closed = [tag.lower() for tag in CLOSING.findall(text)]
        # A tag that is not closed may be what the text is about, or a token such as <s>.
        paired = {tag for tag in pairs if opened.count(tag) == closed.count(tag)}
        for pattern in (OPENING, CLOSING):
            text = pattern.sub(lambda found: " " if found[1].lower() in paired else found[0], text)
        text = BREAK.sub("\n", text)
    text = LINE_MARKUP.sub("", RULE.sub("", text))
    text = NUMBERED.sub(r"\1\2 ", text)
    return UNDERLINED.sub(r"\2", EMPHASIS.sub(r"\2", text))


def _read_line(line: str, found: list[Word]) -> None:
    """Adds the words of one line."""
    line = re.sub(r"(?<=\d)[ \t]+(?=%)", "", line)
    if line.lstrip().startswith("|"):  # an empty cell moves those after it
        line = re.sub(r"\|[ \t]+(?=\|)", "||", line.strip().strip("|")).replace(" | ", " ")
    line = UNSPACED.sub(r" \1 ", line)
    pieces = line.split()
    starts = True
    for at, piece in enumerate(pieces):
        word = _stripped(piece)
        if word and not _is_dash(word, pieces, at):
            found.append(Word(form=_case(word, found), written=word, starts=starts))
            starts = False
        if piece.rstrip("\"')]}*_`").endswith(SENTENCE_END):
            starts = True


def _stripped(piece: str) -> str:
    """The piece without the punctuation at its ends that means nothing."""
    if piece.isalnum():
        return piece
    start, end = 0, len(piece)
    while start < end and _droppable(piece[start], piece[start + 1 : end], leading=True):
        start += 1
    quoted = piece[:1] in ("'", '"')
    while start < end and _droppable(piece[end - 1], piece[start : end - 1][::-1], leading=False, quoted=quoted):
        end -= 1
    core = piece[start:end]
    quotes = {piece[start - 1 : start], piece[end : end + 1]}
    if quotes <= {"'", '"'} and LITERAL.fullmatch(core):
        return f'"{core}"'  # a number in quotes is a text
    return core


def _droppable(sign: str, inwards: str, *, leading: bool, quoted: bool = False) -> bool:
    """Whether a sign at an end of a piece is punctuation alone; `inwards` is what follows towards the middle."""
    if sign == "`":
        return True
    if sign in MARKS or not unicodedata.category(sign).startswith("P"):
        return False
    nearest = inwards[:1]
    if sign in "()[]{}":
        return not inwards.lstrip("+-.")[:1].isnumeric()  # 0, 1) is no [0, 1]
    if leading:
        return not ((sign in ".!" and nearest.isalnum()) or (sign in ".!:" and nearest in MARKS))  # .5, .env, !a, !=
    return not (sign in "!'\"" and nearest.isnumeric() and not (quoted and sign != "!"))  # 5!, 5', 5"


def _is_dash(word: str, pieces: Sequence[str], at: int) -> bool:
    """Whether the word is a dash of prose: not beside a number or a letter alone, where it may be a minus."""
    if word not in ("-", "–", "—", "--", "---"):
        return False
    beside = [_stripped(piece) for piece in (*pieces[max(0, at - 1) : at], *pieces[at + 1 : at + 2])]
    return all(len(other) > 1 and not any(map(str.isnumeric, other)) for other in beside)


def _case(word: str, before: Sequence[Word]) -> str:
    """The word in lower case, but for units: 5 Mb are no 5 MB."""
    if word[0].isdigit() or (len(word) <= UNIT and before and before[-1].form[-1:].isdigit()):
        return word
    return word.lower()
