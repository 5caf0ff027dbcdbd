"""params.yaml is where a parameter has its value, and the only place."""

import dataclasses
import importlib
import typing
from pathlib import Path

import pytest

from stages.lib.adapters.lora import Lora
from stages.lib.adapters.schedule import Schedule
from stages.lib.grpo.settings import GRPOSettings
from stages.lib.training.training_params import TrainingParams
from tests.params_of import params_of

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
# near_pairs reads what it needs of section dedup, see its load_params.
OWN_SECTION = [name for name in STAGES if name != "near_pairs"]


# `engine` decides no result: a params.yaml from before there was one gives what it gave.
WITHOUT = {"engine"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_params_have_no_default_but_params_yaml(name: str) -> None:
    params = importlib.import_module(f"stages.{name}").Params
    second = [
        field.name
        for field in dataclasses.fields(params)
        if (field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING)
        and field.name not in WITHOUT
    ]
    assert not second, f"stages/{name}.py gives {second} a default; params.yaml is where a value stands"
    if name in OWN_SECTION:
        assert params_of(params, name)  # and params.yaml has them all


@pytest.mark.parametrize("name", OWN_SECTION)
def test_a_stages_script_shows_all_its_params(name: str) -> None:
    """A person who opens the script sees each knob: nothing comes by inheritance from the library."""
    params = importlib.import_module(f"stages.{name}").Params
    assert set(params.__annotations__) == {field.name for field in dataclasses.fields(params)}
    assert params.__bases__ == (object,)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("pretrain", [TrainingParams]),
        ("finetune", [TrainingParams]),
        ("qlora", [Lora, Schedule]),
        ("grpo", [Lora, Schedule, GRPOSettings]),
    ],
)
def test_what_a_library_takes_has_the_types_of_the_params(name: str, groups: list[type]) -> None:
    own = typing.get_type_hints(importlib.import_module(f"stages.{name}").Params)
    for group in groups:
        assert typing.get_type_hints(group).items() <= own.items()
