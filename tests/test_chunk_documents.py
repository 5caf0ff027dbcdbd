"""Documents as people have them, from the file to the chunks: the kinds of ../shared/cases/documents, made here."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import regex
import yaml

from stages.chunk import Tally, dropped_lines, main
from stages.lib.core.chunk_places import text_in
from stages.lib.core.metrics import read_results
from stages.lib.core.records import Record, read_jsonl
from stages.lib.qa.topics import topic_phrase
from stages.lib.reading.documents import Drop
from tests.made_pdf import lined_pdf, paragraphs_pdf
from tests.params_of import section

TABLE = "# T\n\n| Name | Default | Meaning |\n|---|---|---|\n" + "".join(
    f"| option_{i} | {i} | what option number {i} does to the run of the program |\n" for i in range(60)
)
MDX = """---
title: "Intro"
sidebar: 3
---
import Tabs from "@theme/Tabs"

<Tabs>
  <TabItem value="py">

```python
# not a heading
print("x")
```

  </TabItem>
</Tabs>

# Real heading

text text.
"""
FILES: dict[str, str | bytes] = {
    "bom.md": b"\xef\xbb\xbf# Title\r\n\r\nBody with CRLF.\r\n",
    "cp1252.txt": b"Caf\xe9 \x93quotes\x94 from Windows, 100 pages of good text.",
    "damaged.pdf": paragraphs_pdf(*["A page of text."] * 5).replace(b"/Kids", b"/Kidz"),
    "dupkey.jsonl": '{"source": "a", "text": "x", "text": "second wins"}\n',
    "emoji.txt": "👩🏽\u200d💻👨🏿\u200d🚒🇩🇪🇫🇷✊🏾1\ufe0f\u20e3" * 120,
    "front.mdx": MDX,
    "hindi.txt": "क्षत्रिय" * 300,
    "nb.ipynb": '{"cells": [{"cell_type": "markdown", "source": ["# T\\n", "text"]}], "nbformat": 4}',
    "nosource.jsonl": '{"text": "The default of alpha is 16."}\n{"text": "second text"}\n',
    "nul.txt": "words\0 with\0 NULs",
    "numsource.jsonl": '{"source": 5, "text": "number"}\n{"source": "", "text": "no"}\n{"text": 7}\n{"text": ["a"]}\n',
    "object.json": '{"data": [{"text": "abc", "source": "s"}]}',
    "paper.pdf": lined_pdf([(72, 100, "Our first exam-"), (72, 114, "ple is shown.")]),
    "table.md": TABLE,
    "utf16.txt": "Grüße aus Köln".encode("utf-16"),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with all the files in `documents`, as the current directory."""
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        path = tmp_path / "documents" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def run(**chunk: Any) -> dict[str, Any]:
    sources = [{"kind": "files", "patterns": ["documents/**/*"]}]
    Path("params.yaml").write_text(yaml.safe_dump({"chunk": section("chunk", **{"sources": sources} | chunk)}))
    main()
    metrics: dict[str, Any] = read_results("chunk")
    return metrics


def output(name: str) -> list[Record]:
    return read_jsonl(Path(f"data/chunks/{name}.jsonl"))


def texts() -> dict[str, str]:
    return {document["source"].removeprefix("documents/"): document["text"] for document in output("documents")}


def test_no_file_ends_the_run_and_what_is_dropped_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run()
    assert metrics["documents"] == {
        "in": 19,
        "kept": 13,
        "dropped": {"broken_pdf": 1, "invalid_utf8": 1, "no_text": 2, "not_a_list": 1, "unknown_file_type": 1},
    }
    said = capsys.readouterr().out
    assert "dropped documents, all in data/chunks/dropped.jsonl" in said
    for place in ("cp1252.txt: byte 3", "damaged.pdf", "nb.ipynb: .ipynb", "numsource.jsonl:3: expected a string"):
        assert f"    documents/{place}" in said
    assert "documents/object.json: expected a list of records, found an object with 'data'; give the list" in said
    assert "iconv -f CP1252" in said


def test_texts_are_what_a_person_reads(project: Path) -> None:
    run()
    found = texts()
    assert found["bom.md"] == "# Title\n\nBody with CRLF.\n"
    assert found["a"] == "second wins"  # as every reader of JSON has it
    assert found["nul.txt"] == "words with NULs"
    assert found["utf16.txt"] == "Grüße aus Köln"
    assert found["paper.pdf"] == "Our first example\nis shown."
    assert (
        "import" not in found["front.mdx"] and "Tab" not in found["front.mdx"] and "sidebar" not in found["front.mdx"]
    )
    assert "# not a heading" in found["front.mdx"] and found["front.mdx"].endswith("# Real heading\n\ntext text.\n")


