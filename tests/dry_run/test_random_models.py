"""The configurations are the real ones: at full depth they have the parameters that the models' cards name."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from profiles.dry_run.random_models import configurations, cut, fill
from profiles.dry_run.tokenizer_files import HARMONY_SIZE, PACKAGES, _harmony_tokens
from stages.lib.core.params import read_yaml

ROOT = Path(__file__).parent.parent.parent
PARAMETERS = {  # of the whole models
    "HuggingFaceH4/zephyr-7b-beta": 7_241_732_096,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-1.5B-Instruct-GGUF": 1_543_714_304,
    "Qwen/Qwen3-1.7B-GGUF": 1_720_574_976,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "openai/gpt-oss-20b": 20_914_757_184,
    "Qwen/Qwen3-Embedding-0.6B": 595_776_512,
    "Qwen/Qwen3-Embedding-4B": 4_021_774_336,
    "Qwen/Qwen3-Embedding-8B": 7_567_295_488,
    "Qwen/Qwen3-Reranker-0.6B": 595_776_512,
    "Qwen/Qwen3-Reranker-4B": 4_021_784_576,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_configuration_has_its_models_parameters(name: str) -> None:
    known = configurations()[name]
    kind = AutoModel if "Embedding" in name else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(AutoConfig.for_model(**known["config"]))
        shallow = kind.from_config(AutoConfig.for_model(**cut(known["config"], 2)))
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[name] == known["parameters"]
    deep = {key: weight.shape for key, weight in model.named_parameters()}
    assert all(deep[key] == weight.shape for key, weight in shallow.named_parameters())
    assert known["tokenizer"] in PACKAGES


def test_every_model_of_the_hub_in_params_has_a_configuration() -> None:
    models = read_yaml(ROOT / "params.yaml")["models"]  # a profile changes entries, and adds none
    hub = {entry["source"].partition(":")[2] for entry in models.values() if entry["source"].startswith("hub:")}
    assert hub == configurations().keys()


def test_a_weight_is_filled_whole_from_a_short_block() -> None:
    weight = torch.full((3, 5), torch.nan)
    fill(weight, 1.0, torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert weight.view(-1).tolist() == [1, 2, 3, 4] * 3 + [1, 2, 3]


def test_harmonys_ids_have_no_gap() -> None:
    tokens = _harmony_tokens()
    assert [token["id"] for token in tokens] == list(range(199998, HARMONY_SIZE))
    assert {token["id"]: token["content"] for token in tokens}[200006] == "<|start|>"
    assert configurations()["openai/gpt-oss-20b"]["config"]["vocab_size"] == HARMONY_SIZE
