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
from stages.dedup import Params, dedup, sampled
from stages.lib.core.records import Record, write_jsonl
from stages.lib.near_duplicates import found_pairs
from stages.lib.near_duplicates.duplication import Verdict
from stages.lib.near_duplicates.found_pairs import ChunkPair, FoundPairs, Thresholds
from tests.params_of import project_params, section

ALIKE, AWAY = 0.98, 0.999


def params(**changes: Any) -> Params:
    settings: dict[str, Any] = {
        "models": ["small"],
        "thresholds": {"small": Thresholds(automatic=0.995, floor=0.97), "big": Thresholds(automatic=0.9, floor=0.8)},
        "judge": "nobody",
        "max_new_tokens": 10,
        "excess_nats": 3.0,
        "memory_mb": 500,
        "max_pairs": 1000,
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
    truncated: Sequence[bool] | None = None,
) -> tuple[list[Record], dict[str, list[Record]], dict[str, Any]]:
    arrays = vectors if isinstance(vectors, dict) else {"small": vectors}
    cut = truncated or [False] * len(chunks)
    settings = settings or params()
    return dedup(
        chunks, {model: find(chunks, arrays[model], cut, settings, model) for model in arrays}, judge, settings
    )


def find(
    chunks: list[Record], vectors: np.ndarray, truncated: Sequence[bool], settings: Params, model: str
) -> FoundPairs:
    searched = search.Params(thresholds=settings.thresholds[model], memory_mb=500, max_pairs=1000)
    return search.find_pairs([chunk["text"] for chunk in chunks], vectors, truncated, searched)


def test_a_pair_just_at_automatic_is_automatic() -> None:
    settings = params(thresholds={"small": Thresholds(automatic=1.0, floor=0.97)})
    found = find(chunk_records("one", "two"), at_angles(0, 0), [False, False], settings, "small")
    assert found.cosines == {(0, 1): 1.0}
    assert found.automatic == {(0, 1)}


def test_above_automatic_goes_unasked_and_the_band_is_asked() -> None:
    # 0-1 at 0.9986, 2-3 at 0.9848, 4 alone
    chunks = chunk_records("one", "one, longer", "two", "two too", "three")
    judge = Judge({(2, 3): False})
    kept, lines, metrics = run(chunks, at_angles(0, 3, 40, 50, 120), judge)
    assert [chunk["id"] for chunk in kept] == ["c1", "c2", "c3", "c4"]
    assert [chunk["duplicates"] for chunk in kept] == [["c0"], [], [], []]
    assert judge.rounds == [[(2, 3)]]
    first, second = lines["small"]
    assert first == {
        "a": "c0",
        "b": "c1",
        "cosine": first["cosine"],
        "decision": "auto",
        "verdict": None,
        "removed": "c0",
        "kept": "c1",
        "reason": "cosine >= 0.995",
    }
    assert first["cosine"] == pytest.approx(np.cos(np.deg2rad(3)), abs=1e-7)
    assert (second["decision"], second["removed"], second["verdict"]) == ("judged_distinct", None, "said of (2, 3)")
    assert metrics["chunks"] == {"in": 5, "kept": 4, "dropped": {"auto": 1, "judged": 0}}
    assert metrics["pairs"] == {"small": {"found": 2, "auto": 1, "judged_distinct": 1}}
    assert metrics["groups"] == 1 and metrics["groups_by_size"] == {"2": 1} and metrics["asked"] == 1
    assert metrics["group_diameter"]["small"] == pytest.approx(1 - np.cos(np.deg2rad(3)), abs=1e-7)


def test_a_chain_removes_nothing_for_one_that_it_is_unlike() -> None:
    """A~B~C~D, 5 degrees apart, automatic up to 5.7: A never goes for C."""
    chunks = chunk_records("a", "b", "c", "d")
    judge = Judge({(0, 2): False, (1, 3): False, (0, 3): False})
    kept, lines, metrics = run(chunks, at_angles(0, 5, 10, 15), judge)
    assert [(chunk["id"], chunk["duplicates"]) for chunk in kept] == [("c1", ["c0", "c2"]), ("c3", [])]
    removed = {line["removed"]: line["kept"] for line in lines["small"] if line["removed"]}
    assert removed == {"c0": "c1", "c2": "c1"}
    assert metrics["group_diameter"]["small"] == pytest.approx(1 - np.cos(np.deg2rad(10)), abs=1e-7)
    assert judge.rounds == [[(1, 3)]]


