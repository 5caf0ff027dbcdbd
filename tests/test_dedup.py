"""The stages near_pairs and dedup on made vectors and a scripted judge; test_end_to_end.py runs the real models."""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages import dedup as stage
from stages import near_pairs as search
from stages.dedup import Deduplicated, Params, dedup, resolve, sampled
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.near_duplicates import found_pairs
from stages.lib.near_duplicates.duplication import Verdict
from stages.lib.near_duplicates.found_pairs import ChunkPair, FoundPairs
from stages.lib.wording.form import same_words
from tests.params_of import project_params, section

ALIKE = 0.98


def params(**changes: Any) -> Params:
    settings: dict[str, Any] = {
        "models": ["small"],
        "thresholds": {"small": 0.97, "big": 0.8},
        "judge": "nobody",
        "max_new_tokens": 10,
        "excess_nats": 3.0,
        "memory_mb": 500,
        "neighbours": 20,
        "sample": 0,
        "seed": 0,
    }
    return Params(**(settings | changes))


def chunk_records(*texts: str) -> list[Record]:
    return [{"id": f"c{i}", "document": "d", "source": "s", "text": text} for i, text in enumerate(texts)]


def with_cosines(gram: Sequence[Sequence[float]]) -> np.ndarray:
    """Unit vectors whose cosines are the given ones."""
    values, axes = np.linalg.eigh(np.array(gram))
    assert values.min() > -1e-9
    vectors = axes * np.sqrt(values.clip(min=0))
    normalised: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def at_angles(*degrees: float) -> np.ndarray:
    """Vectors in a plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class Judge:
    """Says of each pair what it was told to say, and remembers what it was asked."""

    def __init__(self, verdicts: dict[ChunkPair, bool | None] | None = None) -> None:
        self.verdicts = verdicts or {}
        self.rounds: list[list[ChunkPair]] = []

    def __call__(self, pairs: list[ChunkPair]) -> list[Verdict]:
        self.rounds.append(pairs)
        return [Verdict(self.verdicts[pair], f"said of {pair}") for pair in pairs]


def run(
    chunks: list[Record],
    vectors: np.ndarray | dict[str, np.ndarray],
    judge: Judge,
    settings: Params | None = None,
) -> Deduplicated:
    """Vectors are those of the chunks with words of their own."""
    arrays = vectors if isinstance(vectors, dict) else {"small": vectors}
    settings = settings or params()
    own = [chunks[i] for i in sorted(set(same_words([chunk["text"] for chunk in chunks])))]
    return dedup(chunks, {model: find(own, arrays[model], settings, model) for model in arrays}, judge, settings)


def find(chunks: list[Record], vectors: np.ndarray, settings: Params, model: str) -> FoundPairs:
    searched = search.Params(thresholds=settings.thresholds[model], memory_mb=500, neighbours=settings.neighbours)
    return search.find_pairs([chunk["text"] for chunk in chunks], vectors, searched)[0]


def test_nothing_goes_for_its_cosine_alone() -> None:
    # 0-1 at 0.9986, 2-3 at 0.9848, 4 alone
    chunks = chunk_records("a lamp", "a lamp burns", "the mill", "the windmill", "barley")
    judge = Judge({(0, 1): True, (2, 3): False})
    done = run(chunks, at_angles(0, 3, 40, 50, 120), judge)
    assert [(chunk["id"], chunk["duplicates"]) for chunk in done.kept] == [
        ("c1", ["c0"]),
        ("c2", []),
        ("c3", []),
        ("c4", []),
    ]
    assert judge.rounds == [[(0, 1), (2, 3)]] and done.same_words == []
    first, second = done.pairs["small"]
    assert first == {
        "a": "c0",
        "b": "c1",
        "cosine": first["cosine"],
        "decision": "judged_duplicate",
        "verdict": "said of (0, 1)",
        "removed": "c0",
        "kept": "c1",
        "reason": "the judge found them to say the same",
    }
    assert first["cosine"] == pytest.approx(np.cos(np.deg2rad(3)), abs=1e-7)
    assert (second["decision"], second["removed"], second["verdict"]) == ("judged_distinct", None, "said of (2, 3)")
    metrics = done.metrics
    assert metrics["chunks"] == {"in": 5, "kept": 4, "dropped": {"same_words": 0, "judged": 1}}
    assert metrics["pairs"] == {"small": {"found": 2, "judged_distinct": 1, "judged_duplicate": 1}}
    assert metrics["groups"] == 1 and metrics["groups_by_size"] == {"2": 1} and metrics["asked"] == 2
    assert metrics["group_diameter"]["small"] == pytest.approx(1 - np.cos(np.deg2rad(3)), abs=1e-7)


def test_the_same_words_are_collapsed_before_the_search() -> None:
    chunks = chunk_records("A lamp.", "**a LAMP**, burning?", "the mill", "a lamp", "- a lamp burning", "The mill!")
    done = run(chunks, at_angles(0, 60, 120), Judge())
    assert [(chunk["id"], chunk["duplicates"]) for chunk in done.kept] == [
        ("c0", ["c3"]),
        ("c1", ["c4"]),
        ("c5", ["c2"]),
    ]
    assert [(line["removed"], line["kept"]) for line in done.same_words] == [("c2", "c5"), ("c3", "c0"), ("c4", "c1")]
    assert done.metrics["chunks"] == {"in": 6, "kept": 3, "dropped": {"same_words": 3, "judged": 0}}
    assert done.metrics["groups_by_size"] == {"2": 3} and done.metrics["asked"] == 0


def test_a_judged_duplicate_takes_those_of_its_words_along() -> None:
    chunks = chunk_records("a lamp", "a lamp burns bright", "A lamp!", "a lamp burns bright.")
    done = run(chunks, at_angles(0, 3), Judge({(0, 1): True}))
    assert [(chunk["id"], chunk["duplicates"]) for chunk in done.kept] == [("c3", ["c0", "c1", "c2"])]
    assert [(line["removed"], line["kept"]) for line in done.same_words] == [("c0", "c2"), ("c1", "c3")]
    assert done.metrics["chunks"] == {"in": 4, "kept": 1, "dropped": {"same_words": 2, "judged": 1}}


def test_other_facts_are_no_question_for_the_judge() -> None:
    chunks = chunk_records("kept for thirty days", "kept for ninety days", "rank is 8", "rank is -8")
    judge = Judge()
    done = run(chunks, at_angles(0, 1, 90, 91), judge)
    assert judge.rounds == [] and len(done.kept) == 4
    assert [line["reason"] for line in done.pairs["small"]] == [
        "they state different facts: thirty | ninety",
        "they state different facts: 8 | -8",
    ]
    assert done.metrics["pairs"]["small"] == {"found": 2, "other_fact": 2}


def test_pages_of_one_template_are_counted_and_do_not_hide_a_duplicate() -> None:
    pages = [f"Copyright notice of page {i}" for i in range(50)]
    chunks = chunk_records(*pages, "copyright notice for page 7")
    vectors = at_angles(*(i / 100 for i in range(50)), 1)  # other pages are nearer to the last than page 7
    settings, judge = params(neighbours=2), Judge({(7, 50): True})
    done = run(chunks, vectors, judge, settings)
    assert judge.rounds == [[(7, 50)]] and done.metrics["chunks"]["dropped"] == {"same_words": 0, "judged": 1}
    searched = search.Params(thresholds=0.97, memory_mb=500, neighbours=2)
    found, counts = search.find_pairs([chunk["text"] for chunk in chunks], vectors, searched)
    assert (
        counts["found"] == 51 * 50 / 2 == counts["same_numbers"] + counts["other_numbers"] + counts["beyond_neighbours"]
    )
    assert counts["same_numbers"] == 1 and len(found.cosines) <= 1 + 2 * 51


def test_a_chain_removes_nothing_for_one_that_it_is_unlike() -> None:
    """A~B~C~D, 5 degrees apart: A never goes for C."""
    chunks = chunk_records("a", "b", "c", "d")
    judge = Judge({(0, 1): True, (1, 2): True, (2, 3): True, (0, 2): False, (1, 3): False})
    done = run(chunks, at_angles(0, 5, 10, 15), judge)
    assert [(chunk["id"], chunk["duplicates"]) for chunk in done.kept] == [("c1", ["c0", "c2"]), ("c3", [])]
    removed = {line["removed"]: line["kept"] for line in done.pairs["small"] if line["removed"]}
    assert removed == {"c0": "c1", "c2": "c1"}
    assert done.metrics["group_diameter"]["small"] == pytest.approx(1 - np.cos(np.deg2rad(10)), abs=1e-7)


def test_every_removal_has_exactly_one_line_that_tells_why() -> None:
    rng = np.random.default_rng(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"{letters[i // 26]}{letters[i % 26]}" for i in range(60)]
    chunks = chunk_records(*texts, *(text.upper() for text in texts[::7]))
    judge = Judge({(a, b): bool((a + b) % 2) for a in range(60) for b in range(60)})
    done = run(chunks, at_angles(*rng.uniform(0, 180, 60)), judge)
    assert done.metrics["chunks"]["dropped"]["judged"] > 5 and done.metrics["chunks"]["dropped"]["same_words"] == 9
    stay = {chunk["id"] for chunk in done.kept}
    told = [line["removed"] for line in done.pairs["small"] if line["removed"]]
    told += [line["removed"] for line in done.same_words]
    assert sorted(told) == sorted({chunk["id"] for chunk in chunks} - stay)
    for line in done.pairs["small"]:
        assert line["reason"]
        if line["removed"]:
            assert line["decision"] == "judged_duplicate"
            assert line["kept"] in stay and {line["removed"], line["kept"]} == {line["a"], line["b"]}
        elif line["decision"] in ("judged_duplicate", "not_asked"):
            assert not {line["a"], line["b"]} <= stay
    assert sorted(chunk for group in done.kept for chunk in group["duplicates"]) == sorted(told)


def test_the_judge_is_asked_until_no_open_pair_stays() -> None:
    """0-1 is judged a duplicate of 1-2's kind: with 1 as the middle, 0 and 2 go; 3 is then judged against 1."""
    gram = [[1, ALIKE, 0.96, 0.5], [ALIKE, 1, ALIKE, 0.5], [0.96, ALIKE, 1, 0.5], [0.5, 0.5, 0.5, 1]]
    judge = Judge({(0, 1): True, (1, 2): True})
    done = run(chunk_records("a", "b", "c", "d"), with_cosines(gram), judge)
    assert [chunk["id"] for chunk in done.kept] == ["c1", "c3"]
    assert done.metrics["rounds_of_asking"] == 1
    assert done.metrics["chunks"]["dropped"] == {"same_words": 0, "judged": 2}


