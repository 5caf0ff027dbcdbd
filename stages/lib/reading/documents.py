"""What every source yields: documents, and what was dropped and why."""

import codecs
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Document:
    """A text and where it came from (a path, a URL, `peft==0.21.2:peft.tuners.lora.LoraConfig`)."""

    source: str
    text: str
    origin: str = field(default="", compare=False)  # what it was read from: the file, package or data set; "": unsaid

    @cached_property
    def id(self) -> str:
        """The first 12 hex digits of the SHA-256 of source and text."""
        return hashlib.sha256(f"{self.source}\0{self.text}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Drop:
    """Something that did not become a document: its place (`file:line`), the reason, and what was seen there."""

    source: str
    reason: str
    detail: str = ""


DocumentOrDrop = Document | Drop
DocumentStream = Iterator[DocumentOrDrop]
Advance = Callable[[int], object]  # called with the number of bytes (hub: records) just read, for progress bars


class BrokenInputError(ValueError):
    """One file or record cannot be read; its reader turns it into a `Drop`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def decode_utf8(raw: bytes) -> str:
    """Strict UTF-8; a byte order mark at the beginning is left out. With the mark of UTF-16, that.

    Raises:
        BrokenInputError: reason `invalid_utf8`, naming the byte.
    """
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        advice = "of an older Windows or Latin-1 file, `iconv -f CP1252 -t UTF-8` makes it"
        raise BrokenInputError("invalid_utf8", f"byte {error.start}: {error.reason}; {advice}") from error


def as_document(source: str, text: object, where: str, max_chars: int, origin: str = "") -> DocumentOrDrop:
    """A document with its line ends made `\\n` and without NULs, or the drop that an unusable text is.

    Reasons: `no_text` (absent or not a string), `empty` (nothing but whitespace), `invalid_unicode` (a lone
    surrogate, which JSON can spell and UTF-8 cannot), `too_long` (more than `max_chars` characters).
    """
    if not isinstance(text, str):
        return Drop(where, "no_text", f"expected a string, found {type(text).__name__}")
    if len(text) > max_chars:
        return Drop(where, "too_long", f"{len(text)} characters, max_document_chars is {max_chars}")
    if "\0" in text:
        text = text.replace("\0", "")
    if not text or text.isspace():
        return Drop(where, "empty")
    try:
        text.encode()
        source.encode()
    except UnicodeEncodeError as error:
        return Drop(where, "invalid_unicode", f"character {error.start}: {error.reason}")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Document(source.replace("\0", ""), text, origin)


def duplicate_key(text: str) -> bytes:
    """Equal for texts that differ in no more than whitespace at line ends and at the two ends of the text."""
    lines = (line.rstrip() for line in text.strip().split("\n"))
    return hashlib.sha256("\n".join(lines).encode()).digest()
