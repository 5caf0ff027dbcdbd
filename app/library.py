"""A user's documents on disk: read once, found again after a restart, never under a name that came with a file.

DIRECTORY/SHA256/content         the bytes as they came (of an encrypted PDF: decrypted)
DIRECTORY/SHA256/document.json   its pages with the box of every word

A document's directory appears complete or not at all. The file's own name is kept inside document.json, for showing.
"""

import json
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stages.lib.cache.code_identity import code_identity
from stages.lib.core.records import appearing_directory, read_json_object
from stages.lib.corpus.pdf import open_pdf
from stages.lib.passages.paged_document import PagedDocument, content_sha256, page_count, read_pdf, read_text
from stages.lib.passages.stored_document import from_json, to_json
from stages.lib.reading.documents import BrokenInputError

CONTENT, DOCUMENT = "content", "document.json"
TEXT_SUFFIXES = (".txt", ".md", ".markdown")
MAGIC, MAGIC_WITHIN = b"%PDF-", 1024  # readers look for the mark in the first kilobyte
MUPDF = threading.Lock()  # MuPDF is not for several threads: who reads or draws a page holds it
NAME_CHARS = 120
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Library:
    """The documents of one user."""

    def __init__(self, directory: Path, max_bytes: int, max_pages: int) -> None:
        """`max_bytes` and `max_pages`: of one file; more is refused before it is read."""
        self._directory, self._max_bytes, self._max_pages = directory, max_bytes, max_pages

    def add(
        self,
        name: str,
        content: bytes,
        password: str = "",
        on_page: Callable[[int, int], object] = lambda page, pages: None,
    ) -> PagedDocument:
        """Reads a file and keeps it; the same bytes are not read again.

        Args:
            name: as the user called the file.
            content: its bytes.
            password: of an encrypted PDF.
            on_page: told (pages done, pages in all).

        Raises:
            BrokenInputError: it cannot be read; nothing is kept. Reasons: `too_large`, `too_many_pages`,
                `unknown_file_type`, `empty`, `encrypted_pdf`, `wrong_password`, `broken_pdf`, `no_text`,
                `invalid_utf8`.
        """
        shown = shown_name(name)
        if len(content) > self._max_bytes:
            raise BrokenInputError("too_large", f"{_size(len(content))}; the limit is {_size(self._max_bytes)}")
        if not content:
            raise BrokenInputError("empty", "the file has no bytes")
        sha256 = content_sha256(content)
        known = self._read(sha256)
        if known:
            return known
        if MAGIC in content[:MAGIC_WITHIN]:
            document, kept = self._read_pdf(shown, content, password, on_page)
        elif Path(shown).suffix.lower() in TEXT_SUFFIXES:
            document, kept = read_text(shown, content), content
        else:
            raise BrokenInputError("unknown_file_type", "it is no PDF, and its name does not end in .txt or .md")
        with appearing_directory(self._directory / sha256) as place:
            (place / CONTENT).write_bytes(kept)
            stored = to_json(document) | {"reader": _reader()}
            (place / DOCUMENT).write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
        return document

    def documents(self) -> list[PagedDocument]:
        """All documents, by name."""
        if not self._directory.is_dir():
            return []
        found = [self._read(place.name) for place in self._directory.iterdir() if _SHA256.fullmatch(place.name)]
        return sorted((one for one in found if one), key=lambda one: (one.name.casefold(), one.sha256))

    def content(self, sha256: str) -> bytes:
        """The bytes of a document.

        Raises:
            KeyError: no such document in this library.
        """
        return self.file(sha256).read_bytes()

    def file(self, sha256: str) -> Path:
        """The file with the bytes of a document.

        Raises:
            KeyError: no such document in this library.
        """
        return self._place(sha256) / CONTENT

    def remove(self, sha256: str) -> None:
        """Forgets a document.

        Raises:
            KeyError: no such document in this library.
        """
        shutil.rmtree(self._place(sha256))

    def _read_pdf(
        self, name: str, content: bytes, password: str, on_page: Callable[[int, int], object]
    ) -> tuple[PagedDocument, bytes]:
        def page_done(page: int) -> None:
            MUPDF.release()  # others may read and draw a page of theirs
            try:
                on_page(page, pages)
            finally:
                MUPDF.acquire()

        with MUPDF:
            pages = page_count(content, password)
            if pages > self._max_pages:
                raise BrokenInputError("too_many_pages", f"{pages} pages; the limit is {self._max_pages}")
            return read_pdf(name, content, password, page_done), _decrypted(content, password)

    def _place(self, sha256: str) -> Path:
        place = self._directory / sha256
        if not _SHA256.fullmatch(sha256) or not (place / DOCUMENT).is_file():
            raise KeyError(f"no document {sha256[:12]!r} in this library")
        return place

    def _read(self, sha256: str) -> PagedDocument | None:
        """A kept document, read anew where the reading code has changed since; None: not kept."""
        file = self._directory / sha256 / DOCUMENT
        if not file.is_file():
            return None
        stored = read_json_object(file)
        document = from_json(stored)
        if stored.get("reader") == _reader():
            return document
        content = self.content(sha256)
        if MAGIC in content[:MAGIC_WITHIN]:
            with MUPDF:
                anew = read_pdf(document.name, content)
        else:
            anew = read_text(document.name, content)
        anew = replace(anew, sha256=sha256)
        with appearing_directory(self._directory / sha256) as place:
            (place / CONTENT).write_bytes(content)
            (place / DOCUMENT).write_text(json.dumps(to_json(anew) | {"reader": _reader()}, ensure_ascii=False))
        return anew


def shown_name(name: str) -> str:
    """A file's name for showing: without directories of any system, control characters, or more than 120 characters."""
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(character for character in last if character.isprintable()).strip()
    return clean[-NAME_CHARS:] or "unnamed"


def described(document: PagedDocument) -> str:
    """Pages, and those without text or that could not be read."""
    pages = len(document.pages) + len(document.unread)
    parts = [f"{pages} page{'s' * (pages != 1)}"]
    if document.without_text:
        parts.append(f"no text on page {', '.join(map(str, document.without_text))} (a scan?)")
    parts += [f"page {number} cannot be read ({why})" for number, why in document.unread.items()]
    return ", ".join(parts)


def _decrypted(content: bytes, password: str) -> bytes:
    with open_pdf(content, password) as document:
        return bytes(document.tobytes(encryption=1)) if document.is_encrypted or password else content


def _reader() -> str:
    return code_identity(read_pdf, read_text)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
