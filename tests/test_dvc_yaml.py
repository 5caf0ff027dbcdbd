"""dvc.yaml against the code: DVC does not see imports, so a stage's deps must be the rooms that it imports."""

import ast
from typing import Any

import pytest

from tests.graph import ROOT, STAGES, hidden_imports, import_closure, imported_modules, room_of

LIB = ROOT / "stages/lib"
ROOMS = sorted(place.name for place in LIB.iterdir() if (place / "__init__.py").is_file())
COMMANDS = {"commands", "chat"}  # what a person runs, no stage
# Pairs of a stage and a file whose edit runs it again, over those of a stage and a file that it imports: with 17 stages
# 599 over 537, with 19 and the rooms hub, conversations and replying 1116 over 927: a number alone would forbid more.
MOST_PAIRS = 1.25
MOST_LINES = 27  # of dvc.yaml per stage, since a person reads it
MOST_FILES = 20  # of a room, which one takes in at a glance
# Rooms that belong to one topic, and all stages that may depend on them: what other stages need of it stands in a room
# of its own, or an edit of the one topic would run the others again.
MEANT_EDGES = {
    "gpt": {"pretrain", "finetune", "gguf"},  # the model
    "training": {"pretrain", "finetune"},
    "curves": {"pretrain", "finetune"},
    "shards": {"shard", "pretrain", "finetune"},  # finetune measures what is forgotten of them
    "finetuning": {"finetune"},
    "instructions": {"shard", "finetune"},
    "hellaswag": {"pretrain"},
    "gpt_export": {"pretrain", "gguf"},  # init_from, and the export
    "corpus": {"shard", "chunk", "eval", "rag"},  # PDFs among them
    "spread": {"chunk", "near_pairs", "dedup", "qa", "judge", "embed", "rerank"},  # what a cluster computes
    "splitting": {"chunk", "rag", "shard"},  # shard: where a long document is cut, for validation
    "embedding": {"near_pairs", "embed", "rerank", "grpo", "eval", "rag", "retriever"},
    "near_duplicates": {"near_pairs", "dedup"},
    "wording": {"near_pairs", "dedup", "benchmark", "rag", "retriever"},
    "reranking": {"rerank", "rag", "retriever"},
    "ranking": {"benchmark", "rag"},
    "retriever_training": {"retriever"},
    "search": {"rerank", "benchmark", "rag", "retriever"},
    "llm": {"dedup", "qa", "judge", "rerank", "instruct", "eval", "grpo", "rag"},
    "english": {"qa", "judge", "instruct", "rag", "retriever"},
    "languages": {"finetune", "qa", "judge", "benchmark", "instruct", "grpo", "eval", "rag", "retriever"},
    "syntax": {"qa", "instruct", "retriever"},  # questions by a parse
    "question_forms": {"qa", "judge", "instruct"},
    "qa": {"qa", "instruct", "retriever"},
    "judging": {"judge"},
    "chats": {"instruct"},
    "adapters": {"qlora", "grpo", "retriever"},
    "lora": {"qlora"},
    "grpo": {"grpo"},
    "gguf": {"gguf"},
    "evaluation": {"eval", "rag"},
    "replying": {"eval", "grpo", "rag"},
    "passages": {"rag", "retriever"},
    "retrieval": {"rag"},
    "answering": {"rag"},
    "rag": {"rag"},
}


def stage_body(name: str) -> dict[str, Any]:
    """The stage's definition."""
    body: dict[str, Any] = STAGES[name]
    return body


def code_deps(name: str) -> set[str]:
    """What of the code a stage depends on: its script, and rooms."""
    return {dep for dep in stage_body(name)["deps"] if dep.startswith("stages/")}


def room_file(file: str) -> bool:
    """Whether a file of an import closure is more than a package's docstring."""
    return not file.endswith("__init__.py")


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_script_and_the_rooms_that_it_imports(name: str) -> None:
    rooms = {room_of(file) for file in import_closure(f"stages/{name}.py")} - {None}
    expected = {f"stages/{name}.py", *(f"stages/lib/{room}" for room in rooms)}
    listed = code_deps(name)
    assert not expected - listed, f"dvc.yaml: {name} lacks deps {sorted(expected - listed)}"
    assert not listed - expected, f"dvc.yaml: {name} does not import {sorted(listed - expected)}"


def test_what_no_room_holds_is_no_code() -> None:
    """The packages' own files are no deps, so they may hold a docstring alone; __pycache__ is none by .dvcignore."""
    for file in (ROOT / "stages/__init__.py", LIB / "__init__.py"):
        (only,) = ast.parse(file.read_text()).body
        assert isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant)
    assert [place.name for place in LIB.glob("*.py")] == ["__init__.py"]
    assert "__pycache__" in (ROOT / ".dvcignore").read_text().splitlines()


def test_an_edit_runs_little_that_does_not_use_it() -> None:
    pairs = {
        (name, file)
        for name in STAGES
        for dep in code_deps(name)
        for file in ([ROOT / dep] if dep.endswith(".py") else (ROOT / dep).glob("*.py"))
        if file.name != "__init__.py"
    }
    exact = {(name, file) for name in STAGES for file in import_closure(f"stages/{name}.py") if room_file(file)}
    assert len(pairs) <= MOST_PAIRS * len(exact)
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= MOST_LINES * len(STAGES)


@pytest.mark.parametrize("room", MEANT_EDGES)
def test_no_edge_is_there_that_is_not_meant(room: str) -> None:
    assert {name for name in STAGES if f"stages/lib/{room}" in code_deps(name)} == MEANT_EDGES[room]


def room_arrows() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    arrows: dict[str, set[str]] = {room: set() for room in ROOMS}
    for room in ROOMS:
        for path in (LIB / room).glob("*.py"):
            for module in imported_modules(str(path.relative_to(ROOT))):
                other = room_of(module.replace(".", "/") + "/")
                arrows[room] |= {other} - {None, room}  # type: ignore[arg-type]
    return arrows


def test_arrows_between_rooms_never_come_back() -> None:
    arrows = room_arrows()
    assert arrows["core"] == set()
    assert arrows["cache"] == {"core"}
    for command in COMMANDS:
        assert not [room for room in ROOMS if command in arrows[room]], f"{command} is for people"
    below: dict[str, set[str]] = {}

    def reached(room: str, path: tuple[str, ...]) -> set[str]:
        assert room not in path, f"a circle of rooms: {' -> '.join([*path, room])}"
        if room not in below:
            below[room] = set().union(*({other} | reached(other, (*path, room)) for other in arrows[room]), set())
        return below[room]

    for room in ROOMS:
        reached(room, ())


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_small_and_says_what_is_done_in_it(room: str) -> None:
    files = [path for path in (LIB / room).glob("*.py") if path.name != "__init__.py"]
    assert 1 < len(files) <= MOST_FILES
    assert ast.get_docstring(ast.parse((LIB / room / "__init__.py").read_text()))


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
