"""dvc.yaml against the code: DVC does not see imports, so its deps must be the import closure."""

import ast
from typing import Any

import pytest

from tests.graph import ROOT, STAGES, hidden_imports, import_closure, imported_modules

# Files that one topic's stages are made of, and all stages that may depend on them: a constant or a function that
# other stages need stands in a file of its own, or an edit of the one topic would run the others again.
LANGUAGE = {"dedup", "qa", "judge", "rerank", "instruct", "eval"}  # stages that ask a language model
MEANT_EDGES = {
    "lib/core/ledger.py": LANGUAGE | {"near_pairs", "embed"},
    "lib/weights/models.py": LANGUAGE | {"near_pairs", "embed", "qlora", "grpo", "base", "gguf"},
    "lib/gpt/model.py": {"pretrain", "finetune", "gguf"},
    "lib/gpt/checkpoints.py": {"pretrain", "finetune", "gguf"},
    "lib/gpt/evaluate.py": set(),
    "lib/gpt_export/huggingface_layouts.py": {"pretrain", "gguf"},  # init_from, and the export
    "lib/gpt/instruction_batches.py": {"finetune"},
    "lib/tokens/shards.py": {"shard", "pretrain"},
    "lib/corpus/files.py": {"shard", "chunk", "eval"},
    "lib/corpus/pdf.py": {"shard", "chunk", "eval"},
    "lib/embedding/text_encoder.py": {"near_pairs", "embed", "eval"},
    "lib/near_duplicates/cosine_bound.py": {"near_pairs"},
    "lib/english/facts.py": {"qa", "judge", "instruct"},
    "lib/english/verbs.py": {"qa", "judge", "instruct"},
    "lib/english/words.py": {"qa", "judge", "instruct"},
    "lib/english/openings.py": {"qa", "instruct"},
    "lib/qa/qa_replies.py": {"qa", "judge", "instruct"},
    "lib/chats/false_premises.py": {"instruct"},
    "lib/chats/qar.py": {"instruct"},
    "lib/chats/refusals.py": {"instruct"},
    "lib/chats/splits.py": {"instruct"},
    "lib/lora/masks.py": {"qlora"},
    "lib/lora/sft.py": {"qlora"},
    "lib/grpo/rewards.py": {"grpo"},
    "lib/grpo/shared_prompt_trainer.py": {"grpo"},
}


def stage_body(name: str) -> dict[str, Any]:
    """The stage's definition."""
    body: dict[str, Any] = STAGES[name]
    return body


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_import_closure(name: str) -> None:
    listed = {dep for dep in stage_body(name)["deps"] if dep.endswith(".py")}
    expected = import_closure(f"stages/{name}.py")
    assert not expected - listed, f"dvc.yaml: {name} lacks deps {sorted(expected - listed)}"
    assert not listed - expected, f"dvc.yaml: {name} does not import {sorted(listed - expected)}"


@pytest.mark.parametrize("file", MEANT_EDGES)
def test_no_edge_is_there_that_is_not_meant(file: str) -> None:
    assert {name for name in STAGES if f"stages/{file}" in stage_body(name)["deps"]} == MEANT_EDGES[file]


@pytest.mark.parametrize("name", STAGES)
def test_stage_runs_as_a_module(name: str) -> None:
    assert stage_body(name)["cmd"].startswith(f"python -m stages.{name}")


def test_a_stage_never_imports_a_stage_and_the_product_never_imports_dvc() -> None:
    stage_modules = {f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py")} - {"stages.__init__"}
    for path in sorted((ROOT / "stages").rglob("*.py")):
        file = str(path.relative_to(ROOT))
        assert not imported_modules(file) & stage_modules, f"{file} imports a stage"
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(module.split(".")[0] == "dvc" for module in names), f"{file} imports dvc"


@pytest.mark.parametrize(
    "line",
    [
        'importlib.import_module("stages.lib.core.params")',
        'import_module(".params", "stages.lib")',
        "importlib.import_module(name)",
        'import_module(f"stages.{name}")',
        '__import__("stages.lib.core.params")',
        "from importlib import import_module as load\nload(name)",
        "load = importlib.import_module",
        'runpy.run_module("stages.chunk")',
        "exec(text)",
    ],
)
def test_a_hidden_import_is_found(line: str) -> None:
    assert list(hidden_imports(line))


def test_the_product_hides_no_import() -> None:
    assert not list(hidden_imports('importlib.import_module("trl")'))
    for path in sorted((ROOT / "stages").rglob("*.py")):
        assert not list(hidden_imports(path.read_text())), f"{path}: import it plainly, in a function if it is heavy"


def test_rooms_do_not_import_each_other() -> None:
    """Any room may use what lib/llm and lib/corpus offer; no other arrow between rooms."""
    for path in sorted((ROOT / "stages" / "lib").glob("*/*.py")):
        room = path.parent.name
        for module in imported_modules(str(path.relative_to(ROOT))):
            parts = module.split(".")
            if len(parts) > 2 and (ROOT / "stages" / "lib" / parts[2]).is_dir():
                assert parts[2] in {room, "llm", "corpus"}, f"{path}: room {room} imports room {parts[2]}"
