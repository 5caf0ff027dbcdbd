"""Pages of nearly the same words that state other facts all stay: the rules, and the default's judge by itself."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from stages.dedup import dedup
from stages.lib.core.params import load_prompts
from stages.lib.core.records import read_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.llm.asking import open_model
from stages.lib.near_duplicates.duplication import PROMPT, Verdict, judge_pairs
from stages.lib.near_duplicates.found_pairs import ChunkPair, FoundPairs
from stages.lib.weights.models import load_model_entry
from stages.near_pairs import Params as Search
from stages.near_pairs import find_pairs
from tests.test_dedup import chunk_records, params

PAGES = Path(__file__).parent / "same_words_other_fact.jsonl"


def texts() -> list[str]:
    return [page["text"] for page in read_jsonl(PAGES)]


def test_pages_that_state_other_facts_stay_whatever_a_judge_says() -> None:
    pages = texts()
    pairs = dict.fromkeys(itertools.combinations(range(len(pages)), 2), 0.9997)
    near = FoundPairs(vectors=np.eye(len(pages), dtype=np.float32), cosines=pairs)

    def everything_is_the_same(asked: list[ChunkPair]) -> list[Verdict]:
        return [Verdict(True, "the same") for _ in asked]

    result = dedup(chunk_records(*pages), {"small": near}, everything_is_the_same, params())
    asked = [record for record in result.pairs["small"] if record["decision"] != "other_fact"]
    # one says "To run a training script", the other "To start a training script": that is a judge's to decide
    assert [(record["a"], record["b"]) for record in asked] == [("c4", "c5")]
    assert {"c0", "c1", "c2", "c3", "c6"} < {chunk["id"] for chunk in result.kept}


@pytest.mark.slow
def test_the_default_s_models_keep_pages_that_state_other_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedding model finds them alike, and the judge tells them apart without the rules."""
    entries = {name: load_model_entry(name) for name in ("minilm-l6", "smollm2-135m")}
    prompt = load_prompts([PROMPT], domain="machine learning")[PROMPT]
    monkeypatch.chdir(tmp_path)
    pages = texts()
    with open_embedder("minilm-l6", entries["minilm-l6"]) as embedder:
        vectors = embedder.encode_documents(pages, progress=None)
    found, _ = find_pairs(pages, vectors, Search(thresholds=0.97, memory_mb=500, neighbours=20))
    assert len(found.cosines) >= 5
    asked = [(pages[a], pages[b]) for a, b in found.cosines]
    with open_model(entries["smollm2-135m"]) as judge:
        verdicts = judge_pairs(asked, judge, prompt=prompt, max_tokens=100, excess_nats=3.0)
    assert [verdict.why for verdict in verdicts if verdict.duplicate is not False] == []
