"""Data sets of the hub from one on loopback, each time by a process of its own."""

import gzip
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_client import ROOT, environment, last_line, parquet, run
from tests.local_hub import TOKEN, LocalHub

READ = """
import json, sys
from stages.lib.corpus.sources import parse_source, read_source
for item in read_source(parse_source(json.loads(sys.argv[1]), "sources[2]"), 100_000):
    print(json.dumps([item.source, getattr(item, "text", None)]))
"""
FINEWEB = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*/*
- config_name: sample-10BT
  data_files:
  - split: train
    path: sample/10BT/*
- config_name: CC-MAIN-2024-10
  data_files:
  - split: train
    path: data/CC-MAIN-2024-10/*
---
# As HuggingFaceFW/fineweb-edu describes itself
"""


def fineweb(first: int, pages: int = 4) -> bytes:
    """A parquet file of FineWeb-Edu's columns, in row groups of two."""
    numbers = range(first, first + pages)
    return parquet(
        {
            "text": [f"Page {i} tells of the moon. " * 20 for i in numbers],
            "id": [f"<urn:uuid:{i:08}>" for i in numbers],
            "dump": ["CC-MAIN-2024-10"] * pages,
            "url": [f"https://example.org/{i}" for i in numbers],
            "file_path": ["s3://commoncrawl/crawl-data/x.warc.gz"] * pages,
            "language": ["en"] * pages,
            "language_score": [0.95] * pages,
            "token_count": [140] * pages,
            "score": [2.6] * pages,
            "int_score": [3] * pages,
        }
    )


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "repositories", page=4) as hub:
        yield hub


@pytest.fixture
def edu(hub: LocalHub) -> str:
    files = {f"sample/10BT/00{i}_00000.parquet": fineweb(4 * i) for i in range(3)}
    files |= {f"data/CC-MAIN-2024-{dump}/train-00000.parquet": fineweb(900 + dump) for dump in (10, 18)}
    return hub.add("datasets", "org/fineweb-edu", {"README.md": FINEWEB, ".gitattributes": "x", **files})


def read(
    hub: LocalHub, tmp_path: Path, env: dict[str, str] | None = None, **fields: Any
) -> "subprocess.CompletedProcess[str]":
    source = json.dumps({"kind": "hub"} | fields)
    return run(["-c", READ, source], tmp_path, environment(hub.url, tmp_path / "home", **(env or {})))


def texts(result: "subprocess.CompletedProcess[str]") -> list[str]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line)[1].strip().split(" tells")[0] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_configuration_of_several_files_is_read_in_order(
    hub: LocalHub, edu: str, tmp_path: Path, streaming: bool
) -> None:
    fields: dict[str, Any] = {
        "name": "org/fineweb-edu",
        "revision": edu,
        "config": "sample-10BT",
        "streaming": streaming,
    }
    result = read(hub, tmp_path, **fields)
    assert texts(result) == [f"Page {i}" for i in range(12)]
    assert json.loads(result.stdout.splitlines()[5])[0] == f"org/fineweb-edu@{edu[:12]}:train[5]"
    assert not [
        asked for asked in hub.asked if "CC-MAIN" in asked.path and asked.method == "GET" and "tree" not in asked.path
    ]
    kept = {file.name for file in (tmp_path / "home").rglob("*.parquet")}
    assert len(kept) == (0 if streaming else 3)
    if not streaming:
        assert "sources[2]: org/fineweb-edu at" in result.stderr and "sample-10BT, train: 3 files" in result.stderr
        asked = len(hub.asked)
        for more in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
            assert texts(read(hub, tmp_path, more, **fields)) == texts(result)
        assert len(hub.asked) == asked
    else:
        line = last_line(read(hub, tmp_path, {"HF_ENDPOINT": "http://127.0.0.1:9"}, **fields))
        assert line.startswith(f"sources[2]: data set 'org/fineweb-edu' at {edu} is not (whole) in")


def test_no_more_files_come_than_are_read(hub: LocalHub, edu: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"name": "org/fineweb-edu", "revision": edu, "config": "sample-10BT"}
    assert texts(read(hub, tmp_path, **fields, limit=6)) == [f"Page {i}" for i in range(6)]
    assert len(list((tmp_path / "home").rglob("*.parquet"))) == 2
    line = last_line(read(hub, tmp_path, {"HF_HUB_OFFLINE": "1"}, **fields))  # the third is missing
    assert "sources[2]: data set 'org/fineweb-edu'" in line and "HF_HUB_OFFLINE is set" in line


@pytest.mark.slow
def test_a_broken_transfer_of_a_data_file_goes_on(hub: LocalHub, edu: str, tmp_path: Path) -> None:
    hub.faults.cut["sample/10BT/001_00000.parquet"] = [1000, 500]
    hub.faults.corrupt["sample/10BT/002_00000.parquet"] = 1
    result = read(hub, tmp_path, name="org/fineweb-edu", revision=edu, config="sample-10BT")
    assert texts(result) == [f"Page {i}" for i in range(12)]
    hub.faults.corrupt["data/CC-MAIN-2024-10/train-00000.parquet"] = 9
    result = read(hub, tmp_path, name="org/fineweb-edu", revision=edu, config="CC-MAIN-2024-10")
    assert "came twice with the hash" in last_line(result)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_what_the_hub_does_not_have_or_give(hub: LocalHub, edu: str, tmp_path: Path, streaming: bool) -> None:
    good = {"name": "org/fineweb-edu", "revision": edu, "streaming": streaming}
    hub.add("datasets", "org/gated", {"a.jsonl": '{"text": "a secret"}'}, "1" * 40)
    hub.gated["org/gated"] = 403
    gated = {"name": "org/gated", "revision": "1" * 40}
    for fields, env, says in (
        ({"revision": "0" * 40}, {}, f"sources[2].revision: '{'0' * 40}' is no commit of URL/datasets/org/fineweb-edu"),
        ({"name": "org/none"}, {}, "sources[2].name: no data set 'org/none' at URL, or a private one"),
        (gated, {}, "sources[2]: URL/datasets/org/gated is gated: accept its terms there, then set HF_TOKEN"),
        (
            gated,
            {"HF_TOKEN": "hf_of_another"},
            "sources[2]: URL/datasets/org/gated is gated, and the account of HF_TOKEN",
        ),
    ):
        line = last_line(read(hub, tmp_path, env, **(good | fields)))
        assert line.replace(hub.url, "URL").startswith(says)
    assert texts(read(hub, tmp_path, {"HF_TOKEN": TOKEN}, **(good | gated))) == ["a secret"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"config": "sample-10B"}, "BuilderConfig 'sample-10B' not found. Available: ['default', 'sample-10BT', 'CC"),
        ({"split": "test"}, "Bad split: test. Available splits: ['train']"),
        ({"text_key": "content"}, "text_key: 'org/fineweb-edu' has no column 'content'"),
        (
            {"data_files": ["sample/1T/*.parquet"]},
            "data files found in fineweb-edu (data_files: ['sample/1T/*.parquet'])",
        ),
    ],
)
def test_what_a_data_set_does_not_have(
    hub: LocalHub, edu: str, tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    result = read(hub, tmp_path, name="org/fineweb-edu", revision=edu, **fields)
    assert result.returncode == 1 and says in result.stderr.splitlines()[-1]
    assert not list((tmp_path / "home").rglob("*.parquet")) or "text_key" in fields


@pytest.mark.slow
def test_csv_json_and_plain_text_without_a_description(hub: LocalHub, tmp_path: Path) -> None:
    pages = '"text","source"\n"Page 0 tells, of ""quotes""","a/0.md"\n"Page 1 tells\nmore","a/1.md"\n'
    csv = hub.add("datasets", "m/huggingface_doc", {"huggingface_doc.csv": pages, "README.md": "# Pages"})
    result = read(hub, tmp_path, name="m/huggingface_doc", revision=csv)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        ["a/0.md", 'Page 0 tells, of "quotes"'],
        ["a/1.md", "Page 1 tells\nmore"],
    ]
    lines = "".join(json.dumps({"content": f"Page {i}"}) + "\n" for i in range(3)).encode()
    packed = hub.add("datasets", "o/lines", {"b/train.json.gz": gzip.compress(lines), "b/test.jsonl": lines[:20]})
    assert texts(read(hub, tmp_path, name="o/lines", revision=packed, text_key="content")) == [
        "Page 0",
        "Page 1",
        "Page 2",
    ]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pages.jsonl", '{"text": "Page 9"}')
    zipped = {"name": "o/zipped", "revision": hub.add("datasets", "o/zipped", {"a.zip": archive.getvalue()})}
    assert last_line(read(hub, tmp_path, None, **zipped)).endswith("keeps its files in archives: set `streaming: true`")
    assert texts(read(hub, tmp_path, None, **zipped, streaming=True)) == ["Page 9"]
    plain = hub.add("datasets", "o/plain", {"x [1].txt": "Page 7\nPage 8"})
    assert texts(read(hub, tmp_path, name="o/plain", revision=plain)) == ["Page 7", "Page 8"]


def test_main_is_what_it_was_at_the_first_run(hub: LocalHub, tmp_path: Path) -> None:
    first = hub.add("datasets", "o/moving", {"a.jsonl": '{"text": "Page 1"}'})
    result = read(hub, tmp_path, name="o/moving", revision="main")
    assert texts(result) == ["Page 1"] and json.loads(result.stdout)[0] == f"o/moving@{first[:12]}:train[0]"
    assert f"sources[2].revision: main of o/moving is {first} now, and stays that on this machine" in result.stderr
    second = hub.add("datasets", "o/moving", {"a.jsonl": '{"text": "Page 2"}'})
    for env in ({}, {"HF_HUB_OFFLINE": "1"}):
        again = read(hub, tmp_path, env, name="o/moving", revision="main")
        assert texts(again) == ["Page 1"] and "now, and stays" not in again.stderr
    assert texts(read(hub, tmp_path, name="o/moving", revision=second)) == ["Page 2"]
    line = last_line(read(hub, tmp_path, {"HF_ENDPOINT": "http://127.0.0.1:9"}, name="o/other", revision="main"))
    assert line.startswith("sources[2]: data set 'o/other' at main is not (whole) in")


@pytest.mark.slow
def test_hellaswag_comes_from_the_hub_at_its_pin(hub: LocalHub, tmp_path: Path) -> None:
    item = {
        "ind": 24,
        "activity_label": "Roof shingle removal",
        "ctx_a": "A man is sitting on a roof.",
        "ctx_b": "he",
        "ctx": "A man is sitting on a roof. he",
        "endings": [
            "is using wrap.",
            "is ripping level tiles off.",
            "is holding a rubik's cube.",
            "starts pulling up.",
        ],
        "source_id": "activitynet~v_-JhWjGDPHMY",
        "split": "val",
        "split_type": "indomain",
        "label": "3",
    }
    content = parquet({key: [value] for key, value in item.items()})
    files = {f"data/{split}-00000-of-00001.parquet": content for split in ("train", "validation", "test")}
    code = "from stages.lib.hellaswag.items import HUB, load_items; "
    pin = run(["-c", code + "print(HUB.revision)"], ROOT, environment(hub.url, tmp_path)).stdout.strip()
    hub.add("datasets", "Rowan/hellaswag", files, pin)
    result = run(["-c", code + "print(load_items('hub'))"], tmp_path, environment(hub.url, tmp_path / "home"))
    assert "is ripping level tiles off." in result.stdout and "label=3" in result.stdout, result.stderr
    assert [file.name for file in (tmp_path / "home").rglob("*.parquet")] == ["validation-00000-of-00001.parquet"]
    line = last_line(run(["-c", code + "load_items('hub')"], tmp_path, environment("http://127.0.0.1:9", tmp_path)))
    assert line.startswith("hellaswag: hub: data set 'Rowan/hellaswag'")
