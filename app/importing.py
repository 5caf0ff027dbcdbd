"""Uploaded files into a person's library, told step by step; of each one that cannot be used it is said why."""

import queue
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.library import described, shown_name
from app.people import Person, Said
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.reading.documents import BrokenInputError

MOST_LOCKED = 3  # encrypted files that wait for their password
SAYS = {
    "encrypted_pdf": "it is encrypted: type its password below",
    "wrong_password": "this password does not open it",
    "broken_pdf": "it is damaged, or no PDF at all",
    "unknown_file_type": "it is neither a PDF nor a .txt or .md file",
    "empty": "it is empty",
    "invalid_utf8": "its text is not UTF-8; save it as UTF-8",
}
_PAUSE = 0.1  # seconds between two things said


def import_files(
    person: Person, files: Sequence[tuple[Path, str]], refused: Sequence[Mapping[str, Any]] = ()
) -> Generator[None, None, None]:
    """Imports uploaded files and deletes them; yields each time that there is more in `person.said`.

    Args:
        person: whose library takes them.
        files: where each lies, and what the person calls it.
        refused: `name` of each file that the browser did not send, `large` where its size is over the limit.
    """
    said = _place(person)
    limit = f"it is too large; the limit is {person.searching.settings.max_file_mb} MB (chat.max_file_mb)"
    for one in refused:
        why = limit if one.get("large") else "it could not be sent; try again"
        said.append(("bad", f"{shown_name(str(one.get('name')))}: {why}"))
    try:
        for file, name in files:
            if file.stat().st_size > person.searching.settings.max_file_mb * 1_000_000:  # before it is in memory
                said.append(("bad", f"{shown_name(name)}: {limit}"))
                continue
            yield from _import(person, name, file.read_bytes(), "", said)
        if person.documents:
            person.index()  # now rather than with the first question
    finally:
        for file, _ in files:
            forget_upload(file)


def open_locked(person: Person, password: str) -> Generator[None, None, None]:
    """Tries a password on the encrypted files that wait for one."""
    said = _place(person)
    for name, content in list(person.locked.items()):
        yield from _import(person, name, content, password, said)


def _place(person: Person) -> Said:
    """An empty list to say things in; what other imports said stands beside it while one of them goes on."""
    if not any(kind == "going" for said in person.said for kind, _ in said):
        person.said.clear()
    said: Said = []
    person.said.append(said)
    return said


def forget_upload(file: Path) -> None:
    """Deletes an uploaded file and the directory that Gradio made for it."""
    shutil.rmtree(file.parent, ignore_errors=True)


def _import(person: Person, name: str, content: bytes, password: str, said: Said) -> Iterator[None]:
    shown = shown_name(name)
    said.append(("going", f"{shown}: reading"))
    yield
    try:
        document = yield from _told(lambda tell: _read(person, name, content, password, tell), shown, said)
        person.locked.pop(name, None)
        said[-1] = ("good", f"{shown}: {described(document)}")
    except BrokenInputError as error:
        if error.reason in ("encrypted_pdf", "wrong_password"):
            person.locked[name] = content
            while len(person.locked) > MOST_LOCKED:
                person.locked.pop(next(iter(person.locked)))
        said[-1] = ("bad", f"{shown}: {SAYS.get(error.reason, error.detail)}")
    except (ValueError, OSError) as error:
        said[-1] = ("bad", f"{shown}: {error}")
    yield


def _read(person: Person, name: str, content: bytes, password: str, tell: Callable[[str], object]) -> PagedDocument:
    document = person.library.add(name, content, password, lambda page, pages: tell(f"page {page} of {pages}"))
    person.prepare(document, lambda done, count: tell(f"passage {done} of {count}"))
    person.added(document)
    return document


def _told(
    work: Callable[[Callable[[str], object]], PagedDocument], shown: str, said: Said
) -> Generator[None, None, PagedDocument]:
    """Does the work in a thread and says how far it is."""
    steps: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    done: list[PagedDocument] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work(steps.put))
        except BaseException as error:  # a thread's exception would be lost
            failed.append(error)
        steps.put(None)

    threading.Thread(target=run, daemon=True).start()
    last = 0.0
    while (step := steps.get()) is not None:
        if time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            said[-1] = ("going", f"{shown}: {step}")
            yield
    if failed:
        raise failed[0]
    return done[0]