@pytest.mark.parametrize("splitter", ["chars", "recursive", "markdown"])
@pytest.mark.parametrize("chunk_chars", [20, 100, 700])
def test_offsets_headers_headings_and_clusters(project: Path, splitter: str, chunk_chars: int) -> None:
    run(splitter=splitter, chunk_chars=chunk_chars)
    documents = {document["id"]: document["text"] for document in output("documents")}
    whole = {name: {0, *(m.end() for m in regex.finditer(r"\X", text))} for name, text in documents.items()}
    chunks = output("chunks")
    for chunk in chunks:
        assert chunk["text"] == text_in(documents[chunk["document"]], chunk)
        assert len(chunk["text"]) <= chunk_chars
        assert {chunk["start"], chunk["end"]} <= whole[chunk["document"]]
        if chunk["source"].endswith("table.md"):
            assert chunk["heading"] == "T"
            assert chunk_chars < 150 or "| Name | Default | Meaning |" in chunk["text"]
            assert chunk_chars < 150 or splitter == "chars" or chunk["text"].endswith("|")
    assert not any("not a heading" in chunk["heading"] for chunk in chunks)
    by_source = {chunk["source"].removeprefix("documents/"): chunk["heading"] for chunk in chunks}  # the last one's
    assert (by_source["bom.md"], by_source["nul.txt"], by_source["paper.pdf"]) == ("Title", "", "")


def test_records_without_a_source_are_named_by_their_place_and_have_no_topic(project: Path) -> None:
    run()
    places = [f"documents/{name}" for name in ("nosource.jsonl:1", "nosource.jsonl:2", "numsource.jsonl:1")]
    found = [document["source"] for document in output("documents")]
    assert [*places, "documents/numsource.jsonl:2"] == [source for source in found if "source.jsonl" in source]
    assert {topic_phrase(place) for place in places} == {""}


def test_the_readme_of_the_folder_is_no_document_but_a_users_own_is(project: Path) -> None:
    ours = (Path(__file__).parents[1] / "documents/README.md").read_bytes()
    (project / "documents/README.md").write_bytes(ours)
    (project / "documents/sub").mkdir()
    (project / "documents/sub/README.md").write_text("My own page.")
    run()
    assert "README.md" not in texts()
    assert texts()["sub/README.md"] == "My own page."
    (project / "documents/README.md").write_text("My page in place of theirs.")
    run()
    assert texts()["README.md"] == "My page in place of theirs."
    (project / "documents/README.md").write_bytes(ours)
    with pytest.raises(ValueError, match=r"matches no file but documents/README\.md, which comes with the project"):
        run(sources=[{"kind": "files", "patterns": ["documents/*E.md"]}])


def test_a_file_that_the_system_does_not_read_is_a_drop(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "bom.md":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    (project / "documents/gone.json").write_text("[]")
    assert run()["documents"]["dropped"]["unreadable_file"] == 1
    assert {"source": "documents/bom.md", "reason": "unreadable_file", "detail": "Permission denied"} in output(
        "dropped"
    )


def test_links_in_a_circle_give_each_file_once(project: Path) -> None:
    before = run()["documents"]
    (project / "documents/loop").symlink_to(project / "documents")
    (project / "documents/dangling.md").symlink_to("nowhere")
    assert run()["documents"] == before


def test_many_drops_of_one_reason_are_counted_and_a_few_shown() -> None:
    tally = Tally()
    for i in range(1200):
        tally.drop(Drop(f"{i}.txt", "empty", "x" * 500))
    lines = dropped_lines(tally)
    assert lines[1] == "  empty: 1,200"
    assert [line.split(":")[0].strip() for line in lines[2:]] == ["0.txt", "1.txt", "2.txt", "... and 1,197 more"]
    assert all(len(line) < 250 for line in lines)
    assert dropped_lines(Tally()) == []


@pytest.mark.real_data
@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA is not set")
def test_the_cases_as_they_were_filed(project: Path) -> None:
    cases = Path(os.environ["LLMILL_REAL_DATA"]).parent / "cases/documents"
    for case in cases.iterdir():
        (project / "documents" / case.name).write_bytes(case.read_bytes())
    metrics = run()
    dropped = {"broken_pdf": 1, "invalid_utf8": 1, "no_text": 2, "not_a_list": 1, "unknown_file_type": 1}
    assert metrics["documents"]["dropped"] == dropped
    documents = {document["id"]: document["text"] for document in output("documents")}
    for chunk in output("chunks"):
        assert chunk["text"] == text_in(documents[chunk["document"]], chunk)
        assert regex.fullmatch(r"\X+", chunk["text"])
    assert json.loads((cases / "object.json").read_text())["data"]
    assert re.search("Parameters: 44570000", "".join(documents.values()))
