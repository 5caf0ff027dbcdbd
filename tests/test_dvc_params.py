"""Params, prompts and model entries against dvc.yaml, by the code alone; test_end_to_end.py compares what runs read."""

import ast
import dataclasses
import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from profiles.overlay import MODEL_NAMES
from stages.lib.core.params import PROMPTS_FILE, read_yaml
from stages.lib.spread.cluster import RayParams
from tests.graph import ROOT, STAGES, import_closure

PROMPTS = set(read_yaml(ROOT / PROMPTS_FILE))
SECTION = {"near_pairs": "dedup"}  # stages that have no section of their own name
# Keys of a stage's section that it does not track: loop lists (a stage of a loop does not depend on who else is in the
# loop, or a new model would run them all) and keys that decide files which are deps.
# `engine` decides who computes, never what comes out: the team's laptop does not run again what the cluster ran.
UNTRACKED = {
    "chunk": {"engine"},
    "dedup": {"thresholds", "memory_mb", "neighbours", "engine"},  # near_pairs': they decide data/near_pairs
    "qa": {"generators", "engine"},
    "judge": {"judges", "engine"},
    "embed": {"models", "engine"},
    "rerank": {"rerankers", "instructions", "engine"},
    "retriever": {"parts"},
}
WORKERS = {f"ray.{field.name}" for field in dataclasses.fields(RayParams)}  # of such an engine
LOOP_LISTS_ELSEWHERE = {"near_pairs": {"dedup.models", "dedup.engine"}}
# What a stage reads of other sections than its own by `load`, and the models that these name.
SHARED_SECTIONS = {"rag": {"chat"}}
MODELS_ELSEWHERE = {"rag": {"chat.embedding", "chat.late_interaction", "gguf.base"}}
LOOPED_MODELS = {"near_pairs": "model", "qa": "generator", "judge": "judge", "embed": "model", "rerank": "reranker"}


def tracked(name: str) -> tuple[set[str], set[str]]:
    """The keys of params.yaml and the prompts that dvc.yaml lists for a stage."""
    keys, prompts = set(), set()
    for item in STAGES[name]["params"]:
        if isinstance(item, str):
            keys.add(item)
        else:
            prompts |= {prompt for names in item.values() for prompt in names}
    return keys, prompts


def texts(value: Any) -> Iterator[str]:
    """The texts in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from texts(item)


def named_prompts(name: str) -> set[str]:
    """Every prompt that the stage's code names: in a text of its source or in a constant of its modules."""
    found: set[str] = set()
    for file in import_closure(f"stages/{name}.py"):
        nodes = ast.walk(ast.parse((ROOT / file).read_text()))
        found |= {node.value for node in nodes if isinstance(node, ast.Constant) and node.value in PROMPTS}
        module = importlib.import_module(file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        found |= {text for value in vars(module).values() for text in texts(value) if text in PROMPTS}
    return found


def keys_read_one_by_one(name: str) -> set[str]:
    """The keys that the stage's code gives read_param and read_names; `*` for what it puts into them."""
    found = set()
    for file in import_closure(f"stages/{name}.py"):
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("read_param", "read_names"):
                key = node.args[0]
                parts = key.values if isinstance(key, ast.JoinedStr) else [key]
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts))
    return found - {"*"}  # read_names' own call


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_tracks_the_prompts_that_its_code_names(name: str) -> None:
    assert tracked(name)[1] == named_prompts(name)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_tracks_its_section(name: str) -> None:
    keys, _ = tracked(name)
    section = SECTION.get(name, name)
    own = {key.split(".", 1)[1] for key in keys if key.startswith(f"{section}.")}
    module = importlib.import_module(f"stages.{name}")
    fields = {field.name for field in dataclasses.fields(module.Params)} - UNTRACKED.get(name, set())
    if section in keys:
        assert name not in UNTRACKED, f"dvc.yaml: {name} tracks all of its section; name its keys one by one"
    else:
        assert {key.split(".")[0] for key in own} == fields


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_tracks_the_keys_of_other_sections_that_it_reads(name: str) -> None:
    keys, _ = tracked(name)
    section = SECTION.get(name, name)
    own = {name, *SHARED_SECTIONS.get(name, set())}
    listed = {re.sub(r"\$\{.*?\}", "*", key) for key in keys if not key.startswith("models.") and key not in own}
    read = {key for key in keys_read_one_by_one(name) if not key.startswith("models.")}
    if name in SECTION:
        read = {key.replace("dedup.*", f"dedup.{limit}") for key in read for limit in ("memory_mb", "neighbours")}
    else:
        listed = {key for key in listed if not key.startswith(f"{section}.")}
    assert listed == read - LOOP_LISTS_ELSEWHERE.get(name, set())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_tracks_the_models_that_it_names_and_no_other(name: str) -> None:
    keys, _ = tracked(name)
    named = {f"models.${{{section}.{key}}}" for section, key in MODEL_NAMES if section == name}
    named |= {f"models.${{{key}}}" for key in MODELS_ELSEWHERE.get(name, set())}
    if name == "base":
        named = {"models.${gguf.base}"}  # its section is empty
    if name in LOOPED_MODELS:
        named.add(f"models.${{item.{LOOPED_MODELS[name]}}}")
    assert {key for key in keys if key.split(".")[0] == "models"} == named


# Read YAML of their own room, which is no params file: DVC tracks it with the room.
DATA = {"lib/reply_acts/refusal_reader.py", "lib/reply_acts/reply_frames.py"}


def test_params_are_read_by_the_functions_that_announce_it() -> None:
    """A read past stages/lib/core/params.py would be one that neither these tests nor the end-to-end run can see."""
    for path in sorted((ROOT / "stages").rglob("*.py")):
        file = str(path.relative_to(ROOT / "stages"))
        if (
            file in ("lib/core/params.py", "lib/weights/models.py", "lib/core/tracked.py", *DATA)
            or "/commands/" in file
        ):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or "", *(a.name for a in node.names)] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {"yaml", "ruamel", "ruamel.yaml", "read_yaml"} & set(names), (
                f"{file}: use stages/lib/core/params.py"
            )


def test_library_code_takes_params_and_does_not_read_them() -> None:
    """But what a person starts, and ranking/grid.py, which does nothing else and is told the file."""
    readers = {"load", "read_param", "read_names", "load_prompts", "load_model_entry"}
    own = ("core/params.py", "weights/models.py", "ranking/grid.py", "chat/terminal.py")
    for path in sorted((ROOT / "stages/lib").rglob("*.py")):
        file = str(path.relative_to(ROOT / "stages/lib"))
        if file in own or file.startswith("commands/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in (
                "stages.lib.core.params",
                "stages.lib.weights.models",
            ):
                found = readers & {alias.name for alias in node.names}
                assert not found, f"stages/lib/{file}: {found}: the stage reads it, and passes it down"
