import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib.embedding.model_files import Layout, own_prompts, read_layout


def model_directory(place: Path, modules: list[tuple[str, str]], config: dict[str, Any]) -> Path:
    (place / "1_Pooling").mkdir(parents=True)
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
    directory = model_directory(tmp_path, [TRANSFORMER, POOLING, normalize], config)
    assert read_layout(directory) == Layout(name, foreign="")


DENSE = ("sentence_transformers.models.Dense", "2_Dense")
FOLDER = ("sentence_transformers.models.Transformer", "0_Transformer")
MEAN = {"pooling_mode": "mean"}


@pytest.mark.parametrize(
    ("modules", "pooling", "settings", "foreign"),
    [
        ([TRANSFORMER, POOLING], {"pooling_mode": "weightedmean"}, {}, "pooling weightedmean"),
        (
            [TRANSFORMER, POOLING],
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            {},
            "pooling cls+mean",
        ),
        ([TRANSFORMER, POOLING], MEAN | {"include_prompt": False}, {}, "a pooling that leaves the prompt out"),
        ([TRANSFORMER, POOLING, DENSE], MEAN, {}, "Dense"),
        ([FOLDER, POOLING], MEAN, {}, "a Transformer in 0_Transformer"),
        ([("sentence_transformers.models.StaticEmbedding", "0_StaticEmbedding")], MEAN, {}, "StaticEmbedding"),
        ([TRANSFORMER, POOLING], MEAN, {"query_length": 32}, "query_length of sentence_bert_config.json"),
    ],
)
def test_names_what_only_sentence_transformers_runs(
    tmp_path: Path, modules: list[tuple[str, str]], pooling: dict[str, Any], settings: dict[str, Any], foreign: str
) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64} | settings))
    assert read_layout(model_directory(tmp_path, modules, pooling)).foreign == foreign


def test_refuses_a_directory_that_does_not_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"modules\.json: no such file.*pooling: last_token"):
        read_layout(tmp_path)
    with pytest.raises(ValueError, match=r"names no Pooling"):
        read_layout(model_directory(tmp_path, [TRANSFORMER], {}))
    with pytest.raises(ValueError, match=r"1_Pooling/config\.json: not the config of a pooling"):
        read_layout(model_directory(tmp_path / "pooling", [TRANSFORMER, POOLING], {}))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ({}, ("", "")),
        ({"query": "query: ", "document": "passage: "}, ("query: ", "passage: ")),
        (
            {"query": "search_query: ", "document": "", "passage": "search_document: "},
            ("search_query: ", "search_document: "),
        ),
        ({"query": None, "corpus": "text: ", "clustering": "c: "}, ("", "text: ")),
    ],
)
def test_prompts_of_queries_and_documents(tmp_path: Path, prompts: dict[str, str], expected: tuple[str, str]) -> None:
    assert own_prompts(tmp_path) == ("", "")
    told = {"prompts": prompts, "default_prompt_name": "clustering"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(told))
    assert own_prompts(tmp_path) == expected


def test_refuses_prompts_that_are_no_texts(tmp_path: Path) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text('{"prompts": {"query": 3}}')
    with pytest.raises(ValueError, match=r"config_sentence_transformers\.json: prompts: expected texts by name"):
        own_prompts(tmp_path)
