"""Files of every kind, good and broken."""

import json
from pathlib import Path

import pytest

from stages.lib.corpus.files import FilesSource, files_size, read_files
from stages.lib.reading.documents import Document, DocumentOrDrop, Drop
from stages.lib.reading.json_records import json_records
from stages.lib.reading.patterns import matched_files


def read(*patterns: Path | str, max_chars: int = 1000, **fields: str) -> list[DocumentOrDrop]:
    source = FilesSource(kind="files", patterns=[str(pattern) for pattern in patterns], **fields)  # type: ignore[arg-type]
    return list(read_files(source, max_chars, lambda _: None))


def test_text_files_are_whole_documents_in_the_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.md", "sub/a.mdx", "a.txt", "C.MD"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf# " + name.encode() + b"\r\n")
    items = read(tmp_path / "**/*", tmp_path / "b.md")
    assert items == [Document(f"{tmp_path}/{name}", f"# {name}\n") for name in ("C.MD", "a.txt", "b.md", "sub/a.mdx")]


def test_every_broken_file_is_a_drop_of_its_own_and_the_good_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "good.md").write_text("good")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "long.md").write_text("x" * 1001)
    (tmp_path / "longer.md").write_text("x" * 5000)
    (tmp_path / "none").write_text("x")
    items = read(tmp_path / "*")
    assert [item.text for item in items if isinstance(item, Document)] == ["good"]
    reasons = {Path(item.source).name: item.reason for item in items if isinstance(item, Drop)}
    assert reasons == {
        "bad.txt": "invalid_utf8",
        "empty.md": "empty",
        "image.png": "unknown_file_type",
        "long.md": "too_long",
        "longer.md": "too_long",
        "none": "unknown_file_type",
    }


def test_jsonl_records_good_and_broken(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    lines = [
        b'{"source": "page", "text": "first"}',
        b'{"source": "page", "text": "sec',
        b"",
        b'{"source": "no text"}',
        b'{"text": null}',
        b'{"text": "  "}',
        b'["text"]',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'{"n": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        json.dumps({"text": "y" * 1001}).encode(),
        b'{"text": "last", "source": 3}',
    ]
    path.write_bytes(b"\n".join(lines))
    items = read(path)
    assert [item for item in items if isinstance(item, Document)] == [
        Document("page", "first"),
        Document(f"{path}:13", "last"),
    ]
    assert [(item.source, item.reason) for item in items if isinstance(item, Drop)] == [
        (f"{path}:2", "broken_json"),
        (f"{path}:4", "no_text"),
        (f"{path}:5", "no_text"),
        (f"{path}:6", "empty"),
        (f"{path}:7", "not_an_object"),
        (f"{path}:8", "invalid_utf8"),
        (f"{path}:9", "invalid_unicode"),
        (f"{path}:10", "broken_json"),
        (f"{path}:11", "broken_json"),
        (f"{path}:12", "too_long"),
    ]
    assert '"text": "sec' in next(item.detail for item in items if isinstance(item, Drop))


def test_other_keys_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"url": "u", "content": "c", "text": "t"}')
    assert read(tmp_path / "r.jsonl", text_key="content", source_key="url") == [Document("u", "c")]


def test_a_json_list_is_read_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"text": "a"}, 5, {"text": "b", "source": "s"}]))
    items = read(path)
    assert [item.source for item in items] == [f"{path}[0]", f"{path}[1]", "s"]
    assert items[1] == Drop(f"{path}[1]", "not_an_object", "expected a JSON object, found int")
    path.write_text('{"text": "a"}')
    assert isinstance(item := read(path)[0], Drop)
    assert (item.source, item.reason) == (str(path), "not_a_list")
    path.write_text("[1,")
    assert isinstance(item := read(path)[0], Drop)
    assert item.reason == "broken_json"


def test_an_overlong_line_is_dropped_without_being_held_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "' + "x" * 3_000_000 + '"}\n{"text": "next"}\n' + "y" * 2000)
    heard: list[int] = []
    found = list(json_records(path, 1000, heard.append))
    assert [item if isinstance(item, tuple) else (item.source, item.reason) for item in found] == [
        (f"{path}:1", "too_long"),
        (f"{path}:2", {"text": "next"}),
        (f"{path}:3", "too_long"),
    ]
    assert sum(heard) == path.stat().st_size


def test_a_pattern_that_matches_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "directory.md").mkdir()
    with pytest.raises(ValueError, match=r"patterns\[0\]: '.*\*\.md' matches no file"):
        read(tmp_path / "*.md")


def test_relative_patterns_name_documents_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/a.md").write_text("a")
    assert read("docs/*.md") == [Document("docs/a.md", "a")]
    assert matched_files(["docs/*.md", "docs/a.*"]) == [Path("docs/a.md")]
    assert files_size(FilesSource(kind="files", patterns=["docs/*"])) == 1
