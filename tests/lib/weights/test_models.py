from pathlib import Path

import pytest

from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import file_sha256
from stages.lib.core.params import from_mapping
from stages.lib.weights import models
from stages.lib.weights.models import ModelEntry, load_model_entry, locate, weights_identity

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"source": "hub:a/b", "backend": "vllm"}, "a hub model needs its `revision`"),
        ({"source": "package:a/b", "backend": "transformers"}, "need their `sha256`"),
        ({"source": "a/b", "backend": "transformers"}, "write hub:ORG/NAME"),
        ({"source": "server:a", "backend": "vllm"}, "does not go with backend"),
        ({"source": "path:a", "backend": "openai"}, "does not go with backend"),
        ({"source": "path:a", "backend": "transformer"}, r"m\.backend: 'transformer' is not allowed"),
    ],
)
def test_bad_entries_are_refused(entry: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(ModelEntry, entry, where="m")


def test_unknown_model_is_named_with_the_known_ones(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("models:\n  a-1: {source: 'path:x', backend: transformers}\n  a.1: {source: 'path:x'}\n")
    assert load_model_entry("a-1", params).source == "path:x"
    with pytest.raises(ValueError, match=r"no model 'b' under models:; there are \['a-1', 'a\.1'\]"):
        load_model_entry("b", params)
    with pytest.raises(ValueError, match="DVC splits at dots"):
        load_model_entry("a.1", params)


def test_package_weights_are_checked_against_their_sha256() -> None:
    entry = load_model_entry("minilm-l6", ROOT / "params.yaml")
    place = locate(entry)
    assert file_sha256(place / "model.safetensors") == entry.sha256["model.safetensors"]
    wrong = ModelEntry(source=entry.source, backend=entry.backend, sha256={"model.safetensors": "0" * 64})
    with pytest.raises(ValueError, match=r"model\.safetensors: sha256 is .* pins 0000"):
        locate(wrong)


def test_absent_weights_are_named(tmp_path: Path) -> None:
    def entry(source: str) -> ModelEntry:
        return ModelEntry(source=source, backend="transformers", sha256={"w": "0"})

    with pytest.raises(ValueError, match="no-such-distribution is not installed"):
        locate(entry("package:no-such-distribution/w"))
    with pytest.raises(ValueError, match="the package has no nowhere"):
        locate(entry("package:numpy/nowhere"))
    with pytest.raises(ValueError, match="no such file or directory"):
        locate(entry(f"path:{tmp_path}/nowhere"))
    with pytest.raises(ValueError, match="no such file"):
        locate(entry(f"path:{tmp_path}"))


def test_identity_tells_weights_backends_and_dtypes_apart() -> None:
    base = {"source": "hub:a/b", "revision": "1" * 40, "backend": "transformers"}
    others = [
        base,
        base | {"revision": "2" * 40},
        base | {"sha256": {"a.gguf": "0"}},
        base | {"backend": "vllm"},
        base | {"dtype": "bfloat16"},
    ]
    assert len({from_mapping(ModelEntry, other, where="m").identity for other in others}) == len(others)


def test_a_queued_experiment_shares_the_projects_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMILL_CACHE", raising=False)
    workspace = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc"
    workspace.mkdir(parents=True)
    monkeypatch.chdir(workspace)
    assert cache_dir() == tmp_path / ".cache"
    monkeypatch.chdir(tmp_path)
    assert cache_dir() == tmp_path / ".cache"
    monkeypatch.setenv("LLMILL_CACHE", "/elsewhere")
    assert cache_dir() == Path("/elsewhere")


def test_a_model_on_a_path_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"one")
    entry = ModelEntry(source=f"path:{tmp_path / 'model'}", backend="transformers")
    before = weights_identity(entry)
    assert weights_identity(entry) == before
    (tmp_path / "model" / "model.safetensors").write_bytes(b"two")
    assert weights_identity(entry) != before
    with pytest.raises(ValueError, match="no such file or directory"):
        weights_identity(ModelEntry(source="path:nowhere", backend="transformers"))


def test_weights_are_hashed_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    entry = ModelEntry(source=f"path:{tmp_path}", backend="transformers", sha256={file.name: file_sha256(file)})
    hashed: list[Path] = []

    def count(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(models, "SETTLED_NS", 0)
    monkeypatch.setattr(models, "file_sha256", count)
    for _ in range(3):
        assert locate(entry) == tmp_path
    assert hashed == [file]
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match="another file than was tested"):
        locate(entry)
