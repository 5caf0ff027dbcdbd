"""The directory of a training: params on their side, and what its name holds."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.training.training_params import DECIDE, DECIDE_NOT, TrainingParams


@dataclass(frozen=True)
class Params:
    lr: float = 0.1
    log_every: int = 1


def test_every_param_is_on_one_side() -> None:
    assert deciding(Params(), ["lr"], ["log_every"]) == {"lr": 0.1}
    for sides in ((["lr"], []), (["lr", "log_every"], ["log_every"]), (["lr"], ["log_every", "steps"])):
        with pytest.raises(AssertionError, match="put on one side"):
            deciding(Params(), *sides)
    assert sorted([*DECIDE, *DECIDE_NOT]) == sorted(TrainingParams.__dataclass_fields__)


def test_its_name_changes_with_all_that_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    one = training_directory("pretrain", {"lr": 0.1}, ["data"], "code", ["numpy"])
    assert one == training_directory("pretrain", {"lr": 0.1}, ["data"], "code", ["numpy"])
    others = [
        training_directory("finetune", {"lr": 0.1}, ["data"], "code", ["numpy"]),
        training_directory("pretrain", {"lr": 0.2}, ["data"], "code", ["numpy"]),
        training_directory("pretrain", {"lr": 0.1}, ["other"], "code", ["numpy"]),
        training_directory("pretrain", {"lr": 0.1}, ["data"], "other", ["numpy"]),
        training_directory("pretrain", {"lr": 0.1}, ["data"], "code", ["torch"]),
    ]
    assert len({one, *others}) == 6
    assert one.parent == tmp_path / "pretrain"
