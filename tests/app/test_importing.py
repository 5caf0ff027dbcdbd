"""Uploaded files into a person's library, and what is said of each; each person has their own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from app.importing import import_files, open_locked
from app.page_view import Drawings, shown_page
from app.people import People, Person, is_token, new_token
from app.settings import Searching, open_searching
from app.turn_view import messages_html
from stages.lib.retrieval.systems import Choice
from tests.made_pdf import lined_pdf, paragraphs_pdf

LOCKED: dict[str, Any] = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": "sesame", "owner_pw": "owner"}


@pytest.fixture(scope="module")
def searching() -> Iterator[Searching]:
    with open_searching() as opened:
        choice = Choice("fused", "minilm-l6", "", "for the test")
        yield replace(opened, choice=choice, settings=replace(opened.settings, max_file_mb=1, max_pages=30))


@pytest.fixture
def people(searching: Searching, tmp_path: Path) -> People:
    return People(tmp_path / "libraries", searching)


@pytest.fixture
def person(people: People) -> Person:
    return people.get(new_token())


def uploaded(tmp_path: Path, **contents: bytes) -> list[tuple[Path, str]]:
    files = []
    for name, content in contents.items():
        place = tmp_path / "uploads" / f"hash-{name}" / name
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
        files.append((place, name.replace("_", ".")))
    return files


def test_progress_is_told_by_page_and_uploads_are_deleted(person: Person, tmp_path: Path) -> None:
    said: list[list[tuple[str, str]]] = []
    pages = [f"Page {i} is about apples and pears." for i in range(20)]
    files = uploaded(tmp_path, a_pdf=paragraphs_pdf(*pages))
    for _ in import_files(person, files):
        said += [list(one) for one in person.said]
    assert said[0] == [("going", "a.pdf: reading")]
    assert any("page " in text and "of 20" in text for one in said for kind, text in one if kind == "going")
    assert said[-1] == [("good", "a.pdf: 20 pages")]
    assert list((tmp_path / "uploads").iterdir()) == []
    assert [document.name for document in person.documents] == ["a.pdf"]


def test_a_file_that_breaks_does_not_take_the_others_along(person: Person, tmp_path: Path) -> None:
    files = uploaded(
        tmp_path,
        broken_pdf=paragraphs_pdf("Words.")[:150],
        empty_pdf=b"",
        long_pdf=lined_pdf(*[[(72, 72, "x")]] * 31),
        large_txt=b"x" * 1_000_001,
        latin_txt="ä".encode("latin-1"),
        other_docx=b"PK",
        good_md=b"Apples ripen in October.",
    )
    list(import_files(person, files, refused=[{"name": "huge.pdf", "large": True}, {"name": "../lost.pdf"}]))
    said = dict(text.split(": ", 1) for _, text in person.said[0])
    assert "damaged" in said["broken.pdf"] and "it is empty" in said["empty.pdf"]
    assert "31 pages; the limit is 30" in said["long.pdf"]
    assert "1 MB" in said["large.txt"] and "1 MB" in said["huge.pdf"]
    assert "could not be sent" in said["lost.pdf"]
    assert "UTF-8" in said["latin.txt"] and "neither a PDF" in said["other.docx"]
    assert said["good.md"] == "1 page"
    assert [kind for kind, _ in person.said[0]].count("bad") == 8
    assert [document.name for document in person.documents] == ["good.md"]
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_locked_file_waits_for_its_password(person: Person, tmp_path: Path) -> None:
    list(import_files(person, uploaded(tmp_path, a_pdf=paragraphs_pdf("Apples.", **LOCKED))))
    assert "type its password" in messages_html(person.said) and list(person.locked) == ["a.pdf"]
    list(open_locked(person, "wrong"))
    assert "does not open it" in messages_html(person.said) and person.documents == []
    list(open_locked(person, "sesame"))
    assert person.locked == {} and [document.name for document in person.documents] == ["a.pdf"]
    [document] = person.documents
    assert "data:image/png" in shown_page(person, document.sha256, 1, None, Drawings())


def test_what_other_imports_say_stays_while_they_go_on(person: Person, tmp_path: Path) -> None:
    first = import_files(person, uploaded(tmp_path, a_txt=b"Apples."))
    next(first)
    list(import_files(person, uploaded(tmp_path, b_txt=b"Pears.")))
    assert [text for said in person.said for _, text in said] == ["a.txt: reading", "b.txt: 1 page"]
    list(first)
    list(import_files(person, uploaded(tmp_path, c_txt=b"Plums.")))
    assert [text for said in person.said for _, text in said] == ["c.txt: 1 page"]


def test_each_person_has_a_library_that_no_other_token_opens(people: People, tmp_path: Path) -> None:
    alice, bob = (people.get(new_token()) for _ in range(2))
    list(import_files(alice, uploaded(tmp_path, a_txt=b"The code is 7741.")))
    [document] = alice.documents
    assert bob.documents == []
    for use in (bob.document, bob.remove, bob.library.content):
        with pytest.raises(KeyError):
            use(document.sha256)
    assert "no longer in your library" in shown_page(bob, document.sha256, 1, None, Drawings())
    assert alice.documents == [document]


def test_a_restart_finds_the_documents_and_removing_leaves_nothing(
    people: People, searching: Searching, tmp_path: Path
) -> None:
    token = new_token()
    list(import_files(people.get(token), uploaded(tmp_path, a_pdf=paragraphs_pdf("Apples ripen in October."))))
    again = People(tmp_path / "libraries", searching).get(token)
    [document] = again.documents
    assert again.index().find("When do apples ripen?").hits
    again.remove(document.sha256)
    assert again.documents == []
    assert [path for path in (tmp_path / "libraries").rglob("*") if path.is_file()] == []
    with pytest.raises(ValueError, match="no document"):
        again.index()


@pytest.mark.parametrize("token", [None, "", "a", "../../x", "a" * 42, "a" * 44, {"path": "x"}, 7])
def test_what_is_no_token_is_nobody(people: People, token: Any) -> None:
    assert not is_token(token)
    with pytest.raises(ValueError, match="reload the page"):
        people.get(token)


def test_a_token_is_not_kept_on_the_disk(people: People, tmp_path: Path) -> None:
    token = new_token()
    list(import_files(people.get(token), uploaded(tmp_path, a_txt=b"Apples.")))
    assert not any(token in str(path) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_marks_lie_on_their_words_on_a_rotated_page_too(person: Person, tmp_path: Path, rotation: int) -> None:
    content = lined_pdf([(72, 100, "Apples ripen in October.")], rotation=rotation)
    list(import_files(person, uploaded(tmp_path, a_pdf=content)))
    [document] = person.documents
    span = document.page_spans(0, 6)[0]
    quote = {"rectangles": document.rectangles(span), "start": 0, "end": 6}
    html = shown_page(person, document.sha256, 1, quote, Drawings())
    style = html.split('class="mark" style="')[1].split('"')[0]
    left, top, width, height = (float(part.split(":")[1].rstrip("%")) / 100 for part in style.split(";"))
    assert black_share(content, left, top, width, height) > 0.05
    assert black_share(content, 0.4, 0.4, 0.2, 0.2) == 0


def black_share(content: bytes, *share: float) -> float:
    """How much of a part of the drawn page is black."""
    left, top, width, height = share
    with pymupdf.open(stream=content) as document:
        picture = document[0].get_pixmap(colorspace=pymupdf.csGRAY)
    rows = range(int(top * picture.height), int((top + height) * picture.height))
    columns = range(int(left * picture.width), int((left + width) * picture.width))
    dark = [bool(picture.pixel(x, y)[0] < 128) for y in rows for x in columns]
    return sum(dark) / max(1, len(dark))


def test_a_text_file_is_shown_around_what_is_marked(person: Person, tmp_path: Path) -> None:
    text = "x" * 9000 + "Apples & pears." + "y" * 9000
    list(import_files(person, uploaded(tmp_path, a_txt=text.encode())))
    [document] = person.documents
    html = shown_page(person, document.sha256, 1, {"start": 9000, "end": 9015}, Drawings())
    assert '<mark class="mark">Apples &amp; pears.</mark>' in html
    assert html.count("x") < 5000 and html.count("…") == 2


@pytest.mark.parametrize("number", [0, -1, 99])
def test_a_page_that_is_not_there_is_a_message(person: Person, tmp_path: Path, number: int) -> None:
    list(import_files(person, uploaded(tmp_path, a_pdf=paragraphs_pdf("Apples."))))
    [document] = person.documents
    assert "cannot be drawn" in shown_page(person, document.sha256, number, None, Drawings())
