"""`python -m app ask` and `index`: JSON, messages that name the file, exit codes."""

import json
import sys
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from app.__main__ import main
from tests.graph import ROOT
from tests.made_pdf import paragraphs_pdf

PAPER = paragraphs_pdf(
    "The reactor was built in Bergen in 1974. Its cooling water comes from\nthe fjord, 12 litres per second.",
    "Der Reaktor wurde 1990 stillgelegt. Die Brennelemente lagern seitdem in Oslo.",
)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "prompts.yaml", "metrics"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper.pdf").write_bytes(PAPER)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str:
    monkeypatch.setattr(sys, "argv", ["app", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    code: int | str = caught.value.code or 0
    return code


def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, int | str]:
    code = run(monkeypatch, "ask", "--model", "none", *arguments)
    out = capsys.readouterr().out
    return json.loads(out) if out else None, code


def test_an_answer_quotes_the_page_verbatim(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    found, code = ask(monkeypatch, capsys, "paper.pdf", "Where does the cooling water come from?")
    assert (code, found["answerable"], found["nearest"]) == (0, True, [])
    first = found["citations"][0]
    assert (first["document"], first["page"]) == ("paper.pdf", 1)
    assert first["quote"] == "Its cooling water comes from\nthe fjord, 12 litres per second."
    with pymupdf.open("paper.pdf") as document:
        shown = " ".join(document[0].get_textbox(pymupdf.Rect(box)) for box in first["rectangles"])
    assert shown.split() == first["readable"].split()


def test_a_german_page_answers_a_german_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found, code = ask(monkeypatch, capsys, "paper.pdf", "Wann wurde der Reaktor stillgelegt?")
    assert code == 0
    assert found["citations"][0]["quote"] == "Der Reaktor wurde 1990 stillgelegt."
    assert found["citations"][0]["page"] == 2


def test_a_foreign_question_is_not_answered_and_the_nearest_passages_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found, code = ask(monkeypatch, capsys, "paper.pdf", "Which actor plays the lead role in the latest superhero film?")
    assert (code, found["answerable"], found["citations"]) == (3, False, [])
    assert found["nearest"]


def test_several_files_are_searched_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    (project / "notes.md").write_text("# Notes\n\nThe bakery opens at six in the morning and sells rye bread.")
    found, _ = ask(monkeypatch, capsys, "paper.pdf", "notes.md", "When does the bakery open?")
    assert found["citations"][0]["document"] == "notes.md" and found["citations"][0]["rectangles"] == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pdf", None, "app: gone.pdf: no such file"),
        ("empty.pdf", b"", "app: empty.pdf: empty: the file has no bytes"),
        (
            "a.docx",
            b"PK\x03\x04",
            "app: a.docx: unknown_file_type: it is no PDF, and its name does not end in .txt or .md",
        ),
        ("broken.pdf", b"%PDF-1.7 and no more", "app: broken.pdf: broken_pdf: "),
        ("scan.pdf", paragraphs_pdf("", ""), "app: scan.pdf: no_text: none of its 2 pages holds text; scans need OCR"),
        (
            "locked.pdf",
            paragraphs_pdf("s", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u"),
            "app: locked.pdf: encrypted_pdf: a password is needed; give it with --password",
        ),
    ],
)
def test_what_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, project: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (project / name).write_bytes(content)
    for command in (["ask", name, "What?"], ["index", name]):
        code = run(monkeypatch, *command)
        assert isinstance(code, str) and code.startswith(message)


def test_index_reads_ahead_and_names_pages_without_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    (project / "half.pdf").write_bytes(paragraphs_pdf("Words on the first page.", "", "And on the third."))
    assert run(monkeypatch, "index", "half.pdf") == 0
    out = capsys.readouterr().out
    assert out.startswith("half.pdf: 3 pages, no text on page 2 (a scan?), ready in ")


def test_wrong_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch) == 2
    assert run(monkeypatch, "ask", "paper.pdf") == 2
    assert run(monkeypatch, "ask", "paper.pdf", " ") == "app: the question is empty"
    assert "no model 'nothing' under models:" in str(run(monkeypatch, "ask", "--model", "nothing", "paper.pdf", "Why?"))