def test_every_removal_has_exactly_one_line_that_tells_why() -> None:
    rng = np.random.default_rng(3)
    chunks = chunk_records(*(f"text {i}" for i in range(60)))
    vectors = at_angles(*rng.uniform(0, 180, 60))
    judge = Judge({(a, b): bool((a + b) % 2) for a in range(60) for b in range(60)})
    kept, lines, metrics = run(chunks, vectors, judge)
    assert metrics["chunks"]["dropped"]["auto"] > 5 and metrics["chunks"]["dropped"]["judged"] > 2
    stay = {chunk["id"] for chunk in kept}
    told = [line["removed"] for line in lines["small"] if line["removed"]]
    assert sorted(told) == sorted({chunk["id"] for chunk in chunks} - stay)
    for line in lines["small"]:
        assert line["reason"]
        if line["removed"]:
            assert line["decision"] in ("auto", "judged_duplicate")
            assert line["kept"] in stay and {line["removed"], line["kept"]} == {line["a"], line["b"]}
        elif line["decision"] in ("auto", "judged_duplicate", "not_asked"):
            assert not {line["a"], line["b"]} <= stay
    assert sorted(chunk for group in kept for chunk in group["duplicates"]) == sorted(told)


def test_the_judge_is_asked_until_no_open_pair_stays() -> None:
    """0-1 is judged a duplicate of 1-2's kind: with 1 as the middle, 0 and 2 go; 3 is then judged against 1."""
    gram = [[1, ALIKE, 0.96, 0.5], [ALIKE, 1, ALIKE, 0.5], [0.96, ALIKE, 1, 0.5], [0.5, 0.5, 0.5, 1]]
    judge = Judge({(0, 1): True, (1, 2): True})
    kept, _, metrics = run(chunk_records("a", "b", "c", "d"), with_cosines(gram), judge)
    assert [chunk["id"] for chunk in kept] == ["c1", "c3"]
    assert metrics["rounds_of_asking"] == 1 and metrics["chunks"]["dropped"] == {"auto": 0, "judged": 2}


def test_a_chunk_that_comes_back_is_asked_about() -> None:
    """3 goes for 2 at first; once 1 has the most duplicates, 2 goes for 1, and 3 is back: (1, 3) is asked."""
    # automatic: 2-3. Band: 0-1, 1-2, 1-4, 1-3.
    gram = np.full((5, 5), 0.96)
    np.fill_diagonal(gram, 1)
    for a, b, cosine in [(2, 3, 0.996), (0, 1, 0.975), (1, 2, 0.975), (1, 4, 0.975), (1, 3, 0.975)]:
        gram[a, b] = gram[b, a] = cosine
    chunks = chunk_records("0", "1", "2 is the longer one", "3", "4")
    judge = Judge({(0, 1): True, (1, 2): True, (1, 4): True, (1, 3): False})
    kept, lines, metrics = run(chunks, with_cosines(gram.tolist()), judge)
    assert judge.rounds == [[(0, 1), (1, 2), (1, 4)], [(1, 3)]]
    assert {chunk["id"]: chunk["duplicates"] for chunk in kept} == {"c1": ["c0", "c2", "c4"], "c3": []}
    assert metrics["rounds_of_asking"] == 2
    (line,) = [line for line in lines["small"] if (line["a"], line["b"]) == ("c2", "c3")]
    assert line["removed"] is None and "settled" in line["reason"]


def test_a_failed_verdict_removes_nothing_and_is_counted() -> None:
    kept, lines, metrics = run(chunk_records("a", "b"), at_angles(0, 10), Judge({(0, 1): None}))
    assert len(kept) == 2
    assert metrics["pairs"]["small"] == {"found": 1, "judge_failed": 1}
    assert lines["small"][0]["decision"] == "judge_failed" and lines["small"][0]["removed"] is None


def test_what_the_model_did_not_read_to_the_end_is_not_removed_unasked() -> None:
    chunks = chunk_records("same start, end 1", "same start, end 2", "same", "same")
    judge = Judge({(0, 1): False})
    kept, _, metrics = run(chunks, at_angles(0, 0, 90, 90), judge, truncated=[True] * 4)
    assert judge.rounds == [[(0, 1)]]
    assert [chunk["id"] for chunk in kept] == ["c0", "c1", "c2"]
    assert metrics["chunks"]["dropped"] == {"auto": 1, "judged": 0}


