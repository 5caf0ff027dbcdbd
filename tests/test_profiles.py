"""Profiles load against every stage, keep comments, and can be taken back by `cpu`."""

import copy
from pathlib import Path
from typing import Any

import pytest

from profiles.overlay import (
    MODEL_LISTS,
    MODEL_NAMES,
    check_params,
    lay_over,
    overlaid_text,
    profile_names,
    read_profile,
)
from stages.finetune import Params as FinetuneParams
from stages.lib.gpt.memory import CARDS, Load, check_memory
from stages.lib.gpt.tokenizers import load_tokenizer
from stages.lib.params import from_mapping, read_yaml
from stages.pretrain import Params

ROOT = Path(__file__).parent.parent
PARAMS = ROOT / "params.yaml"


def leaves(tree: dict[str, Any], where: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value of nested mappings by its path."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        found.update(leaves(value, (*where, key)) if isinstance(value, dict) else {(*where, key): value})
    return found


@pytest.mark.parametrize("name", profile_names())
def test_profile_loads_against_every_stage(name: str) -> None:
    params = read_yaml(PARAMS)
    changes = lay_over(params, read_profile(name))
    check_params(params, where=name)  # raises where a stage would refuse the profile
    assert bool(changes) == (name != "cpu")


def test_params_yaml_is_the_cpu_profile() -> None:
    assert lay_over(read_yaml(PARAMS), read_profile("cpu")) == []


@pytest.mark.parametrize("name", profile_names())
def test_cpu_takes_a_profile_back(name: str) -> None:
    params = read_yaml(PARAMS)
    before = copy.deepcopy(params)
    lay_over(params, read_profile(name))
    lay_over(params, read_profile("cpu"))
    different = [".".join(path) for path, value in leaves(params).items() if leaves(before)[path] != value]
    assert not different, f"profiles/cpu.yaml lacks {different}, which profiles/{name}.yaml changes"


def test_comments_survive() -> None:
    text = "# head\nqa:\n  max_tokens: 3  # tokens\n  other: [a]\n"
    out, changes = overlaid_text(text, {"qa": {"max_tokens": 5}})
    assert out == "# head\nqa:\n  max_tokens: 5  # tokens\n  other: [a]\n"
    assert changes == ["qa.max_tokens: 3 -> 5"]


def test_params_yaml_survives_a_round_trip_to_the_letter() -> None:
    text = PARAMS.read_text()
    assert overlaid_text(text, {})[0] == text


def test_a_misspelt_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"qa\.max_token: .*did you mean 'max_tokens'"):
        lay_over({"qa": {"max_tokens": 3}}, {"qa": {"max_token": 5}})


def test_an_unknown_model_is_named() -> None:
    params = read_yaml(PARAMS)
    params["qa"]["generators"] = ["no-such-model"]
    with pytest.raises(ValueError, match=r"qa\.generators names 'no-such-model'"):
        check_params(params, where="params.yaml")


def test_a_models_name_with_a_dot_is_named_wherever_it_stands() -> None:
    params = read_yaml(PARAMS)
    params["models"]["qwen2.5"] = params["models"]["zephyr-7b"]  # no section uses it
    with pytest.raises(ValueError, match=r"models\.qwen2\.5: a name is lower-case letters, digits and hyphens"):
        check_params(params, where="params.yaml")


@pytest.mark.parametrize("name", profile_names())
def test_the_check_knows_every_place_that_names_a_model(name: str) -> None:
    params = read_yaml(PARAMS)
    lay_over(params, read_profile(name))
    models = params.pop("models")
    for path, value in leaves(params).items():
        named = [item for item in (value if isinstance(value, list) else [value]) if str(item) in models]
        assert not named or path in MODEL_LISTS | MODEL_NAMES, f"{path} names {named}"


@pytest.mark.parametrize("name", ["rtx4060-8g", "rtx4060-8g-long", "rtx4060ti-16g", "a100", "h100"])
def test_pretraining_fits_into_the_profiles_card(name: str) -> None:
    params = read_yaml(PARAMS)
    lay_over(params, read_profile(name))
    pretrain = from_mapping(Params, params["pretrain"], where=name)
    load = Load(
        config=pretrain.config(load_tokenizer(params["shard"]["tokenizer"]).vocab_size),
        micro_batch=pretrain.micro_batch,
        precision="bfloat16",
        optimizer=pretrain.optimizer,
    )
    card = CARDS[name.removesuffix("-long")]
    check_memory(load, int(0.9 * card), name)  # raises where it does not fit
    pretrain.sequences(pretrain.context, 1)
    if name in ("a100", "h100"):
        assert (load.config.vocab_size, pretrain.batch_tokens, pretrain.steps) == (50_304, 524_288, 19_073)
    from_mapping(FinetuneParams, params["finetune"], where=name).sequences(pretrain.context, 1)
