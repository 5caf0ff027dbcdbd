"""The streaming reader, on local data sets: all but the download runs as it does for the hub."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from stages.lib.reading.documents import Document, Drop
from stages.lib.reading.hub import HubSource, read_hub

RECORDS = [{"text": f"text {i}", "source": f"page {i}"} for i in range(5)]


def source(name: Path | str, **fields: Any) -> HubSource:
    return HubSource(kind="hub", name=str(name), **fields)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list(RECORDS).to_parquet(tmp_path / "set/train.parquet")
    datasets.Dataset.from_list(RECORDS[:2]).to_parquet(tmp_path / "set/test.parquet")
    return tmp_path / "set"


def test_a_local_data_set_streams_in_order(dataset: Path) -> None:
    heard: list[int] = []
    items = list(read_hub(source(dataset), 100, heard.append))
    assert items == [Document(f"page {i}", f"text {i}") for i in range(5)]
    assert sum(heard) == 5
    assert len(list(read_hub(source(dataset, split="test"), 100, heard.append))) == 2


def test_a_packaged_reader_with_files_and_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"content": text}) for text in ("one", None, " ", "x" * 101))
    )
    json_source = source("json", data_files=[f"{tmp_path}/*.jsonl"], text_key="content")
    items = list(read_hub(json_source, 100, lambda _: None))
    assert items[0] == Document("json:train[0]", "one")
    assert [item.reason for item in items if isinstance(item, Drop)] == ["no_text", "empty", "too_long"]


@pytest.mark.parametrize("revision", ["", "master", "6cee5e8", "6CEE5E81ee83917806bbde320786a8fb61efebee"])
def test_a_data_set_on_the_hub_needs_a_commit_hash(revision: str) -> None:
    with pytest.raises(ValueError, match=r"revision: .* is no commit hash"):
        source("m-ric/huggingface_doc", revision=revision)
    source("m-ric/huggingface_doc", revision="0" * 40)
    with pytest.raises(ValueError, match="data_files"):
        source("json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text_key": "content"}, r"no column 'content'; there are \['source', 'text'\]"),
        ({"split": "tran"}, "after 0 records of 'tran': Bad split"),
        ({"config": "none"}, "BuilderConfig 'none' not found"),
        ({"data_files": ["none.parquet"]}, "none.parquet"),
    ],
)
def test_what_is_not_there_is_an_error_at_the_call(dataset: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_hub(source(dataset, **fields), 100, lambda _: None)


def test_a_broken_record_stops_the_run_and_is_located(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": \n{"text": "b"}')
    with pytest.raises(ValueError, match="data set 'json', after 0 records of 'train': "):
        list(read_hub(source("json", data_files=[f"{tmp_path}/a.jsonl"]), 100, lambda _: None))
