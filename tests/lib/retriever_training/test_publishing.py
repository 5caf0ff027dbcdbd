from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.lib.retriever_training import publishing
from stages.lib.retriever_training.publishing import card, publish


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A base of zeros and a checkpoint of ones."""
    for name, value in (("base", 0.0), ("checkpoint", 1.0)):
        (tmp_path / name).mkdir()
        weights = {"layer.weight": torch.full((2,), value), "embeddings.types": torch.full((2,), value)}
        save_file(weights, tmp_path / name / "model.safetensors")
    (tmp_path / "checkpoint/optimizer.pt").write_text("moments")
    return tmp_path


def published(place: Path, share: float) -> dict[str, list[float]]:
    publish(place / "model", place / "checkpoint", place / "base", tuned_share=share, facts={"a": 1}, card="# Card")
    return {name: value.tolist() for name, value in load_file(place / "model/model.safetensors").items()}


def test_weights_are_the_mean_with_the_base_and_frozen_ones_stay(place: Path) -> None:
    found = published(place, 0.25)
    assert found == {"layer.weight": [0.25, 0.25], "embeddings.types": [1.0, 1.0]}
    assert published(place, 1.0)["layer.weight"] == [1.0, 1.0]
    assert sorted(path.name for path in (place / "model").iterdir()) == [
        "README.md",
        "llmill.json",
        "model.safetensors",
    ]


def test_a_failure_leaves_the_model_as_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = published(place, 0.5)

    def fails(*_: object) -> None:
        raise RuntimeError("no card")

    monkeypatch.setattr(publishing, "write_text", fails)
    with pytest.raises(RuntimeError, match="no card"):
        published(place, 1.0)
    assert load_file(place / "model/model.safetensors")["layer.weight"].tolist() == before["layer.weight"]
    assert sorted(path.name for path in place.iterdir()) == ["base", "checkpoint", "model"]


def test_a_card_tells_the_base_and_the_counts() -> None:
    text = card("tuned", "tiny", "An embedding model.", {"by_rule": 7})
    assert "# tuned" in text and "starts from `tiny`" in text and "| by rule | 7 |" in text