def test_a_failed_verdict_removes_nothing_and_is_counted() -> None:
    done = run(chunk_records("a", "b"), at_angles(0, 10), Judge({(0, 1): None}))
    assert len(done.kept) == 2
    assert done.metrics["pairs"]["small"] == {"found": 1, "judge_failed": 1}
    (line,) = done.pairs["small"]
    assert line["decision"] == "judge_failed" and line["removed"] is None


def test_a_pair_that_one_of_several_models_finds_is_asked_about() -> None:
    vectors = {"small": at_angles(0, 10, 90, 120), "big": at_angles(0, 90, 180, 205)}
    judge = Judge({(0, 1): True, (2, 3): True})
    done = run(chunk_records("a", "b", "c", "d"), vectors, judge, params(models=["small", "big"]))
    assert judge.rounds == [[(0, 1), (2, 3)]]  # 2-3 is near by the second model's threshold
    assert [chunk["id"] for chunk in done.kept] == ["c0", "c2"]
    assert [(line["a"], line["b"]) for line in done.pairs["small"]] == [("c0", "c1")]
    assert [(line["a"], line["b"]) for line in done.pairs["big"]] == [("c2", "c3")]


def test_a_chunk_that_comes_back_is_asked_about() -> None:
    """3 goes for 2 at first, and is not asked about with 1; once 2 goes for 1, 3 is back, and (1, 3) is asked."""

    def ask(pairs: list[ChunkPair]) -> list[Verdict]:
        rounds.append(pairs)
        return [Verdict(pair != (1, 3), "") for pair in pairs]

    rounds: list[list[ChunkPair]] = []
    lengths = [1, 1, 9, 1, 1]
    first = resolve(lengths, [(0, 1), (1, 2), (1, 4), (2, 3)], {}, ask)
    assert rounds == [[(0, 1), (1, 2), (1, 4), (2, 3)]] and first.representative == [1, 1, 1, 3, 1]
    rounds.clear()
    second = resolve(lengths, [(0, 1), (1, 2), (1, 3), (1, 4), (2, 3)], {(1, 3): "8 | 9"}, ask)
    assert rounds == [[(0, 1), (1, 2), (1, 4), (2, 3)]] and second.decisions[1, 3] == "other_fact"


