"""Few, long, uneven documents in the stage shard: what goes to validation, what is said, and names of sources."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.lib.core.metrics import read_results
from stages.lib.shards import writing as sharding
from stages.lib.shards.reading import Shards, open_shards, read_manifest
from stages.lib.shards.source_names import MOST_NAMES
from stages.lib.shards.writing import SplitWriter
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.shard import OUTPUT_DIR, main
from tests.params_of import section

BYTE = load_tokenizer("byte")
VERSE = "{name}:\nLine {i} of a play that is one text,\nand goes on and on.\n\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    Path("docs").mkdir()
    return tmp_path


def play(name: str, characters: int) -> str:
    return "".join(VERSE.format(name=name, i=i) for i in range(characters // 40 + 1))[:characters].rstrip()


def write(texts: list[str]) -> None:
    for i, text in enumerate(texts):
        Path(f"docs/{i:03d}.txt").write_text(text, encoding="utf-8")


def run(**shard: Any) -> dict[str, Any]:
    sources = [{"kind": "files", "patterns": ["docs/*"]}]
    small = {"sources": sources, "tokenizer": "byte", "val_fraction": 0.1, "workers": 1}
    Path("params.yaml").write_text(yaml.safe_dump({"shard": section("shard", **small | shard)}))
    main()
    return read_results("shard")


def texts_of(split: str) -> list[str]:
    shards = open_shards(OUTPUT_DIR, split, BYTE)
    ids = shards.read(0, shards.tokens)
    parts = np.split(ids, shards.document_starts[1:])
    assert all(part[-1] == BYTE.eot and (part[:-1] < 256).all() for part in parts)
    return [BYTE.decode(part[:-1].tolist()) for part in parts]


def outputs() -> dict[str, bytes]:
    files = [*sorted(OUTPUT_DIR.iterdir()), Path("metrics/full/shard.json")]
    return {str(file): file.read_bytes() for file in files}


KINDS: dict[str, list[str]] = {
    "one document": [play("A", 60_000)],
    "five of very different length": [play(f"A{n}", n) for n in (900, 40_000, 90, 5_000, 12_000)],
    "thirty, of which one has 95%": [play("A", 600_000), *(play(f"B{i}", 1_100) for i in range(29))],
    "three hundred, of which one has 95%": [play("A", 900_000), *(play(f"B{i}", 150) for i in range(299))],
    "no line end in it": ["这是一个没有换行的很长的文本。" * 2_000],
    "no white space in it": ["ACGT" * 5_000],
}


@pytest.mark.parametrize("kind", KINDS)
def test_few_or_uneven_documents_are_split_by_tokens(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = KINDS[kind]
    write(texts)
    metrics = run()
    assert metrics["split"]["by"] == "tokens"
    assert metrics["split"]["val_share"] == pytest.approx(0.1, abs=0.01)
    train, val = texts_of("train"), texts_of("val")
    assert sum(map(len, train + val)) == sum(map(len, texts))
    long = [text for text in texts if len(text) >= 1_000]
    assert metrics["split"]["documents_in_both"] == len(long)
    for text in long:  # its tail is for validation, all before it for training
        (tail,) = [part for part in val if text.endswith(part)]
        assert text[: -len(tail)] in train
    out = capsys.readouterr().out
    assert "documents would be for validation" in out
    assert "split by tokens: " in out.splitlines()[-1] and "% for validation)" in out.splitlines()[-1]


def test_many_even_documents_are_split_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [play(f"A{i}", 700) for i in range(200)]
    write(texts)
    metrics = run()
    assert metrics["split"]["by"] == "documents"
    assert sorted(texts_of("train") + texts_of("val")) == sorted(texts)
    assert "split by documents: " in capsys.readouterr().out
    files = outputs()
    assert run(split="documents") == metrics
    assert outputs() == files


def test_what_is_asked_for_is_done() -> None:
    write([play(f"A{i}", 3_000) for i in range(200)])
    found = run(split="tokens")["split"]
    assert (found["by"], found["documents_in_both"]) == ("tokens", 200)
    assert found["val_share"] == pytest.approx(0.1, abs=0.01)
    for number in range(1, 200):
        Path(f"docs/{number:03d}.txt").unlink()
    with pytest.raises(ValueError, match=r"the only document is not in the split 'val' .*: set split: tokens"):
        run(split="documents")


def test_examples_are_never_cut() -> None:
    records = [{"instruction": f"Tell {i}.", "output": play("A", 2_000 + i)} for i in range(20)]
    Path("docs/a.json").write_text(json.dumps(records))
    metrics = run(sources=[{"kind": "instructions", "patterns": ["docs/a.json"]}])
    assert metrics["split"] == {"by": "tokens", "documents_in_both": 0, "val_share": pytest.approx(0.1, abs=0.01)}
    expected = {f"Tell {i}.\n\n{record['output']}" for i, record in enumerate(records)}
    assert {*texts_of("train"), *texts_of("val")} == expected
    Path("docs/a.json").write_text(json.dumps(records[:1]))
    for fraction in (0.1, 0.9):  # no value would help
        with pytest.raises(ValueError, match=r"one example, .* cannot be on both sides: give more text"):
            run(sources=[{"kind": "instructions", "patterns": ["docs/a.json"]}], val_fraction=fraction)


def test_too_little_text_says_what_was_dropped_and_what_to_change() -> None:
    write([play("A", 5_000), play("A", 5_000), "", play("B", 300)])
    with pytest.raises(ValueError, match=r"no document came of .*dropped: .*3 too_long \(raise max_document_chars\)"):
        run(max_document_chars=100)
    message = r"is not in the split 'val' \(4 came in; dropped: 2 too_long \(raise max_document_chars\), 1 empty"
    with pytest.raises(ValueError, match=rf"the only document {message}.*raise val_fraction \(0\.1\)"):
        run(max_document_chars=1_000)
    assert run(max_document_chars=1_000, val_fraction=0.4)["documents"]["kept"] == 1  # as it was told
    Path("docs/003.txt").unlink()
    with pytest.raises(ValueError, match=r"1 duplicate_document \(the same text came before\)"):
        run(split="documents")


@pytest.mark.parametrize("tokenizer", ["byte", "gpt2"])
def test_a_split_by_tokens_is_the_same_for_any_workers_and_after_a_stop(
    tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "BATCH_CHARS", 3_000)
    monkeypatch.setattr(sharding, "PART_CHARS", 2_000)
    write([play("A", 90_000), play("B", 30_000), play("C", 70)])
    settings: dict[str, Any] = {"tokenizer": tokenizer, "shard_tokens": 999}
    run(**settings)
    expected = outputs()
    assert len(expected) > 60
    run(**settings, workers=3)
    assert outputs() == expected
    shards = sum(name.endswith(".npy") for name in expected) // 2
    written = 0
    write_one = SplitWriter._write

    def counted(self: SplitWriter, following: Any) -> None:
        nonlocal written
        if self.state.root.name.endswith("tokens"):
            written += 1
            if written == 12:
                raise KeyboardInterrupt
        write_one(self, following)

    monkeypatch.setattr(SplitWriter, "_write", counted)
    with pytest.raises(KeyboardInterrupt):
        run(**settings)
    assert len(list(Path(".cache/shard").iterdir())) == 2
    assert outputs() == expected
    written = 100
    run(**settings)
    assert outputs() == expected
    assert written - 100 == shards - 11
    assert not list(Path(".cache/shard").iterdir())


def sources_of(shards: Shards) -> list[str]:
    return [shards.sources[number] for number in shards.document_sources]


def test_every_document_has_the_name_of_its_source() -> None:
    write([play(name, 2_000) for name in "ABC"])
    records = [{"text": play(f"R{i}", 1_500), "source": f"https://example.org/{i}"} for i in range(2)]
    Path("records.jsonl").write_text("\n".join(map(json.dumps, records)))
    Path("ask.json").write_text(json.dumps([{"instruction": "Say A.", "output": play("S", 300)}]))
    metrics = run(
        sources=[
            {"kind": "files", "patterns": ["docs/*"]},
            {"kind": "packages", "names": ["iniconfig"], "limit": 5},
            {"kind": "files", "patterns": ["records.jsonl"]},
            {"kind": "instructions", "patterns": ["ask.json"]},
        ]
    )
    names = ["docs/000.txt", "docs/001.txt", "docs/002.txt", "iniconfig", "records.jsonl", "ask.json"]
    assert read_manifest(OUTPUT_DIR)["sources"] == names
    by_letter = dict(zip("ABCRS", (*names[:3], *names[4:]), strict=True))
    for split in ("train", "val"):
        shards = open_shards(OUTPUT_DIR, split, BYTE)
        found = dict(zip(texts_of(split), sources_of(shards), strict=True))
        assert all(by_letter.get(text[0], "iniconfig") == name for text, name in found.items() if "a play that" in text)
        assert metrics[split]["documents_by_source"] == {name: list(found.values()).count(name) for name in names}


def test_names_are_few_however_many_files_there_are() -> None:
    write([play(f"A{i}", 500) for i in range(MOST_NAMES + 4)])
    run()
    assert read_manifest(OUTPUT_DIR)["sources"] == ["docs/*"]
    run(sources=[{"kind": "files", "patterns": ["docs/00*", "docs/*"]}])
    assert read_manifest(OUTPUT_DIR)["sources"] == ["docs/00*", "docs/*"]
    shards = open_shards(OUTPUT_DIR, "train", BYTE)
    assert sources_of(shards).count("docs/00*") > 5
    patterns = [f"docs/{i:03d}.txt" for i in range(MOST_NAMES + 4)]
    run(sources=[{"kind": "files", "patterns": patterns}])
    assert read_manifest(OUTPUT_DIR)["sources"] == [f"docs/000.txt and {MOST_NAMES + 3} more patterns"]
