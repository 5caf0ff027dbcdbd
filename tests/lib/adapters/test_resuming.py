import json
from pathlib import Path
from types import SimpleNamespace

import torch

from stages.lib.adapters.resuming import RESUMED_BY, last_whole_checkpoint, prune_finished, train_on


def write_checkpoint(directory: Path, step: int, state: str | None = None) -> Path:
    place = directory / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in (*RESUMED_BY, "adapter_model.safetensors"):
        (place / name.replace("*", "_1")).write_bytes(b"x")
    (place / "trainer_state.json").write_text(json.dumps({"global_step": step}) if state is None else state)
    return place


def test_the_newest_whole_checkpoint_counts_and_torn_ones_go(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    old, new = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)  # by number, not by name
    torn = [
        write_checkpoint(tmp_path, 11, '{"global_step": 11'),
        write_checkpoint(tmp_path, 12, '{"global_step": 11}'),
        write_checkpoint(tmp_path, 13, "{}"),
    ]
    bare = tmp_path / "checkpoint-14"
    bare.mkdir()
    assert last_whole_checkpoint(tmp_path) == new
    assert old.exists() and not any(place.exists() for place in (*torn, bare))


def test_moments_are_loaded_onto_a_cpu_with_a_number(tmp_path: Path) -> None:
    trainer = SimpleNamespace(train=lambda resume_from_checkpoint: None)
    train_on(trainer, tmp_path)
    torch.save({"moment": torch.ones(2)}, tmp_path / "optimizer.pt")
    found = torch.load(tmp_path / "optimizer.pt", map_location=torch.device("cpu", 0), weights_only=True)
    assert found["moment"].tolist() == [1, 1]


def test_a_finished_training_keeps_what_publishing_needs(tmp_path: Path) -> None:
    old, new = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)
    prune_finished(tmp_path)
    assert not old.exists()
    assert sorted(path.name for path in new.iterdir()) == ["adapter_model.safetensors", "trainer_state.json"]
