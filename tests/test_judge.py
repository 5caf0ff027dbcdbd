import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import stages.judge
from stages.judge import CRITIQUE_PROMPTS, Params, main, make_metrics
from stages.lib.core.metrics import read_results
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.judging.judged import CRITERIA, Judged
from stages.lib.judging.validity import PROBES, JudgedItem, Probe, wrong_answers
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry
from tests.params_of import params_of

ROOT = Path(__file__).parent.parent


@dataclass
class Reader:
    """Sees whether the answer's words stand in the passage; `blind`: sees nothing."""

    method: str
    blind: bool = False
    garbage: str = ""  # a word: what is asked about it is answered with nonsense
    asked: int = 0
    reused: int = 0
    generated: list[GenerateRequest] = field(default_factory=list)

    @property
    def entry(self) -> ModelEntry:
        return ModelEntry(source="server:x", backend="openai", judge_method=self.method)  # type: ignore[arg-type]

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.generated += requests
        return [self._rated(request.prompt.text) for request in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        if self.method == "rating":
            likely = [3 if self.blind else json.loads(self._rated(r.prompt.text).text)["score"] for r in requests]
            rows = [tuple(-abs(i - score) * 5.0 for i in range(1, 6)) for score in likely]
            return [Score(logprobs=row, tokens=(1,) * 5) for row in rows]
        return [self._likelihood(request) for request in requests]

    def _rated(self, text: str) -> Reply:
        score = 5
        if "Proposed answer: " in text:
            passage, _, rest = text.partition("Question: ")
            answer = rest.partition("Proposed answer: ")[2].split("\n")[0]
            score = 5 if answer in passage else 1
        elif " it " in text.partition("Question: ")[2].split("\n")[0]:
            score = 2
        out = json.dumps({"rationale": "So it is.", "score": 3 if self.blind else score})
        if self.garbage and self.garbage in text:
            out = "I love it!"
        return Reply(text=out, finish_reason="stop", prompt_tokens=1, completion_tokens=1)

    def _likelihood(self, request: ScoreRequest) -> Score:
        words = request.choices[0].split()
        known = 0 if self.blind else sum(word in request.prompt.text for word in words)
        return Score(logprobs=(known - float(len(words)),), tokens=(len(words),))


COUNT = 12


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.yaml").write_text((ROOT / "prompts.yaml").read_text())
    (tmp_path / "params.yaml").write_text(
        "models:\n  j: {source: path:j, backend: transformers}\n"
        "judge:\n  judges: [j]\n  max_new_tokens: 99\n  expected_scores: true\n"
        "  validity_pairs: 8\n  seed: 0\nqa: {tell: []}\ndomain: colours\n"
    )
    colours = ["red", "blue", "green", "grey", "black", "white", "pink", "brown", "cyan", "teal", "gold", "lime"]
    chunks = [
        {
            "id": f"d{i}-0",
            "document": f"d{i}",
            "source": f"lamps/{colour}.md",
            "text": f"The {colour}Lamp burns {i + 100} drops of oil an hour. The mast of {colour}wood has {i} sails.",
        }
        for i, colour in enumerate(colours)
    ]
    records = [
        {
            "id": f"g:d{i}-0",
            "chunk": f"d{i}-0",
            "generator": "g",
            "strategy": "direct",
            "question": f"How many drops does the {colour}Lamp burn?",
            "answer": f"The {colour}Lamp burns {i + 100} drops of oil an hour.",
            "support": None,
            "duplicate_of": None,
        }
        for i, colour in enumerate(colours)
    ]
    write_jsonl(tmp_path / "data/chunks/chunks_dedu.jsonl", chunks)
    write_jsonl(tmp_path / "data/qa/g_qa.jsonl", records)
    return tmp_path


def run(model: Reader, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Record], dict[str, Any]]:
    @contextmanager
    def opened(entry: ModelEntry, _: object) -> Iterator[Reader]:
        assert entry.source == "path:j"
        yield model

    monkeypatch.setattr(stages.judge, "open_model", opened)
    main("j", "g")
    metrics = read_results("judge_j_g")
    return read_jsonl(Path("data/judgments/j_g_qa.jsonl")), metrics