def test_the_sample_is_seeded_and_stable() -> None:
    ids = [f"{hashlib.sha256(str(i).encode()).hexdigest()[:12]}-0" for i in range(500)]
    drawn = sampled(ids, 100, seed=0)
    assert len(drawn) == 100 and drawn == sampled(ids[::-1], 100, seed=0)
    assert len(drawn & sampled(ids, 100, seed=1)) < 50
    assert len(drawn & sampled(ids[:450], 100, seed=0)) > 80
    assert sampled(ids, 0, seed=0) == set(ids) == sampled(ids, 1000, seed=0)


def test_sampled_marks_kept_chunks() -> None:
    done = run(chunk_records("a", "a longer", "b", "c"), at_angles(0, 40, 90, 150), Judge(), params(sample=2))
    assert sum(chunk["sampled"] for chunk in done.kept) == done.metrics["sampled"] == 2 < len(done.kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["unknown"]}, "thresholds: none for 'unknown'"),
        ({"models": []}, "at least one"),
        ({"models": ["small", "small"]}, "each once"),
        ({"sample": -1}, "sample"),
        ({"neighbours": 0}, "neighbours"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"thresholds": {"small": 1.01}}, "thresholds.small: 1.01 is not a cosine"),
    ],
)
def test_refuses_params_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params(**changes)