def test_a_pair_that_one_of_several_models_finds_is_a_duplicate() -> None:
    vectors = {"small": at_angles(0, 10, 90, 99), "big": at_angles(0, 90, 180, 205)}
    judge = Judge({(0, 1): True, (2, 3): True})
    settings = params(models=["small", "big"])
    kept, lines, metrics = run(chunk_records("a", "b", "c", "d"), vectors, judge, settings)
    assert judge.rounds == [[(0, 1)]]  # 2-3 is automatic by the second model's thresholds
    assert [chunk["id"] for chunk in kept] == ["c0", "c2"]
    assert [line["decision"] for line in lines["small"]] == ["judged_duplicate", "auto"]
    assert [line["reason"] for line in lines["small"]][1] == "automatic by another embedding model"
    assert [line["reason"] for line in lines["big"]] == ["cosine >= 0.9"]
    assert metrics["chunks"]["dropped"] == {"auto": 1, "judged": 1}


def test_the_sample_is_seeded_and_stable() -> None:
    ids = [f"{hashlib.sha256(str(i).encode()).hexdigest()[:12]}-0" for i in range(500)]
    drawn = sampled(ids, 100, seed=0)
    assert len(drawn) == 100 and drawn == sampled(ids[::-1], 100, seed=0)
    assert len(drawn & sampled(ids, 100, seed=1)) < 50
    assert len(drawn & sampled(ids[:450], 100, seed=0)) > 80
    assert sampled(ids, 0, seed=0) == set(ids) == sampled(ids, 1000, seed=0)


def test_sampled_marks_kept_chunks() -> None:
    chunks = chunk_records("a", "a longer", "b", "c")
    kept, _, metrics = run(chunks, at_angles(0, 0, 90, 150), Judge(), params(sample=2))
    assert sum(chunk["sampled"] for chunk in kept) == metrics["sampled"] == 2 < len(kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["unknown"]}, "thresholds: none for 'unknown'"),
        ({"models": []}, "at least one"),
        ({"models": ["small", "small"]}, "each once"),
        ({"sample": -1}, "sample"),
        ({"max_pairs": 0}, "max_pairs"),
    ],
)
def test_refuses_params_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params(**changes)


@pytest.mark.parametrize(("automatic", "floor"), [(0.9, 0.95), (1.0, 0.0), (2.0, 1.5)])
def test_refuses_thresholds_out_of_order(automatic: float, floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        Thresholds(automatic=automatic, floor=floor)


def test_too_many_pairs_leave_no_output(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("max_pairs: 1000000", "max_pairs: 3"))
    write_jsonl(stage.CHUNKS, chunk_records("a", "a", "a", "a"))
    fake_embedder(monkeypatch, np.ones((4, 4), np.float32) / 2)
    with pytest.raises(ValueError, match="more than 3 pairs"):
        search.main()
    assert not found_pairs.DIRECTORY.exists()


def test_main_writes_all_outputs_the_same_twice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(stage.CHUNKS, chunk_records("a", "a", "b", "c"))
    fake_embedder(monkeypatch, at_angles(0, 0, 90, 170))
    search.main()
    stage.main()
    first = outputs(project)
    assert set(first) == {
        "data/near_pairs/minilm-l6.jsonl",
        "data/near_pairs/minilm-l6_thresholds.json",
        "data/near_pairs/minilm-l6_vectors.npy",
        "data/chunks/chunks_dedu.jsonl",
        "data/deduplication/minilm-l6_dedu.jsonl",
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
    found = find(chunks, vectors, [False] * 3, params(), "small")
    found_pairs.write_found("small", found, ["c0", "c1", "c2"])
    read = found_pairs.read_found("small", ["c0", "c1", "c2"])
    assert (read.cosines, read.automatic, read.thresholds) == (found.cosines, found.automatic, found.thresholds)
    assert list(read.cosines) == list(found.cosines) and read.vectors.tobytes() == vectors.tobytes()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["c0", "x", "c2"], "the chunk 'c1' is not in chunks.jsonl; run again: .*near_pairs small"),
        (["c0", "c1"], "shape"),
    ],
)
def test_dedup_refuses_pairs_of_other_chunks(project: Path, ids: list[str], message: str) -> None:
    found = find(chunk_records("a", "b", "c"), at_angles(0, 1, 90), [False] * 3, params(), "small")
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
    (project / "params.yaml").write_text(
        text.replace("    minilm-l6:\n      automatic", "    nobody:\n      automatic")
    )
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
    small = section("dedup", models=["minilm-l6"], judge="smollm2-135m", sample=0, max_pairs=1_000_000)
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

    monkeypatch.setattr(search, "open_embedder", lambda name, entry: Embedder())


def outputs(project: Path) -> dict[str, bytes]:
    files = [file for folder in ("data", "metrics") for file in (project / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(project)): file.read_bytes() for file in sorted(files) if file.name != "chunks.jsonl"}
