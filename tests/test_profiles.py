"""Profiles, as they are written, load in every stage and resolve in DVC; they keep comments, and do not mix."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from profiles.__main__ import main
from profiles.memory import CARDS
from profiles.overlay import (
    MODEL_LISTS,
    MODEL_NAMES,
    check_params,
    committed_text,
    lay_over,
    leaves,
    overlaid_text,
    profile_names,
    read_profile,
    set_value,
)
from stages.finetune import Params as FinetuneParams
from stages.lib.core.params import from_mapping, load, parse_yaml, read_yaml
from stages.lib.gpt.model import GPT
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.lib.training.memory import TrainingLoad, check_memory
from stages.lib.training.training_params import DECIDE
from stages.lib.weights.models import load_model_entry
from stages.pretrain import SHAPE, Params
from tests.params_of import project_params, project_text, section
from tests.test_params_yaml import OWN_SECTION, STAGES

ROOT = Path(__file__).parent.parent

# Each profile as it is laid over params.yaml; two of them as DVC leaves it after an override.
WRITTEN = [(name, "profiles") for name in profile_names()] + [(name, "dvc exp run") for name in ("smoke", "h100")]


def written(place: Path, name: str, writer: str) -> Path:
    """A project's params.yaml with a profile laid over it, as it is then or after an override by DVC."""
    from dvc.utils.hydra import apply_overrides  # type: ignore[import-untyped,unused-ignore]

    file = place / "params.yaml"
    file.write_text(overlaid_text(project_text(), read_profile(name))[0], encoding="utf-8")
    if writer == "dvc exp run":
        apply_overrides(str(file), ["grpo.lr=0.00003", "benchmark.rrf_k=30"])
    return file


@pytest.mark.parametrize(("name", "writer"), WRITTEN)
def test_a_written_profile_is_loaded_by_every_stage(tmp_path: Path, name: str, writer: str) -> None:
    file = written(tmp_path, name, writer)
    content, expected = read_yaml(file), project_params()
    lay_over(expected, read_profile(name))
    if writer == "dvc exp run":
        expected["grpo"]["lr"], expected["benchmark"]["rrf_k"] = 0.00003, 30
    assert content == expected
    for stage in OWN_SECTION:
        load(importlib.import_module(f"stages.{stage}").Params, stage, file)
    for model in content["models"]:
        load_model_entry(model, file)
    check_params(content, where=name)


