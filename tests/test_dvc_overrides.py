"""What `dvc exp run -S` writes, the stages read: through DVC's own override writer."""

import dataclasses
import importlib
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.lib.core.params import from_mapping, load, read_yaml
from tests.params_of import project_params, project_text
from tests.test_params_yaml import OWN_SECTION

ROOT = Path(__file__).parent.parent


def overridden(place: Path, *overrides: str) -> Path:
    """A params.yaml as `dvc exp run -S OVERRIDE...` leaves it."""
    from dvc.utils.hydra import apply_overrides  # type: ignore[import-untyped,unused-ignore]

    file = place / "params.yaml"
    file.write_text(project_text(), encoding="utf-8")
    apply_overrides(str(file), list(overrides))
    return file


def leaves_of_type(hint: Any, content: Any, wanted: type, where: str) -> Iterator[str]:
    """The dotted paths of a section whose declared type is `wanted`, inside mappings and nested dataclasses, too."""
    if hint is wanted:
        yield where
    elif dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        for key, value in content.items():
            yield from leaves_of_type(hints[key], value, wanted, f"{where}.{key}")
    elif typing.get_origin(hint) is dict:
        for key, value in content.items():
            yield from leaves_of_type(typing.get_args(hint)[1], value, wanted, f"{where}.{key}")


def fields_of_type(wanted: type) -> list[str]:
    params = project_params()
    stages = [(name, importlib.import_module(f"stages.{name}").Params) for name in OWN_SECTION]
    return [path for name, cls in stages for path in leaves_of_type(cls, params[name], wanted, name)]


def at(content: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        content = content[key]
    return content


@pytest.mark.parametrize("written", ["0.00005", "1e-8", "3", "1e3", "2.5e-7", "1E+20", ".5", "5e-324", "123456789.125"])
def test_every_float_survives_the_override_writer(tmp_path: Path, written: str) -> None:
    floats = fields_of_type(float)
    assert {"grpo.lr", "pretrain.lr", "rerank.dense_weight.likelihood", "dedup.thresholds.minilm-l6"} <= {*floats}
    content = read_yaml(overridden(tmp_path, *(f"{path}={written}" for path in floats)))
    for path in floats:
        found = at(content, path)
        assert type(found) in (int, float), f"{path}: {found!r}"
        assert found == float(written), path
    for name in OWN_SECTION:
        try:
            load(importlib.import_module(f"stages.{name}").Params, name, tmp_path / "params.yaml")
        except ValueError as error:  # out of the range of some field, but never of the wrong type
            assert "expected" not in str(error)


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("grpo.lr=0.00005", "grpo", "lr", 5e-5),
        ("pretrain.lr=6e-4", "pretrain", "lr", 6e-4),
        ("pretrain.eps=1e-10", "pretrain", "eps", 1e-10),
        ("qlora.weight_decay=0", "qlora", "weight_decay", 0.0),
        ("pretrain.steps=1000", "pretrain", "steps", 1000),
        ("rerank.top_k=7", "rerank", "top_k", 7),
        ("finetune.compile=true", "finetune", "compile", True),
        ("pretrain.hellaswag='1e3'", "pretrain", "hellaswag", "1e3"),
        ("pretrain.hellaswag=on", "pretrain", "hellaswag", "on"),
        (
            "pretrain.prompts=[on,1:30,'0x1F','2001-12-14','']",
            "pretrain",
            "prompts",
            ["on", "1:30", "0x1F", "2001-12-14", ""],
        ),
        ("grpo.reward_weights={format:1e-3}", "grpo", "reward_weights", {"format": 1e-3}),
        ("benchmark.cutoffs=[1,5]", "benchmark", "cutoffs", [1, 5]),
    ],
)
def test_an_override_loads_in_the_stage(tmp_path: Path, override: str, section: str, field: str, value: Any) -> None:
    file = overridden(tmp_path, override)
    found = getattr(load(importlib.import_module(f"stages.{section}").Params, section, file), field)
    if isinstance(value, dict):  # -S adds to a mapping
        found = {key: found[key] for key in value}
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("smollm2-135m", "base"),
        ("smollm2-135m-qlora", "qlora"),
        ("smollm2-135m-grpo", "grpo"),
        ("gpt/best", "pretrain"),
        ("gpt-finetuned", "finetune"),
    ],
)
def test_gguf_waits_for_the_model_that_is_named_and_for_no_other(
    tmp_path: Path, model: str, maker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo  # type: ignore[import-untyped,unused-ignore]

    bases = [f"{section}.base=smollm2-135m" for section in ("gguf", "qlora", "grpo")]
    overridden(tmp_path, f"gguf.model={model}", *bases)
    for file in ("dvc.yaml", "prompts.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    index = Repo.init(str(tmp_path), no_scm=True).index
    gguf = next(stage for stage in index.stages if stage.addressing == "gguf")
    assert [str(dep) for dep in gguf.deps if str(dep).startswith("models")] == [f"models/{model}"]
    assert {stage.addressing for stage in index.graph.successors(gguf)} == {"instruct", maker}


@pytest.mark.parametrize(("written", "advice"), [("1e3", "write 1000"), ("16.0", "write 16"), ("16.5", "16.5$")])
def test_a_float_for_an_int_is_named(tmp_path: Path, written: str, advice: str) -> None:
    params = importlib.import_module("stages.pretrain").Params
    content = read_yaml(overridden(tmp_path, f"pretrain.steps={written}"))
    with pytest.raises(ValueError, match=rf"pretrain\.steps: expected int, found .*?{advice}"):
        from_mapping(params, content["pretrain"], "params.yaml: pretrain")
