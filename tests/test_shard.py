"""The stage: whole documents, stable splits, the same bytes for any worker count and after kill -9, clear errors."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.core.records import read_jsonl
from stages.lib.shards import writing as sharding
from stages.lib.shards.reading import Shards, open_shards
from stages.lib.shards.splitting import split_of
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.shard import OUTPUT_DIR, Params, main
from tests.params_of import section

ROOT = Path(__file__).parent.parent
SOURCES: list[dict[str, Any]] = [{"kind": "files", "patterns": ["docs/*"]}]
TEXTS = [f"Page {i}: " + " ".join(f"word{i * j % 97}" for j in range(40)) for i in range(300)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of 300 documents as the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    write_documents(TEXTS)
    return tmp_path


def write_documents(texts: list[str]) -> None:
    Path("docs").mkdir(exist_ok=True)
    Path("docs/all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def write_params(**shard: Any) -> None:
    small = {"sources": SOURCES, "tokenizer": "byte", "val_fraction": 0.1, "workers": 1}
    Path("params.yaml").write_text(yaml.safe_dump({"shard": section("shard", **small | shard)}))


def run(**shard: Any) -> dict[str, Any]:
    write_params(**shard)
    main()
    metrics: dict[str, Any] = read_results("shard")
    return metrics


def outputs(project: Path) -> dict[str, bytes]:
    files = [*sorted((project / "data").rglob("*")), project / "metrics/full/shard.json"]
    return {str(file.relative_to(project)): file.read_bytes() for file in files if file.is_file()}


def documents(shards: Shards, eot: int) -> list[list[int]]:
    """The ids of each document, without its eot, which is checked."""
    ids = shards.read(0, shards.tokens)
    found = [part.tolist() for part in np.split(ids, shards.document_starts[1:])]
    assert all(part[-1] == eot and eot not in part[:-1] for part in found)
    return [part[:-1] for part in found]


@pytest.mark.parametrize("name", ["byte", "gpt2"])
def test_every_document_is_in_one_split_and_ends_with_eot(project: Path, name: str) -> None:
    metrics = run(tokenizer=name, shard_tokens=1000)
    tokenizer = load_tokenizer(name)
    texts: dict[str, list[str]] = {}
    for split in ("train", "val"):
        shards = open_shards(OUTPUT_DIR, split, tokenizer)
        assert all(len(array) == 1000 for array in shards.arrays[:-1])
        texts[split] = [tokenizer.decode(ids) for ids in documents(shards, tokenizer.eot)]
        figures = metrics[split]
        assert figures["documents"] == len(texts[split])
        assert figures["characters"] == sum(map(len, texts[split]))
        assert figures["tokens"] == shards.tokens
        assert figures["characters_per_token"] == pytest.approx(figures["characters"] / shards.tokens, rel=1e-5)
        assert metrics["fingerprint"] == shards.fingerprint
    assert sorted(texts["train"] + texts["val"]) == sorted(TEXTS)
    assert texts["train"] == [text for text in TEXTS if text in set(texts["train"])]  # in their order
    assert 10 < len(texts["val"]) < 60
    assert metrics["documents"] == {"in": 300, "kept": 300, "dropped": {}}
    assert sorted(file.name for file in OUTPUT_DIR.iterdir() if "_" not in file.name) == [
        "dropped.jsonl",
        "manifest.json",
    ]
    assert not list(Path(".cache/shard").iterdir())
    timings = json.loads(Path("timings/shard.json").read_text())
    assert timings["tokens"] == metrics["train"]["tokens"] + metrics["val"]["tokens"]


def test_the_split_of_a_document_does_not_depend_on_the_others(project: Path) -> None:
    def val_texts() -> set[str]:
        byte = load_tokenizer("byte")
        return {byte.decode(ids) for ids in documents(open_shards(OUTPUT_DIR, "val", byte), byte.eot)}

    run()
    before = val_texts()
    write_documents(TEXTS[::-2])
    run()
    assert val_texts() == before & set(TEXTS[::-2])


def test_the_share_of_validation_documents() -> None:
    rng = np.random.default_rng(0)
    for share in (0.01, 0.3):
        splits = [split_of(rng.bytes(32), share) for _ in range(10_000)]
        assert splits.count("val") == pytest.approx(10_000 * share, abs=4 * (10_000 * share) ** 0.5)


def test_duplicates_and_broken_records_are_dropped_and_counted(project: Path) -> None:
    write_documents([*TEXTS, TEXTS[5] + " \n", TEXTS[6], "", "x" * 5000])
    metrics = run(max_document_chars=4000)
    assert metrics["documents"] == {
        "in": 304,
        "kept": 300,
        "dropped": {"duplicate_document": 2, "empty": 1, "too_long": 1},
    }
    dropped = read_jsonl(OUTPUT_DIR / "dropped.jsonl", ["source", "reason", "detail"])
    assert [drop["reason"] for drop in dropped] == ["duplicate_document", "duplicate_document", "empty", "too_long"]
    clean = outputs(project)["data/shards/manifest.json"]
    write_documents(TEXTS)
    run()
    assert outputs(project)["data/shards/manifest.json"] == clean


def test_json_lists_are_read(project: Path) -> None:
    Path("docs/all.jsonl").unlink()
    Path("docs/a.json").write_text(json.dumps([{"output": text} for text in TEXTS[:50]]))
    metrics = run(sources=[{"kind": "files", "patterns": ["docs/*.json"], "text_key": "output"}])
    assert metrics["documents"]["kept"] == 50


def test_lacking_keys_are_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{"prompt": f"Say {i}.", "completion": f"{i}"} for i in range(60)]
    Path("docs/a.json").write_text(json.dumps([*records, {"text": "x"}, {"label": 1}]))
    run(sources=[{"kind": "instructions", "patterns": ["docs/a.json"]}])
    last = capsys.readouterr().out.strip().split("\n")[-1]
    assert "dropped 2 no_instruction (1 no_instruction: looked for the keys instruction, prompt, question, " in last
    assert "; found text; 1 no_instruction: " in last
    dropped = read_jsonl(OUTPUT_DIR / "dropped.jsonl", ["source", "reason", "detail"])
    assert [(drop["source"], drop["reason"]) for drop in dropped] == [
        ("docs/a.json[60]", "no_instruction"),
        ("docs/a.json[61]", "no_instruction"),
    ]
    Path("docs/a.csv").write_text("art,words\n0,a\n")
    with pytest.raises(ValueError, match=r"dropped: 2 no_label.*looked for the keys v1, label.*found art,words"):
        run(sources=[{"kind": "spam", "patterns": ["docs/a.csv"]}])


def test_instructions_become_documents(project: Path) -> None:
    records = [{"instruction": f"Add {i}.", "input": f"{i} + {i}", "output": f"{2 * i}"} for i in range(60)]
    Path("docs/sums.json").write_text(json.dumps([*records, {"instruction": "Say nothing.", "output": ""}]))
    metrics = run(sources=[{"kind": "instructions", "patterns": ["docs/sums.json"]}])
    assert metrics["documents"] == {"in": 61, "kept": 60, "dropped": {"no_output": 1}}
    tokenizer = load_tokenizer("byte")
    texts = {
        tokenizer.decode(ids)
        for split in ("train", "val")
        for ids in documents(open_shards(OUTPUT_DIR, split), tokenizer.eot)
    }
    assert texts == {f"Add {i}.\n\n{i} + {i}\n\n{2 * i}" for i in range(60)}
    Path("docs/sums.json").write_text(json.dumps(records[:50]))
    assert run(sources=[{"kind": "instructions", "patterns": ["docs/sums.json"]}])["documents"]["kept"] == 50


@pytest.mark.parametrize("name", ["byte", "gpt2"])
def test_the_bytes_do_not_depend_on_the_worker_count(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sharding, "BATCH_CHARS", 700)
    monkeypatch.setattr(sharding, "PART_CHARS", 300)
    write_documents([*TEXTS, " ".join(TEXTS)])
    run(tokenizer=name, shard_tokens=777, workers=1)
    expected = outputs(project)
    assert len(expected) > 20
    for workers in (2, 3):
        run(tokenizer=name, shard_tokens=777, workers=workers)
        assert outputs(project) == expected


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("shards_before_the_kill", [1, 12])
def test_a_killed_run_goes_on_at_the_next_unwritten_shard(project: Path, shards_before_the_kill: int) -> None:
    write_documents([f"{text} {i}" for i in range(20) for text in TEXTS])
    settings = {"tokenizer": "gpt2", "shard_tokens": 20_000, "workers": 2}
    write_params(**settings)
    # In a process of its own: who has made these shards keeps its turn until it ends, and the next would wait for it.
    command, environment = [sys.executable, "-m", "stages.shard"], os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, timeout=300)
    expected = outputs(project)
    total = json.loads(Path("timings/shard.json").read_text())["tokens"]
    assert total > 25 * 20_000
    old_manifest = (OUTPUT_DIR / "manifest.json").read_bytes()

    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    state: dict[str, list[dict[str, Any]]] = {}
    while sum(map(len, state.values())) < shards_before_the_kill:
        assert process.poll() is None, process.communicate()[1].decode()
        for file in Path(".cache/shard").glob("*/state.json"):
            state = json.loads(file.read_text())
        time.sleep(0.001)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "the workers outlive the run"
        time.sleep(0.01)

    assert (OUTPUT_DIR / "manifest.json").read_bytes() == old_manifest  # what was there stays whole
    (file,) = Path(".cache/shard").glob("*/state.json")
    state = json.loads(file.read_text())
    written = sum(shard["tokens"] for shards in state.values() for shard in shards)
    begun = sum(shards[-1]["next"][1] for shards in state.values() if shards)  # of the documents at the joints
    assert 0 < written < total
    run(**settings)
    assert outputs(project) == expected
    assert json.loads(Path("timings/shard.json").read_text())["tokens"] == total - written + begun
    assert not list(Path(".cache/shard").iterdir())


def test_a_full_disk_leaves_nothing_half_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(shard_tokens=5000)
    expected = outputs(project)
    for file in OUTPUT_DIR.iterdir():
        file.unlink()
    OUTPUT_DIR.rmdir()
    save, calls = np.save, 0

    def full(file: Any, array: np.ndarray, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, array, **options)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"No space left on device .*3 finished shards are kept there") as error:
        run(shard_tokens=5000)
    assert error.value.errno == errno.ENOSPC
    assert not OUTPUT_DIR.exists()
    assert not list(Path().rglob("*.tmp"))
    run(shard_tokens=5000)
    assert calls - 8 == sum(name.endswith(".npy") for name in expected) - 6  # two files a shard, three were written
    assert outputs(project) == expected


def test_another_text_or_setting_starts_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("stages.shard.manifest", cut)
        with pytest.raises(KeyboardInterrupt):
            run(shard_tokens=5000)
    assert len(list(Path(".cache/shard").iterdir())) == 1
    write_documents(["Something new.", *TEXTS])
    changed = run(shard_tokens=5000)
    assert changed["documents"]["kept"] == 301
    assert json.loads(Path("timings/shard.json").read_text())["tokens"] == sum(
        changed[split]["tokens"] for split in ("train", "val")
    )


def test_an_empty_corpus_and_empty_splits(project: Path) -> None:
    for split, advice in (("documents", "set split: tokens, .* or"), ("auto", "both sides 100 characters are cut:")):
        with pytest.raises(
            ValueError, match=rf"none of the 300 documents .* split 'val' .* {advice} raise val_fraction"
        ):
            run(split=split, val_fraction=1e-9)
        with pytest.raises(ValueError, match=r"split 'train' .* lower val_fraction"):
            run(split=split, val_fraction=1 - 1e-9)
    write_documents(["", " \n"])
    with pytest.raises(ValueError, match=r"no document came of .*dropped: 2 empty"):
        run()
    with pytest.raises(ValueError, match="matches no file"):
        run(sources=[{"kind": "files", "patterns": ["nothing/*"]}])
    assert not OUTPUT_DIR.exists() and not Path("metrics").exists()


def test_a_vocabulary_that_uint16_cannot_hold(project: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"</s>": 0, **{f"w{i}": i for i in range(1, 65_536)}}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>").save_pretrained("large")
    with pytest.raises(ValueError, match=r"tokenizer 'hf:large' has 65538 ids; .* below 65536"):
        run(tokenizer="hf:large", sources=[{"kind": "files", "patterns": ["nothing/*"]}])  # before any source is read


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "sources: no source is named"),
        ({"sources": [{"kind": "web"}]}, r"sources\[0\]\.kind: 'web' is not allowed"),
        ({"shard_tokens": 0}, "shard_tokens: 0 is below 1"),
        ({"val_fraction": 0.0}, "val_fraction: 0.0 is not between 0 and 1"),
        ({"val_fraction": 1}, "val_fraction: 1.0 is not between"),
        ({"max_document_chars": 0}, "max_document_chars: 0 is below 1"),
        ({"workers": -1}, "workers: -1 is negative"),
        ({"shards": 1}, "did you mean 'shard_tokens'"),
    ],
)
def test_bad_params_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(Params, section("shard", **{"sources": SOURCES} | change), "params.yaml: shard")
