"""Who is asking: each browser has a token that chance made, and what belongs to it lies under the token's hash.

libraries/SHA256_OF_TOKEN/SHA256_OF_DOCUMENT/   documents (app/library.py)
libraries/SHA256_OF_TOKEN/conversations/        conversations (app/conversations.py)
libraries/SHA256_OF_TOKEN/vectors/              token vectors of the documents' passages

Nothing is ever looked up by anything but the token that came with a request.
"""

import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.conversations import Conversations
from app.library import Library
from app.settings import Searching
from stages.lib.answering.evidence import DocumentIndex
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.passages.passages import cut
from stages.lib.retrieval.vectors import forget_vectors, token_vectors

Said = list[tuple[str, str]]  # (`good`, `bad` or `going`, text): what an import says of each file
AT_ONCE = 16  # people whose documents stay in memory
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """256 bits of chance: who has it is the person."""
    return secrets.token_urlsafe(32)


def is_token(text: object) -> bool:
    """Whether a text has the form of a token; one that a browser made up has not its chance, but is its own."""
    return isinstance(text, str) and bool(_TOKEN.fullmatch(text))


class Person:
    """One person's documents, index and conversations."""

    def __init__(self, directory: Path, searching: Searching) -> None:
        settings = searching.settings
        self.key = directory.name
        self.library = Library(directory, settings.max_file_mb * 1_000_000, settings.max_pages)
        self.conversations = Conversations(directory / "conversations")
        self.searching = replace(searching, encoders=replace(searching.encoders, directory=directory / "vectors"))
        self.changing = threading.RLock()  # held while documents or conversations change
        self.locked: dict[str, bytes] = {}  # encrypted files that wait for their password, by name
        self.said: list[Said] = []  # by imports that go on, or the last one
        self._documents: dict[str, PagedDocument] | None = None
        self._index: DocumentIndex | None = None

    @property
    def documents(self) -> list[PagedDocument]:
        """By name."""
        with self.changing:
            if self._documents is None:
                self._documents = {document.sha256: document for document in self.library.documents()}
            return list(self._documents.values())

    def document(self, sha256: str) -> PagedDocument:
        """A document of this person.

        Raises:
            KeyError: this person has no such document.
        """
        for document in self.documents:
            if document.sha256 == sha256:
                return document
        raise KeyError(f"no document {sha256[:12]!r} in this library")

    def added(self, document: PagedDocument) -> None:
        """A document came into the library."""
        with self.changing:
            found = {one.sha256: one for one in [*self.documents, document]}
            by_name = sorted(found.values(), key=lambda one: (one.name.casefold(), one.sha256))
            self._documents, self._index = {one.sha256: one for one in by_name}, None

    def prepare(self, document: PagedDocument, advance: Callable[[int, int], object]) -> None:
        """Computes and keeps the token vectors of a document; `advance` is told (passages done, in all)."""
        settings, encoders = self.searching.settings, self.searching.encoders
        if self.searching.choice.system not in ("late_interaction", "mean_pooled", "fused"):
            return
        passages = cut(document, settings.chunk_chars, settings.overlap_fraction)
        token_vectors(passages, encoders.tokens, encoders.directory, lambda done: advance(done, len(passages)))

    def index(self) -> DocumentIndex:
        """Over all documents; made when it is first asked for.

        Raises:
            ValueError: there is no document.
        """
        with self.changing:
            if self._index is None:
                searching = self.searching
                self._index = DocumentIndex(self.documents, searching.choice, searching.settings, searching.encoders)
            return self._index

    def remove(self, sha256: str) -> None:
        """Forgets a document and what was computed of it.

        Raises:
            KeyError: this person has no such document.
        """
        with self.changing:
            document = self.document(sha256)
            settings, encoders = self.searching.settings, self.searching.encoders
            passages = cut(document, settings.chunk_chars, settings.overlap_fraction)
            self.library.remove(sha256)
            if encoders.directory:
                forget_vectors(passages, encoders.tokens, encoders.directory)
            self._documents = self._index = None


class People:
    """The people who asked lately."""

    def __init__(self, directory: Path, searching: Searching) -> None:
        self._directory, self._searching = directory, searching
        self._known: OrderedDict[str, Person] = OrderedDict()
        self._changing = threading.Lock()

    def get(self, token: object) -> Person:
        """The person with this token.

        Raises:
            ValueError: it is no token.
        """
        if not is_token(token):
            raise ValueError("this browser has no token yet; reload the page")
        key = hashlib.sha256(str(token).encode()).hexdigest()
        with self._changing:
            person = self._known.pop(key, None) or Person(self._directory / key, self._searching)
            self._known[key] = person
            while len(self._known) > AT_ONCE:
                self._known.popitem(last=False)
            return person