@pytest.mark.parametrize("method", ["rating", "likelihood"])
def test_a_judge_that_sees_is_seen_to_see(method: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, metrics = run(Reader(method), monkeypatch)
    assert metrics["method"] == method
    assert metrics["questions"] == {"in": COUNT, "kept": COUNT, "dropped": {"judge_failed": 0}}
    assert metrics["validity"]["groundedness"]["random_chunk"] == {"auc": 1.0, "low": 1.0, "high": 1.0, "pairs": 8}
    assert metrics["validity"]["standalone"]["vague_question"]["auc"] == 1.0
    for record in records:
        assert record["judge"] == "j" and record["method"] == method and record["failure"] is None
        for criterion in CRITERIA:
            assert 1 <= record[f"{criterion}_score"] <= 5
            assert (record[f"{criterion}_expected"] is None) == (method == "likelihood")
    assert all(record["groundedness_score"] == 5 for record in records)
    assert method == "rating" or metrics["validity"]["groundedness"]["wrong_answer"]["auc"] == 1.0
    assert metrics["validity"]["groundedness"]["altered_answer"]["auc"] == 1.0
    assert read_jsonl(Path("data/qa/g_qa.jsonl"))[0].items() <= records[0].items()


@pytest.mark.parametrize(("tell", "told"), [("[]", ""), ("[source]", "Source: lamps/red.md\n\n")])
def test_a_judge_is_told_what_the_generator_was_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, tell: str, told: str
) -> None:
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("qa: {tell: []}", f"qa: {{tell: {tell}}}"))
    model = Reader("rating")
    run(model, monkeypatch)
    first = model.generated[0].prompt.text
    assert f'"""\n{told}The redLamp burns 100 drops' in first and "documents about colours" in first


def test_wrong_answers_are_none_of_what_is_told() -> None:
    told = "Source: an old page about lamps.md\n\n"
    item = JudgedItem(question="q", answer="The lamp burns oil.", context=told + "It burns.", document="d", told=told)
    assert wrong_answers(item) == []
    assert wrong_answers(replace(item, told=""))


