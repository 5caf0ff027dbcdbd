import json
from pathlib import Path

import pytest

from stages.lib.chats.record_files import read_records
from stages.lib.reading.documents import Drop


def test_lists_objects_of_records_and_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"x": 1}, 2]))
    (tmp_path / "b.json").write_text("\ufeff " + json.dumps({"7": {"x": 2}, "8": "no"}))
    (tmp_path / "c.jsonl").write_text('{"x": 3}\n\nbroken\n')
    found = list(read_records([str(tmp_path / "*")]))
    assert [entry[1]["x"] for entry in found if not isinstance(entry, Drop)] == [1, 2, 3]
    drops = {drop.source.rpartition("/")[2]: drop.reason for drop in found if isinstance(drop, Drop)}
    assert drops == {"a.json[1]": "not_an_object", "b.json[8]": "not_an_object", "c.jsonl:3": "broken_json"}


@pytest.mark.parametrize(("content", "reason"), [(b'{"a": {"x"', "broken_json"), (b'{"a": "\xff"}', "invalid_utf8")])
def test_a_broken_file_is_one_drop(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    (drop,) = read_records([str(tmp_path / "a.json")])
    assert isinstance(drop, Drop)
    assert drop.reason == reason


def test_no_pattern_reads_nothing_and_a_pattern_without_a_file_is_an_error(tmp_path: Path) -> None:
    assert list(read_records([])) == []
    with pytest.raises(ValueError, match="matches no file"):
        list(read_records([str(tmp_path / "*.json")]))
