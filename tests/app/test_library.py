"""A user's documents: read once, found again, kept whole or not at all, never under a name that came with a file."""

import json
from pathlib import Path

import pymupdf
import pytest

import app.library
from app.library import Library, shown_name
from stages.lib.reading.documents import BrokenInputError
from tests.made_pdf import paragraphs_pdf

PDF = paragraphs_pdf("First page.", "Second page.")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library", max_bytes=100_000, max_pages=5)


def files(place: Path) -> list[str]:
    return sorted(str(file.relative_to(place)) for file in place.rglob("*") if file.is_file())


def test_the_same_bytes_are_not_read_again_and_a_restart_finds_them(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[tuple[int, int]] = []
    first = library.add("paper.pdf", PDF, on_page=lambda page, of: pages.append((page, of)))
    assert pages == [(1, 2), (2, 2)]
    reader = json.loads((tmp_path / "library" / first.sha256 / "document.json").read_text())["reader"]
    monkeypatch.setattr(app.library, "_reader", lambda: reader)
    monkeypatch.setattr(app.library, "read_pdf", lambda *_: pytest.fail("read again"))
    again = Library(tmp_path / "library", 100_000, 5)
    assert again.add("another name.pdf", PDF).text == first.text
    assert [document.name for document in again.documents()] == ["paper.pdf"]
    assert again.content(first.sha256) == PDF


def test_it_is_read_again_when_the_reading_code_changes(library: Library, tmp_path: Path) -> None:
    document = library.add("paper.pdf", PDF)
    file = tmp_path / "library" / document.sha256 / "document.json"
    stored = json.loads(file.read_text()) | {"reader": "another code"}
    stored["pages"][0]["text"] = "as the other code read it"
    file.write_text(json.dumps(stored))
    assert library.documents()[0].text == document.text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\a.pdf", "a.pdf"),
        ("C:\\Users\\x\\b.pdf", "b.pdf"),
        ("/abs/olute.pdf", "olute.pdf"),
        ("a\x00b\n.pdf", "ab.pdf"),
        ("..", ".."),
        ("", "unnamed"),
        ("<img src=x onerror=alert(1)>.pdf", "<img src=x onerror=alert(1)>.pdf"),
        ("ü" * 300 + ".pdf", "ü" * 116 + ".pdf"),
    ],
)
def test_a_files_name_is_for_showing_and_never_becomes_a_path(
    library: Library, tmp_path: Path, name: str, shown: str
) -> None:
    assert shown_name(name) == shown
    document = library.add(name, PDF)
    assert document.name == shown
    assert files(tmp_path) == [f"library/{document.sha256}/content", f"library/{document.sha256}/document.json"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"", "empty"),
        ("a.pdf", b"not a pdf", "unknown_file_type"),
        ("a.exe", b"MZ\x00\x01", "unknown_file_type"),
        ("a.pdf", b"%PDF-1.7 nothing of the kind", "broken_pdf"),
        ("a.pdf", PDF[: len(PDF) // 3], "broken_pdf"),
        ("a.txt", b"\xff\xfd", "invalid_utf8"),
        ("a.pdf", paragraphs_pdf("", ""), "no_text"),
        ("a.pdf", paragraphs_pdf(*"abcdef"), "too_many_pages"),
        ("a.pdf", b"%PDF-" + b"x" * 200_000, "too_large"),
        ("a.pdf", paragraphs_pdf("s", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u"), "encrypted_pdf"),
    ],
)
def test_what_cannot_be_read_is_refused_and_leaves_nothing(
    library: Library, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(BrokenInputError) as caught:
        library.add(name, content)
    assert caught.value.reason == reason
    assert files(tmp_path) == [] and library.documents() == []


def test_an_encrypted_pdf_opens_by_its_password_and_later_without(library: Library) -> None:
    content = paragraphs_pdf("Secret words.", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    with pytest.raises(BrokenInputError, match="wrong_password"):
        library.add("a.pdf", content, "x")
    document = library.add("a.pdf", content, "u")
    with pymupdf.open(stream=library.content(document.sha256)) as opened:
        assert not opened.needs_pass and "Secret words." in opened[0].get_text()


def test_a_kill_in_the_middle_leaves_nothing(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", dies)
    with pytest.raises(KeyboardInterrupt):
        library.add("a.pdf", PDF)
    assert files(tmp_path) == []


def test_removed_is_gone_and_unknown_names_are_refused(library: Library, tmp_path: Path) -> None:
    document = library.add("a.txt", "Some words. Größe.".encode())
    for wrong in ("../" + document.sha256, "", "/etc", document.sha256[:-1], "0" * 64):
        with pytest.raises(KeyError):
            library.content(wrong)
        with pytest.raises(KeyError):
            library.remove(wrong)
    library.remove(document.sha256)
    assert files(tmp_path) == []