def test_1500_pages_with_one_notice_are_one_chunk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notice = "This notice stands on each page. " * 24
    write_jsonl(stage.CHUNKS, chunk_records(*[notice] * 1500, "a lamp"))
    fake_embedder(monkeypatch, at_angles(0, 90))
    search.main()
    stage.main()
    kept = read_jsonl(stage.KEPT)
    assert [chunk["id"] for chunk in kept] == ["c0", "c1500"] and len(kept[0]["duplicates"]) == 1499


def test_main_writes_all_outputs_the_same_twice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(stage.CHUNKS, chunk_records("a", "a", "b", "c"))
    fake_embedder(monkeypatch, at_angles(0, 90, 170))
    search.main()
    stage.main()
    first = outputs(project)
    assert set(first) == {
        "data/near_pairs/minilm-l6.jsonl",
        "data/near_pairs/minilm-l6_vectors.npy",
        "data/chunks/chunks_dedu.jsonl",
        "data/deduplication/minilm-l6_dedu.jsonl",
        "data/deduplication/same_words.jsonl",
        "metrics/dedup.json",
        "metrics/full/dedup.json",
        "metrics/full/near_pairs_minilm-l6.json",
        "metrics/near_pairs_minilm-l6.json",
    }
    kept = [json.loads(line) for line in first["data/chunks/chunks_dedu.jsonl"].splitlines()]
    assert [chunk["id"] for chunk in kept] == ["c0", "c2", "c3"]
    search.main()
    stage.main()
    assert outputs(project) == first


def test_dedup_reads_the_pairs_to_the_last_bit(project: Path) -> None:
    chunks = chunk_records("a", "b", "c")
    vectors = at_angles(0, 10, 11)
    found = find(chunks, vectors, params(), "small")
    found_pairs.write_found("small", found, ["c0", "c1", "c2"])
    read = found_pairs.read_found("small", ["c0", "c1", "c2"])
    assert read.cosines == found.cosines and list(read.cosines) == list(found.cosines)
    assert read.vectors.tobytes() == vectors.tobytes()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            ["c0", "x", "c2"],
            "the chunk 'c1' is none of those to compare; run again: .*near_pairs small",
        ),
        (["c0", "c1"], "shape"),
    ],
)
def test_dedup_refuses_pairs_of_other_chunks(project: Path, ids: list[str], message: str) -> None:
    found = find(chunk_records("a", "b", "c"), at_angles(0, 1, 90), params(), "small")
    found_pairs.write_found("small", found, ["c0", "c1", "c2"])
    with pytest.raises(ValueError, match=message):
        found_pairs.read_found("small", ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: python -m stages.near_pairs MODEL"),
        (["nobody"], r"one of dedup.models \['minilm-l6'\]; found 'nobody'"),
    ],
)
def test_near_pairs_names_its_models(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["near_pairs", *arguments])
    with pytest.raises(ValueError, match=message):
        search.main()


def test_near_pairs_wants_thresholds(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("    minilm-l6: 0.97", "    nobody: 0.97"))
    with pytest.raises(ValueError, match=r"dedup\.thresholds: none for 'minilm-l6'"):
        search.load_params("minilm-l6")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no chunks"),
        ([{"id": "a"}], "chunks.jsonl:1: the record lacks text"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "the id 'a' is there more than once"),
    ],
)
def test_names_what_is_wrong_with_the_chunks(project: Path, records: list[Record], message: str) -> None:
    write_jsonl(search.CHUNKS, records)
    with pytest.raises(ValueError, match=message):
        search.main()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with our params and prompts."""
    small = section("dedup", models=["minilm-l6"], judge="smollm2-135m", sample=0)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(project_params(dedup=small)))
    shutil.copy(Path(__file__).parents[1] / "prompts.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["near_pairs", "minilm-l6"])
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    return tmp_path


def fake_embedder(monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray) -> None:
    class Embedder:
        def __enter__(self) -> "Embedder":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def encode_documents(self, texts: list[str], progress: str, ids: list[str]) -> np.ndarray:
            return vectors

        def count_truncated(self, texts: list[str]) -> int:
            return 0

    monkeypatch.setattr(search, "open_embedder", lambda name, entry, _: Embedder())


def outputs(project: Path) -> dict[str, bytes]:
    files = [file for folder in ("data", "metrics") for file in (project / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(project)): file.read_bytes() for file in sorted(files) if file.name != "chunks.jsonl"}