@pytest.mark.parametrize(("name", "writer"), WRITTEN)
def test_dvc_resolves_the_graph_of_a_written_profile(
    tmp_path: Path, name: str, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.dependency import ParamsDependency  # type: ignore[import-untyped,unused-ignore]
    from dvc.repo import Repo  # type: ignore[import-untyped,unused-ignore]

    content = read_yaml(written(tmp_path, name, writer))
    for file in ("dvc.yaml", "prompts.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    stages = {stage.addressing: stage for stage in Repo.init(str(tmp_path), no_scm=True).index.stages}
    looped = {f"qa@{model}" for model in content["qa"]["generators"]}
    looped |= {f"embed@{model}" for model in content["embed"]["models"]}
    assert looped <= stages.keys()
    assert {stage.partition("@")[0] for stage in stages} == {*STAGES}
    for stage in stages.values():
        for dep in stage.deps:
            if isinstance(dep, ParamsDependency):
                missing = set(dep.params) - dep.read_params().keys()
                assert not missing, f"{stage.addressing}: {dep} has no {missing}"
        assert not any("${" in str(path) for path in (stage.cmd, *stage.deps, *stage.outs))


def test_comments_survive() -> None:
    text = "# head\nqa:\n  max_tokens: 3  # tokens\n  other:\n  - a\n"
    out, changes = overlaid_text(text, {"qa": {"max_tokens": 5}})
    assert out == "# head\nqa:\n  max_tokens: 5  # tokens\n  other:\n  - a\n"
    assert changes == ["qa.max_tokens: 3 -> 5"]


def test_a_misspelt_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"qa\.max_token: .*did you mean 'max_tokens'"):
        lay_over({"qa": {"max_tokens": 3}}, {"qa": {"max_token": 5}})


def test_an_entry_takes_what_params_yaml_leaves_at_its_default() -> None:
    base = {"models": {"served": {"source": "server:x", "backend": "openai"}}}
    changes = lay_over(base, {"models": {"served": {"qa_strategy": "fact_first"}}})
    assert changes == ["models.served.qa_strategy: fact_first"]
    assert base["models"]["served"]["qa_strategy"] == "fact_first"
    with pytest.raises(ValueError, match=r"models\.served\.sourze: .*did you mean 'source'"):
        lay_over(base, {"models": {"served": {"sourze": "server:y"}}})
    with pytest.raises(ValueError, match=r"models\.other: params\.yaml has no such key"):
        lay_over(base, {"models": {"other": {"source": "server:y"}}})


def test_a_value_on_the_command_line_is_laid_over_the_profile() -> None:
    profile = {"dedup": {"judge": "server"}}
    for change in ("dedup.sample=40", "domain=home cooking", "models.server.source=server:llama3.2:3b", "a.b=[x, y]"):
        set_value(profile, change)
    assert profile == {
        "dedup": {"judge": "server", "sample": 40},
        "domain": "home cooking",
        "models": {"server": {"source": "server:llama3.2:3b"}},
        "a": {"b": ["x", "y"]},
    }
    with pytest.raises(ValueError, match="'sample': write KEY=VALUE"):
        set_value(profile, "sample")
    with pytest.raises(ValueError, match="judge is a value, not a section"):
        set_value(profile, "dedup.judge.name=x")


def test_an_unknown_model_is_named() -> None:
    params = project_params()
    params["qa"]["generators"] = ["no-such-model"]
    with pytest.raises(ValueError, match=r"qa\.generators names 'no-such-model'"):
        check_params(params, where="params.yaml")


def test_a_base_to_release_that_is_not_gguf_base_is_named() -> None:
    params = project_params(gguf=section("gguf", model="zephyr-7b", base="smollm2-135m"))
    with pytest.raises(ValueError, match=r"gguf\.model names 'zephyr-7b', gguf\.base 'smollm2-135m'"):
        check_params(params, where="params.yaml")
    check_params(project_params(gguf=section("gguf", model="zephyr-7b", base="zephyr-7b")), where="params.yaml")


def test_a_models_name_with_a_dot_is_named_wherever_it_stands() -> None:
    params = project_params()
    params["models"]["qwen2.5"] = params["models"]["zephyr-7b"]  # no section uses it
    with pytest.raises(ValueError, match=r"models\.qwen2\.5: a name is lower-case letters, digits and hyphens"):
        check_params(params, where="params.yaml")


@pytest.mark.parametrize("name", profile_names())
def test_the_check_knows_every_place_that_names_a_model(name: str) -> None:
    params = project_params()
    lay_over(params, read_profile(name))
    models = params.pop("models")
    for path, value in leaves(params).items():
        named = [item for item in (value if isinstance(value, list) else [value]) if str(item) in models]
        assert not named or path in MODEL_LISTS | MODEL_NAMES, f"{path} names {named}"


@pytest.mark.parametrize("name", ["rtx4060-8g", "rtx4060-8g-long", "rtx4060ti-16g", "a100", "h100"])
def test_pretraining_fits_into_the_profiles_card(name: str) -> None:
    params = project_params()
    lay_over(params, read_profile(name))
    pretrain = from_mapping(Params, params["pretrain"], where=name)
    load = TrainingLoad(
        config=pretrain.config(load_tokenizer(params["shard"]["tokenizer"]).vocab_size),
        micro_batch=pretrain.micro_batch,
        precision="bfloat16",
        optimizer=pretrain.optimizer,
    )
    card = CARDS[name.removesuffix("-long")]
    check_memory(load, int(0.9 * card), name)  # raises where it does not fit
    pretrain.training().sequences(pretrain.context, 1)
    if name in ("a100", "h100"):
        assert (load.config.vocab_size, pretrain.batch_tokens, pretrain.steps) == (50_304, 524_288, 19_073)
    from_mapping(FinetuneParams, params["finetune"], where=name).training().sequences(pretrain.context, 1)


ORIGINAL = {"position": "learned", "norm": "layernorm", "activation": "gelu_tanh", "bias": True}


def rows_of_gpt2() -> list[list[str]]:
    """The cells of the table of GPT-2's hyperparameters in docs/gpt.md, of the rows that name a key of pretrain."""
    page = (ROOT / "docs/gpt.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "| `" in line]
    return [[row[0].strip("`"), *row[1:]] for row in rows if row[0].strip("`") in Params.__annotations__]


@pytest.mark.parametrize("name", ["a100", "h100"])
def test_gpt2_in_the_profiles_is_as_docs_say_and_departures_have_a_reason(name: str) -> None:
    params = project_params()
    lay_over(params, read_profile(name))
    pretrain = from_mapping(Params, params["pretrain"], where=name)
    rows = rows_of_gpt2()
    # Every knob that decides the weights, but those of which the original has none.
    own = {"init_from", "vocab_multiple", "precision", "eval_every", "seed"}
    assert {key for key, *_ in rows} == {*SHAPE, *DECIDE} - own
    for key, original, ours, reason in rows:
        value = getattr(pretrain, key)
        assert parse_yaml(f"x: {ours}", Path("docs/gpt.md"))["x"] == value, key
        assert bool(reason) == (original != ours), key
    assert {
        key: parse_yaml(f"x: {original}", Path("x"))["x"] for key, original, ours, _ in rows if original != ours
    } == (ORIGINAL)


@pytest.mark.parametrize(("changes", "weights"), [({}, 123_587_328), (ORIGINAL, 124_475_904)])
def test_gpt2s_count_of_weights_comes_out(changes: dict[str, Any], weights: int) -> None:
    """124,475,904 are build-nanogpt's; OpenAI's 124,439,808 have 47 rows of the embedding less."""
    params = project_params()
    lay_over(params, read_profile("a100"))
    pretrain = from_mapping(Params, params["pretrain"] | changes, where="a100")
    config = pretrain.config(load_tokenizer("gpt2").vocab_size)
    with torch.device("meta"):
        model = GPT(config)
    assert (model.n_params, config.vocab_size) == (weights, 50_304)
    assert f"{weights:,}" in (ROOT / "docs/gpt.md").read_text(encoding="utf-8")
    assert round(pretrain.warmup_fraction * pretrain.steps) == 715  # 375M tokens, GPT-3's


@pytest.mark.parametrize("name", ["", *profile_names()])
def test_finetuning_is_gentler_than_pretraining(name: str) -> None:
    params = project_params()
    if name:
        lay_over(params, read_profile(name))
    assert params["finetune"]["lr"] <= params["pretrain"]["lr"] / 4


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with the project's params.yaml, committed."""
    (tmp_path / "params.yaml").write_text(project_text(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def apply(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "argv", ["profiles", name])
    main()


def test_one_profile_is_not_mixed_with_another(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(monkeypatch, "smoke")
    assert "The way back: git checkout params.yaml" in capsys.readouterr().out
    apply(monkeypatch, "smoke")
    assert capsys.readouterr().out == "params.yaml already is smoke\n"
    before = Path("params.yaml").read_text()
    with pytest.raises(ValueError, match=r"of profile smoke, which h100 would leave: .*gguf\.types.*git checkout"):
        apply(monkeypatch, "h100")
    assert Path("params.yaml").read_text() == before
    subprocess.run(["git", "checkout", "-q", "params.yaml"], check=True)
    apply(monkeypatch, "h100")


def test_a_profile_that_covers_another_replaces_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(monkeypatch, "rtx4060-8g")
    apply(monkeypatch, "rtx4060ti-16g")  # has all keys of the first
    both = Path("params.yaml").read_text()
    subprocess.run(["git", "checkout", "-q", "params.yaml"], check=True)
    apply(monkeypatch, "rtx4060ti-16g")
    assert read_yaml(Path("params.yaml")) == parse_yaml(both, Path("both"))


def test_changes_of_ones_own_are_kept(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("params.yaml")
    added = "models:\n  mine:\n    source: path:x\n    backend: transformers\n"
    file.write_text(file.read_text().replace("\nmodels:\n", f"\n{added}").replace("rrf_k: 60", "rrf_k: 30"))
    apply(monkeypatch, "h100")
    content = read_yaml(file)
    assert (content["models"]["mine"]["source"], content["benchmark"]["rrf_k"]) == ("path:x", 30)
    assert content["grpo"]["base"] == "qwen25-3b-instruct"


def test_without_git_a_profile_is_laid_over_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text(project_text(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert committed_text(tmp_path) is None
    apply(monkeypatch, "smoke")
    assert read_yaml(tmp_path / "params.yaml")["grpo"]["steps"] == 1
