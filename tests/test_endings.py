import ast

import pytest

from stages.lib.core.metrics import all_kept, check_counts, ending, summed
from tests.graph import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")


def test_ending_says_what_came_in_what_was_kept_why_the_rest_went_and_where_it_lies() -> None:
    counts = check_counts(1264, 508, {"duplicate_document": 44, "short_docstring": 712, "too_long": 0})
    line = ending("chunk", counts, "documents", "1,234 chunks", "data/chunks/chunks.jsonl")
    assert line == (
        "chunk: 1,264 documents -> 508 kept; dropped 712 short_docstring, 44 duplicate_document; "
        "1,234 chunks in data/chunks/chunks.jsonl"
    )


def test_ending_says_so_where_nothing_was_dropped() -> None:
    line = ending("embed minilm-l6", all_kept(90), "texts", "90 vectors", "data/embeddings")
    assert line == "embed minilm-l6: 90 texts -> all kept; 90 vectors in data/embeddings"


def test_ending_says_what_else_there_is_to_say_of_what_was_dropped() -> None:
    line = ending("shard", check_counts(3, 1, {"no_output": 2}), "documents", "5 tokens", "data", why="found text")
    assert line == "shard: 3 documents -> 1 kept; dropped 2 no_output (found text); 5 tokens in data"


def test_ending_refuses_counts_that_do_not_add_up() -> None:
    with pytest.raises(AssertionError):
        ending("qa", {"in": 3, "kept": 1, "dropped": {"no_fact": 1}}, "chunks", "1 question", "data/qa")


def test_summed_adds_splits_up() -> None:
    parts = [check_counts(10, 7, {"too_long": 3}), check_counts(5, 3, {"too_long": 1, "over_limit": 1})]
    assert summed(parts) == check_counts(15, 10, {"too_long": 4, "over_limit": 1})
    assert summed([]) == all_kept(0)


@pytest.mark.parametrize("stage", SCRIPTS)
def test_every_stage_prints_its_ending_last(stage: str) -> None:
    """One `print(ending("STAGE...", ...))`, and no other line of the stage is printed after it."""
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    prints = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    endings = [node for node in prints if ast.unparse(node).startswith("print(ending(")]
    assert len(endings) == 1, f"stages/{stage}.py: print(ending(...)) once, at its end"
    name = ast.unparse(endings[0].args[0].args[0]).lstrip("f").strip("'")  # type: ignore[attr-defined]
    assert name.split()[0] == stage
    [function] = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and endings[0] in list(ast.walk(node))
    ]
    last = function.body[-1]
    after_it = [node for node in ast.walk(function) if node in prints and node.lineno > endings[0].lineno]
    assert not after_it
    assert endings[0] in ast.walk(last) or isinstance(last, ast.Return), f"{function.name} does more after its ending"
