"""Params -> typed sources -> streams: configuration errors, limits, and sources of which nothing comes."""

from pathlib import Path
from typing import Any

import pytest

from stages.lib.corpus.sources import parse_source, read_source, work_of
from stages.lib.reading.documents import Document


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"kind": "file", "patterns": ["*"]},
            r"at\.kind: 'file' is not allowed; one of \['files', 'hub', 'packages'\]",
        ),
        ({"patterns": ["*"]}, r"at\.kind: None is not allowed"),
        ("files", r"at: expected a mapping, found 'files'"),
        ({"kind": "files", "paterns": ["*"]}, r"at\.paterns: unknown key \(did you mean 'patterns'\?\)"),
        ({"kind": "files"}, r"at: missing patterns"),
        ({"kind": "files", "patterns": []}, r"at: patterns: no pattern is given"),
        ({"kind": "files", "patterns": "*.md"}, r"at\.patterns: expected a list, found '\*\.md'"),
        ({"kind": "packages", "names": []}, r"at: names: no package is named"),
        ({"kind": "packages", "names": ["peft"], "min_chars": "300"}, r"at\.min_chars: expected int"),
        ({"kind": "hub", "name": "a/b"}, r"at: revision"),
        ({"kind": "hub", "name": "a/b", "limit": -1}, r"at: limit: -1 is negative"),
        ({"kind": "files", "patterns": ["*"], "limit": -1}, r"at: limit: -1 is negative"),
        ({"kind": "packages", "names": ["peft"], "limit": -1}, r"at: limit: -1 is negative"),
    ],
)
def test_configuration_errors_name_the_key(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_source(content, "at")


def test_a_limit_counts_documents_not_drops(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"text": ""}\n{"text": "a"}\n{"text": ""}\n{"text": "b"}\n{"text": "c"}\n')
    source = parse_source({"kind": "files", "patterns": [f"{tmp_path}/r.jsonl"], "limit": 2}, "at")
    items = list(read_source(source, 100))
    assert [item.text for item in items if isinstance(item, Document)] == ["a", "b"]
    assert len(items) == 4
    assert work_of(source).total is None


def test_a_source_of_which_no_document_comes_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"content": "a"}\n{"content": "b"}\n{\n')
    source = parse_source({"kind": "files", "patterns": [f"{tmp_path}/*.jsonl"]}, "at")
    dropped = r"dropped: 2 no_text \(.*text_key.*\), 1 broken_json"
    with pytest.raises(ValueError, match=rf"no document came of .*r?\.jsonl.*{dropped}"):
        list(read_source(source, 100))


@pytest.mark.parametrize("kind", ["files", "packages", "hub"])
def test_progress_adds_up_to_the_work(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}')
    (tmp_path / "b.md").write_text("b")
    content: dict[str, dict[str, Any]] = {
        "files": {"patterns": [f"{tmp_path}/*"]},
        "packages": {"names": ["accelerate"]},
        "hub": {"name": "json", "data_files": [f"{tmp_path}/a.jsonl"], "limit": 2},
    }
    source = parse_source({"kind": kind, **content[kind]}, "at")
    heard: list[int] = []
    assert list(read_source(source, 1000, heard.append))
    assert work_of(source).total == sum(heard)
