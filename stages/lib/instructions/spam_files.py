"""Spam collections as people have them -> a message's label, `ham` or `spam`, and its text.

The SMS Spam Collection itself (lines of label, tab, message), Kaggle's spam.csv (v1, v2, and columns without a name
that hold what a comma cut off), and files with such columns under other names, in any order, as tables or JSON.
"""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.lib.instructions.delimited import DELIMITERS, rows, table_lines
from stages.lib.instructions.record_files import records_of, split_header, trimmed
from stages.lib.instructions.records import Pair, made_pair
from stages.lib.reading.documents import Drop
from stages.lib.reading.drop_advice import lacks
from stages.lib.reading.json_records import unreadable

INSTRUCTION = "Is this message spam or ham?"
LABELS = ("ham", "spam")
LABEL_KEYS = (
    *("v1", "label", "labels", "label_text", "category", "type", "class", "target"),
    *("spam/ham", "ham/spam", "spam", "is_spam"),
)
TEXT_KEYS = ("v2", "text", "message", "sms", "messages", "email", "mail", "body", "content", "message_body")
_YES_OR_NO = ("spam", "is_spam")  # columns in which 1 can but mean spam
_RECORDS = (".json", ".jsonl", ".parquet", ".arrow")
_ENTITY = re.compile(r"&(#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z]+\d*);")  # with its semicolon: `T&C's` and URLs stay
_SEEN = 1_000  # lines by which a table without a header shows its delimiter


def labelled_messages(path: Path) -> Iterator[tuple[str, Pair | Drop]]:
    """Yields (place, prompt and answer) of each message of a file, or the drop that it is.

    Drop reasons: `no_label` (neither ham nor spam, in any case; 0 and 1 only where the column's name says what 1 is),
    `no_message`, `no_keys` (a record without columns for both), `invalid_unicode`, and those of `table_lines` and
    `records_of`.
    """
    if path.suffix.lower() in _RECORDS:
        yield from _from_records(path)
        return
    try:
        lines = table_lines(path)
    except OSError as error:
        drop = unreadable(path, error)
        yield drop.source, drop
        return
    delimiter, header = split_header(lines, (*LABEL_KEYS, *TEXT_KEYS))
    labels, text = columns_of(header)
    if labels and text >= 0:
        yield from _from_table(path, lines, delimiter, header, headed=True)
    else:
        delimiter, columns = _unheaded(lines)
        yield from _from_table(path, lines, delimiter, columns, headed=False)


def columns_of(header: Sequence[str]) -> tuple[list[int], int]:
    """Where labels may stand, the likeliest first, and where the message stands; -1: nowhere."""
    labels = [header.index(key) for key in LABEL_KEYS if key in header]
    text = next((header.index(key) for key in TEXT_KEYS if key in header), -1)
    return [place for place in labels if place != text], text


def _from_records(path: Path) -> Iterator[tuple[str, Pair | Drop]]:
    for found in records_of(path, (*LABEL_KEYS, *TEXT_KEYS)):
        if isinstance(found, Drop):
            yield found.source, found
            continue
        where, record = found
        header = [str(key).strip().casefold() for key in record]
        labels, text = columns_of(header)
        if not labels or text < 0:
            yield where, lacks(where, "no_keys", (*LABEL_KEYS, *TEXT_KEYS), list(record))
        else:
            yield where, _pair(where, header, list(record.values()), labels, text)


def _from_table(
    path: Path, lines: Sequence[str | Drop], delimiter: str, header: list[str], headed: bool
) -> Iterator[tuple[str, Pair | Drop]]:
    labels, text = columns_of(header)
    first = True
    for item in rows(lines, delimiter, _begins(header, labels, text)):
        if isinstance(item, Drop):
            yield item.source, item
            continue
        where, cells = f"{path}:{item[0]}", item[1]
        over = len(cells) - len(header)
        if over >= 0:
            # What is too much stands in the message: a tab, a comma without quotes, Kaggle's columns without a name.
            message = delimiter.join([cells[text], *trimmed(cells[text + 1 : text + 1 + over])])
            pair = _pair(where, header, [*cells[:text], message, *cells[text + 1 + over :]], labels, text)
        else:
            pair = _short(where, cells, delimiter)
        if first and not headed and isinstance(pair, Drop) and pair.reason == "no_label":  # another header, it seems
            pair = lacks(where, "no_label", (*LABEL_KEYS, *TEXT_KEYS), cells)
        if not (first and headed):
            yield where, pair
        first = False


def _short(where: str, cells: list[str], delimiter: str) -> Drop:
    shown = delimiter.join(cells)[:40]
    if cells and _label("", cells[0]):
        return Drop(where, "no_message", f"nothing behind {shown!r}")
    mark = {"\t": "a tab", ",": "a comma", ";": "a semicolon"}[delimiter]
    return Drop(where, "no_label", f"expected ham or spam, {mark}, and the message; found {shown!r}")


def _pair(where: str, header: list[str], cells: Sequence[Any], labels: list[int], text: int) -> Pair | Drop:
    label = next((name for place in labels if (name := _label(header[place], cells[place]))), "")
    if not label:
        found = ", ".join(repr(cells[place])[:40] for place in labels)
        return Drop(where, "no_label", f"expected ham or spam under {header[labels[0]]!r}, found {found}")
    message = cells[text]
    if not isinstance(message, str) or not message.strip():
        return Drop(where, "no_message", f"{label}, and nothing behind it" if not message else f"found {message!r}")
    return made_pair(where, [INSTRUCTION, _ENTITY.sub(lambda found: html.unescape(found[0]), message)], label)


def _label(name: str, value: Any) -> str:
    """`ham`, `spam`, or "" for what is neither."""
    said = str(value).strip().strip('"').casefold()
    if name in _YES_OR_NO and said in ("0", "1", "0.0", "1.0", "false", "true", "no", "yes"):
        return LABELS[said in ("1", "1.0", "true", "yes")]
    return said if said in LABELS else ""


def _unheaded(lines: Sequence[str | Drop]) -> tuple[str, list[str]]:
    """The delimiter by which most first lines begin or end with a label, and the columns that this makes."""
    seen = [line for line in lines[:_SEEN] if isinstance(line, str) and line.strip()]
    choices = [(mark, columns) for columns in (["label", "text"], ["text", "label"]) for mark in DELIMITERS]

    def fitting(choice: tuple[str, list[str]]) -> int:
        mark, columns = choice
        place = 0 if columns[0] == "label" else -1
        return sum(mark in line and bool(_label("", line.split(mark)[place])) for line in seen)

    return max(choices, key=fitting)  # the first of equals: label, tab, message


def _begins(header: list[str], labels: list[int], text: int) -> Callable[[list[str]], bool]:
    """Whether cells begin a message: where the label stands before the text, a line shows it."""
    before = [place for place in labels if place < text]
    return lambda cells: any(place < len(cells) and bool(_label(header[place], cells[place])) for place in before)
