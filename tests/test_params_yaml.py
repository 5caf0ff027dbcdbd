"""params.yaml is where a parameter has its value, and the only place."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from tests.params_of import params_of

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
# near_pairs reads what it needs of section dedup, see its load_params.
OWN_SECTION = [name for name in STAGES if name != "near_pairs"]


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_params_have_no_default_but_params_yaml(name: str) -> None:
    params = importlib.import_module(f"stages.{name}").Params
    second = [
        field.name
        for field in dataclasses.fields(params)
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    ]
    assert not second, f"stages/{name}.py gives {second} a default; params.yaml is where a value stands"
    if name in OWN_SECTION:
        assert params_of(params, name)  # and params.yaml has them all
