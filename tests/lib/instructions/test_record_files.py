"""Files of instruction records: what they are called, what they hold, and how people save tables."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lib.instructions.reading_sources import read_file, reasons

PAIR = {"instruction": "i", "output": "a"}


def saved(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([PAIR])),
        ("a.json", "\ufeff" + json.dumps([PAIR])),
        ("a.json", json.dumps([PAIR]).encode("utf-16")),
        ("a.json", json.dumps({"version": 1, "data": [PAIR]})),
        ("a.json", json.dumps({"examples": [PAIR], "sizes": [1, 2]})),
        ("a.json", json.dumps(PAIR)),  # one record
        ("a.json", json.dumps({"messages": [{"role": "user", "content": "i"}, {"role": "assistant", "content": "a"}]})),
        ("a.json", json.dumps(PAIR) + "\r\n" + json.dumps(PAIR | {"output": ""}) + "\r\n"),  # lines
        ("a.jsonl", json.dumps(PAIR)),  # no line end
        ("a.jsonl", json.dumps([PAIR], indent=1)),  # a list
        ("a.ndjson", "\n" + json.dumps(PAIR) + "\r\n"),
        ("a.csv", "instruction,output\ni,a\n"),
        ("a.csv", "\ufeff\"Instruction\",\"Output\"\r\n\"i\",\"a\"\r\n"),
        ("a.csv", ",Prompt,Completion\n0,i,a"),  # pandas writes its index
        ("a.csv", "question;answer\ni;a\n"),
        ("a.tsv", "question\tanswer\ni\ta\n"),
    ],
)  # fmt: skip
def test_a_pair_is_read_from_every_kind_of_file(tmp_path: Path, name: str, content: str | bytes) -> None:
    kept, dropped = read_file("instructions", saved(tmp_path / name, content))
    assert kept == [("i", "a")]
    assert not dropped or reasons(dropped) == {"no_output": 1}


def test_tables_with_quotes_commas_lines_and_old_letters(tmp_path: Path) -> None:
    text = 'instruction,input,output\n"Say ""hi"", now",,"Hi,\nyou"\nCafé?,n/a,£5\nfew,cells\nx,y,z,too many\nq,,\n'
    kept, dropped = read_file("instructions", saved(tmp_path / "a.csv", text.encode("cp1252")))
    assert kept == [('Say "hi", now', "Hi,\nyou"), ("Café?\n\nn/a", "£5")]
    assert dropped == [(":5", "no_cells"), (":6", "no_cells"), (":7", "no_output")]


def test_a_quote_that_nothing_closes_swallows_no_line(tmp_path: Path) -> None:
    text = 'prompt,completion\n"open,a\nq,b\nr,c\n'
    assert read_file("instructions", saved(tmp_path / "a.csv", text)) == ([('"open', "a"), ("q", "b"), ("r", "c")], [])


def test_several_lists_are_none(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.json", json.dumps({"train": [PAIR], "test": [PAIR]}))
    assert read_file("instructions", file) == ([], [("", "not_a_list")])
    assert read_file("instructions", saved(tmp_path / "b.json", '"text"')) == ([], [("", "not_a_list")])


def test_places_of_a_list_in_an_object(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.json", json.dumps({"data": [PAIR, "text", {"question": "q"}]}))
    assert read_file("instructions", file)[1] == [("[data][1]", "not_an_object"), ("[data][2]", "no_output")]


def test_broken_and_damaged_files(tmp_path: Path) -> None:
    for name, content, reason in (
        ("a.json", "{", "broken_json"),
        ("a.json", b"[\xff]", "invalid_utf8"),
        ("a.parquet", "PAR1 no", "broken_file"),
        ("a.arrow", "no", "broken_file"),
    ):
        kept, dropped = read_file("instructions", saved(tmp_path / name, content))
        assert (kept, reasons(dropped)) == ([], {reason: 1}), name
    kept, dropped = read_file("instructions", saved(tmp_path / "a.csv", ""))
    assert (kept, dropped) == ([], [])


def test_parquet_and_arrow_files_of_datasets(tmp_path: Path) -> None:
    from datasets import Dataset

    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]
    records: list[dict[str, Any]] = [
        {"instruction": "i", "output": "a", "messages": None},
        {"instruction": None, "output": None, "messages": turns},
        {"instruction": "x", "output": "", "messages": None},
    ]
    Dataset.from_list(records).to_parquet(tmp_path / "a.parquet")
    Dataset.from_list(records).save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    for file in (tmp_path / "a.parquet", arrow):
        assert read_file("instructions", file) == ([("i", "a"), ("q", "b")], [("[2]", "no_output")])


def test_white_space_alone_makes_no_other_example(tmp_path: Path) -> None:
    records = [("Say hi.", "Hi."), ("Say  hi.", "Hi.\n"), ("Say hi.", "Hi!"), ("Sayhi.", "Hi.")]
    lines = "\n".join(json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in records)
    kept, dropped = read_file("instructions", saved(tmp_path / "a.jsonl", lines))
    assert kept == [("Say hi.", "Hi."), ("Say hi.", "Hi!"), ("Sayhi.", "Hi.")]
    assert dropped == [(":2", "duplicate")]
