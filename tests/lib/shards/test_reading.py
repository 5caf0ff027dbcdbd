"""The format of shards: reading across shards, and what is wrong with damaged or foreign ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.lib.core.records import write_json
from stages.lib.shards.reading import MANIFEST, Shards, manifest, open_shards
from stages.lib.shards.writing import write_shard
from stages.lib.tokens.tokenizers import load_tokenizer

BYTE = load_tokenizer("byte")
LENGTHS = (100, 150, 1, 149, 600)  # of documents
NAMES = ["even", "odd"]  # of sources
TOKENS = (np.arange(1000) * 7 % 256).astype(np.uint16)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """1,000 tokens in shards of 300, the last of 100, and a validation split of 10."""
    starts = np.cumsum([0, *LENGTHS[:-1]])
    train = []
    for number, start in enumerate(range(0, 1000, 300)):
        there = np.flatnonzero((starts >= start) & (starts < start + 300))
        inside = np.stack([starts[there] - start, there % 2], axis=1)
        train.append(write_shard(tmp_path, "train", number, TOKENS[start : start + 300], inside))
    val = [write_shard(tmp_path, "val", 0, TOKENS[:10], np.array([[0, 1]]))]
    write_json(tmp_path / MANIFEST, manifest(BYTE, 300, {"train": train, "val": val}, NAMES))
    return tmp_path


def read(directory: Path) -> Shards:
    return open_shards(directory, "train", BYTE)


def test_reading_across_shards(directory: Path) -> None:
    shards = read(directory)
    assert shards.tokens == 1000
    assert shards.document_starts.tolist() == [0, 100, 250, 251, 400]
    assert (shards.sources, shards.document_sources.tolist()) == (("even", "odd"), [0, 1, 0, 1, 0])
    for start, length in ((0, 1000), (299, 2), (300, 300), (250, 700), (999, 1), (5, 0)):
        assert shards.read(start, length).tolist() == TOKENS[start : start + length].tolist()
    assert shards.read(0, 5).dtype == np.uint16
    assert open_shards(directory, "val", BYTE).tokens == 10
    assert open_shards(directory, "train", verify=False).read(590, 20).tolist() == TOKENS[590:610].tolist()


def test_the_manifest_says_what_there_is(directory: Path) -> None:
    content = json.loads((directory / MANIFEST).read_text())
    assert content["format"] == 2 and content["dtype"] == "uint16" and content["shard_tokens"] == 300
    assert content["tokenizer"] == {"name": "byte", "identity": BYTE.identity, "vocab_size": 260, "eot": 258}
    train = content["splits"]["train"]
    assert (train["tokens"], train["documents"], len(train["shards"])) == (1000, 5, 4)
    assert read(directory).fingerprint == content["fingerprint"]
    other = write_shard(directory, "val", 0, TOKENS[:11], np.array([[0, 1]]))
    changed = manifest(BYTE, 300, {"train": train["shards"], "val": [other]}, NAMES)
    assert changed["fingerprint"] != content["fingerprint"]
    for documents in ([[0, 1], [5, 1]], [[0, 0]]):  # the same tokens, as two documents; of another source
        divided = write_shard(directory, "val", 0, TOKENS[:10], np.array(documents))
        changed = manifest(BYTE, 300, {"train": train["shards"], "val": [divided]}, NAMES)
        assert changed["fingerprint"] != content["fingerprint"]


def test_a_missing_manifest_or_split(directory: Path) -> None:
    with pytest.raises(ValueError, match=r"no split 'test'; there are \['train', 'val'\]"):
        open_shards(directory, "test")
    (directory / MANIFEST).unlink()
    with pytest.raises(ValueError, match="run the stage shard first"):
        read(directory)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1}', '{"format": 2, "splits": 3}'])
def test_a_foreign_manifest(directory: Path, content: str) -> None:
    (directory / MANIFEST).write_text(content)
    with pytest.raises(
        ValueError, match=r"manifest\.json: (no manifest of shards|format 1 of another version .* dvc repro shard)"
    ):
        read(directory)


def test_a_manifest_changed_by_hand(directory: Path) -> None:
    text = (directory / MANIFEST).read_text()
    sha256 = json.loads(text)["splits"]["train"]["shards"][0]["sha256"]
    (directory / MANIFEST).write_text(text.replace(sha256, "0" * 64))
    with pytest.raises(ValueError, match="fingerprint does not fit"):
        read(directory)


def test_another_tokenizers_manifest(directory: Path) -> None:
    with pytest.raises(ValueError, match=r"written with tokenizer 'byte' .* this is 'gpt2'"):
        open_shards(directory, "train", load_tokenizer("gpt2"))


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", ["train_000001.npy", "train_000001.documents.npy"])
def test_missing_truncated_and_foreign_shards(directory: Path, name: str, verify: bool) -> None:
    file = directory / name
    whole = file.read_bytes()

    def rejected(match: str) -> None:
        with pytest.raises(ValueError, match=match) as error:
            open_shards(directory, "train", BYTE, verify)
        assert str(file) in str(error.value) and "run the stage shard" in str(error.value)

    for kept in (0, 50, 128, len(whole) - 1):
        file.write_bytes(whole[:kept])
        rejected("truncated")
    np.save(file, np.zeros(7, dtype=np.float32))
    rejected("the manifest says")
    file.write_bytes(b"not an array" * 30)
    rejected("no .npy file")
    file.unlink()
    rejected("no such file")


def test_a_shard_with_other_tokens_of_the_same_length(directory: Path) -> None:
    shutil.copyfile(directory / "train_000000.npy", directory / "train_000001.npy")
    with pytest.raises(ValueError, match=r"train_000001\.npy: sha256"):
        read(directory)


def test_a_token_beyond_the_vocabulary(directory: Path) -> None:
    tokens = TOKENS[:300].copy()
    tokens[17] = 260
    content = json.loads((directory / MANIFEST).read_text())
    shards = content["splits"]["train"]["shards"]
    shards[1] = write_shard(directory, "train", 1, tokens, np.empty((0, 2), dtype=np.int64))
    write_json(directory / MANIFEST, manifest(BYTE, 300, {"train": shards, "val": []}, NAMES))
    with pytest.raises(ValueError, match=r"train_000001\.npy: token 260 at 17, the tokenizer has 260"):
        read(directory)
    with pytest.raises(ValueError, match="the split 'val' is empty"):
        open_shards(directory, "val", BYTE)
