import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib.embedding.written import Templates, Written, read_templates
from stages.lib.weights.models import ModelEntry


def templates(place: Path, prompts: dict[str, str] | None = None, **entry: Any) -> Templates:
    if prompts is not None:
        (place / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return read_templates(ModelEntry(source="path:x", backend="sentence_transformers", **entry), place)


def test_a_model_without_prompts(tmp_path: Path) -> None:
    plain = templates(tmp_path)
    assert plain.write_query("What is {a}?", "") == Written("What is {a}?", "", "query")
    assert plain.write_query("What?", "Find {query}").text == "Find {query}: What?"
    assert plain.write_document("A {text}.", "T") == Written("A {text}.", "", "document")


def test_a_template_without_a_place_for_an_instruction_is_applied_to_every_query(tmp_path: Path) -> None:
    e5 = templates(tmp_path, query_template="query: {query}", document_template="passage: {text}")
    assert e5.write_query("What?", "") == Written("query: What?", "query: ", "query")
    assert e5.write_query("What?", "Find it").text == "query: Find it: What?"
    assert e5.write_document("A text.", "") == Written("passage: A text.", "passage: ", "document")


def test_a_template_with_a_place_for_an_instruction_is_for_queries_with_one(tmp_path: Path) -> None:
    qwen = templates(tmp_path, query_template="Instruct: {instruction}\nQuery:{query}")  # Qwen3-Embedding's model card
    assert qwen.write_query("What is {a}?", "").text == "What is {a}?"
    found = qwen.write_query("What is {a}?", "Find {query}")
    assert found == Written("Instruct: Find {query}\nQuery:What is {a}?", "Instruct: Find {query}\nQuery:", "query")


def test_a_models_own_prompts_are_used_where_its_entry_has_no_template(tmp_path: Path) -> None:
    prompts = {"query": "search_query: ", "document": "search_document: "}
    own = templates(tmp_path, prompts)
    assert own.write_query("What?", "").text == "search_query: What?"
    assert own.write_query("What?", "Find it").text == "search_query: Find it: What?"
    assert own.write_document("A text.", "").text == "search_document: A text."
    half = templates(tmp_path, prompts, query_template="{query}")
    assert half.write_query("What?", "").text == "What?" and half.write_document("A.", "").text == "search_document: A."


def test_the_instruction_in_a_models_own_prompt_is_replaced_by_ours(tmp_path: Path) -> None:
    own = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    qwen = templates(tmp_path, {"query": own})
    assert qwen.write_query("What?", "").text == f"{own}What?"
    assert qwen.write_query("What?", "Find it").text == "Instruct: Find it\nQuery:What?"


def test_titles(tmp_path: Path) -> None:
    gemma = templates(tmp_path, document_template="title: {title} | text: {text}")
    assert gemma.write_document("A.", "On {text}") == Written(
        "title: On {text} | text: A.", "title: On {text} | text: ", "document"
    )
    assert gemma.write_document("A.", "").text == "title: none | text: A."


@pytest.mark.parametrize("template", [{"query_template": "query: "}, {"document_template": "passage: {query}"}])
def test_a_template_without_the_text_is_refused(tmp_path: Path, template: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"so every text would get the same vector"):
        templates(tmp_path, **template)
