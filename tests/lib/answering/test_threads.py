"""Several people search at once, each their own documents, with the same real models."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from app.settings import open_searching
from stages.lib.answering.evidence import DocumentIndex
from stages.lib.passages.paged_document import read_text
from tests.params_of import models, section


def test_people_search_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    chat = section("chat", system="fused", passages=2, chunk_chars=100)
    entries = {"minilm-l6": models()["minilm-l6"]}
    Path("params.yaml").write_text(
        yaml.safe_dump({"models": entries, "chat": chat, "embed": section("embed"), "domain": "tides"})
    )
    facts = ["The lamp burns oil of whales.", "The bell weighs nine tons.", "The mill grinds the barley."]
    documents = [
        read_text(f"{i}.txt", f"{fact} It is {i} years old, and few people know it.".encode())
        for i, fact in enumerate(facts)
    ]
    with open_searching() as searching, ThreadPoolExecutor(3) as pool:

        def asks(i: int) -> list[str]:
            index = DocumentIndex([documents[i]], searching.choice, searching.settings, searching.encoders)
            asked = [f"What does it do in year {year}? {facts[i]}" for year in range(4)]
            return [index.find(question).quotes[0].quote.text for question in asked]

        assert list(pool.map(asks, range(3))) == [[fact] * 4 for fact in facts]
