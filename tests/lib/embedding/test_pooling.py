import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.lib.embedding.pooling import POOLINGS, read_pooling

# Two texts of 3 and 2 tokens, hidden size 2; 99 stands where only padding is.
RIGHT = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]], [[7.0, 8.0], [9.0, 6.0], [99.0, 99.0]]])
RIGHT_MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])
LEFT = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]], [[99.0, 99.0], [7.0, 8.0], [9.0, 6.0]]])
LEFT_MASK = torch.tensor([[1, 1, 1], [0, 1, 1]])


@pytest.mark.parametrize(("states", "mask"), [(RIGHT, RIGHT_MASK), (LEFT, LEFT_MASK)])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", [[3.0, 2.0], [8.0, 7.0]]),
        ("cls", [[1.0, 2.0], [7.0, 8.0]]),
        ("lasttoken", [[5.0, 0.0], [9.0, 6.0]]),
        ("max", [[5.0, 4.0], [9.0, 8.0]]),
    ],
)
def test_padding_on_either_side_is_not_seen(
    name: str, expected: list[list[float]], states: torch.Tensor, mask: torch.Tensor
) -> None:
    assert torch.equal(POOLINGS[name](states, mask), torch.tensor(expected))


def model_directory(place: Path, modules: list[tuple[str, str]], config: dict[str, Any]) -> Path:
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps(config))
    listed = [{"idx": i, "type": kind, "path": path} for i, (kind, path) in enumerate(modules)]
    (place / "modules.json").write_text(json.dumps(listed))
    return place


TRANSFORMER = ("sentence_transformers.models.Transformer", "")
POOLING = ("sentence_transformers.models.Pooling", "1_Pooling")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["max"]}, "max"),
    ],
)
def test_reads_the_models_own_pooling(tmp_path: Path, config: dict[str, Any], name: str) -> None:
    normalize = ("sentence_transformers.sentence_transformer.modules.normalize.Normalize", "2_Normalize")
    assert read_pooling(model_directory(tmp_path, [TRANSFORMER, POOLING, normalize], config)) == name


@pytest.mark.parametrize(
    "config",
    [{"pooling_mode": "weightedmean"}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, {}],
)
def test_refuses_a_pooling_that_it_does_not_know(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"1_Pooling/config\.json: pooling .* is not supported"):
        read_pooling(model_directory(tmp_path, [TRANSFORMER, POOLING], config))


def test_refuses_modules_that_would_change_the_vectors(tmp_path: Path) -> None:
    dense = ("sentence_transformers.models.Dense", "2_Dense")
    with pytest.raises(ValueError, match=r"Dense is not supported"):
        read_pooling(model_directory(tmp_path, [TRANSFORMER, POOLING, dense], {"pooling_mode": "mean"}))


def test_refuses_a_directory_that_does_not_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"modules\.json: no such file.*pooling: last_token"):
        read_pooling(tmp_path)
    with pytest.raises(ValueError, match=r"names no Pooling"):
        read_pooling(model_directory(tmp_path, [TRANSFORMER], {}))