@pytest.mark.parametrize("method", ["rating", "likelihood"])
def test_a_judge_that_sees_nothing_is_seen_to_see_nothing(
    method: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, metrics = run(Reader(method, blind=True), monkeypatch)
    for kind in PROBES["groundedness"] if method == "rating" else ():  # by likelihood, no model takes part in it
        assert metrics["validity"]["groundedness"][kind]["auc"] == 0.5
    assert metrics["validity"]["relevance"]["random_question"]["auc"] == 0.5 or method == "rating"


def test_a_rating_judge_sees_the_wrong_answer_of_the_right_chunk_only_by_reading(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, metrics = run(Reader("rating"), monkeypatch)
    assert metrics["validity"]["groundedness"]["wrong_answer"]["auc"] == 0.5  # this one looks for words alone


def test_failures_to_score_count_as_failures(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, metrics = run(Reader("rating", garbage="redLamp burn?"), monkeypatch)
    assert metrics["questions"] == {"in": COUNT, "kept": COUNT - 1, "dropped": {"judge_failed": 1}}
    assert metrics["failures"] == {f"{criterion} unparsable": 1 for criterion in sorted(CRITERIA)}
    assert records[0]["failure"] == "; ".join(f"{criterion} unparsable" for criterion in CRITERIA)
    assert records[0]["relevance_score"] is None and records[0]["relevance_rationale"] == "I love it!"
    assert records[1]["failure"] is None


def test_a_judge_that_fails_always_is_an_error_that_keeps_its_replies(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"j could judge none of 12 questions.*unparsable.*j_g_qa.jsonl"):
        run(Reader("rating", garbage="Question"), monkeypatch)
    assert read_jsonl(Path("data/judgments/j_g_qa.jsonl"))[3]["groundedness_rationale"] == "I love it!"


def test_likelihood_scores_are_shares_of_wrong_items_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, _ = run(Reader("likelihood"), monkeypatch)
    assert all(math.isfinite(record["relevance_measure"]) for record in records)
    steps = {(record["standalone_score"] - 1) / 4 * 8 * 2 for record in records}
    assert all(step == int(step) for step in steps)  # halves of one of eight wrong items


@pytest.mark.parametrize("method", ["rating", "likelihood"])
@pytest.mark.parametrize("questions", [1, 2, 12])
def test_questions_of_a_single_document_are_judged(
    method: str, questions: int, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chunks = Path("data/chunks/chunks_dedu.jsonl")
    write_jsonl(chunks, [chunk | {"document": "one"} for chunk in read_jsonl(chunks)][:questions])
    write_jsonl(Path("data/qa/g_qa.jsonl"), read_jsonl(Path("data/qa/g_qa.jsonl"))[:questions])
    records, metrics = run(Reader(method), monkeypatch)
    assert [record["failure"] for record in records] == [None] * questions
    assert all(1 <= record[f"{criterion}_score"] <= 5 for record in records for criterion in CRITERIA)
    found = metrics["validity"]["relevance"]["random_question"]
    assert found["pairs"] == (0 if questions == 1 else min(questions, 8))
    assert (found["auc"] is None) == (questions == 1)
    said = capsys.readouterr().out
    assert "all questions are of one document" in said
    assert ("validity check by random_question is skipped" in said) == (questions == 1)


def test_main_names_what_is_wrong(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'other' is not among"):
        main("other", "g")
    with pytest.raises(ValueError, match=r"data/qa/nobody_qa.jsonl: no such file"):
        main("j", "nobody")
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("  j:", "  k:"))
    with pytest.raises(ValueError, match="no model 'j'"):
        main("j", "g")
    records = read_jsonl(Path("data/qa/g_qa.jsonl"))
    write_jsonl(Path("data/qa/g_qa.jsonl"), [*records[:2], records[2] | {"chunk": "gone-0"}])
    with pytest.raises(ValueError, match=r"g_qa.jsonl:3: its chunk 'gone-0' is not in"):
        main("j", "g")
    write_jsonl(Path("data/qa/g_qa.jsonl"), [])
    with pytest.raises(ValueError, match=r"g_qa.jsonl: no questions to judge"):
        main("j", "g")


def test_the_params_and_prompts_of_the_project_are_valid() -> None:
    from stages.lib.core.params import fill, load_prompts
    from stages.lib.judging.rating import FIELDS

    assert params_of(Params, "judge").judges
    prompts = load_prompts(list(CRITIQUE_PROMPTS.values()), ROOT / "prompts.yaml", domain="machine learning")
    for criterion, name in CRITIQUE_PROMPTS.items():
        filled = fill(prompts[name], **{part: f"<{part}>" for part in FIELDS[criterion]})
        assert all(f"<{part}>" in filled for part in FIELDS[criterion])
        assert '"score"' in filled and '"rationale"' in filled


@pytest.mark.parametrize("wrong", [{"judges": []}, {"max_new_tokens": 0}, {"validity_pairs": 0}])
def test_params_out_of_range(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "judges": ["j"],
        "max_new_tokens": 9,
        "expected_scores": True,
        "validity_pairs": 1,
        "seed": 0,
    }
    with pytest.raises(ValueError):
        Params(**(good | wrong))


def test_wrong_items_are_compared_with_the_items_that_they_were_made_from() -> None:
    """An item that could not be made wrong in this way says nothing about it."""
    item = JudgedItem(question="q", answer="a", context="c", document="d")
    kinds = sorted({kind for kinds in PROBES.values() for kind in kinds})
    probes = [Probe(kind=kind, index=index, item=item) for kind in kinds for index in (2, 3)]
    measures: dict[str, list[float | None]] = {criterion: [1.0, 1.0, 5.0, 4.0, 1.0] for criterion in CRITERIA}
    wrong: dict[tuple[str, str], list[float | None]] = {
        (criterion, kind): [3.0, 2.0] for criterion in PROBES for kind in PROBES[criterion]
    }
    scored: Record = {f"{criterion}_score": 4.0 for criterion in CRITERIA} | {"failure": None}
    params = Params(judges=["j"], max_new_tokens=9, expected_scores=True, validity_pairs=2, seed=0, engine="local")
    found = make_metrics("rating", Judged([scored] * 5, measures, wrong), probes, params)
    for criterion, kinds_of in PROBES.items():
        for kind in kinds_of:
            assert found["validity"][criterion][kind] == {"auc": 1.0, "low": 1.0, "high": 1.0, "pairs": 2}
