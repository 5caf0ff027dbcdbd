import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import stages.qa
from stages.lib.core.metrics import read_results
from stages.lib.core.params import load_prompts
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.qa.candidates import candidates
from stages.lib.qa.openings import Opening
from stages.lib.qa.question_writing import ALL_PROMPTS, SCHEMA, ask_directly, ask_fact_first
from stages.lib.qa.round_trip import NO_QUESTION
from stages.lib.weights.models import ModelEntry
from stages.qa import Params, main, make_metrics, mark_same_questions
from tests.params_of import params_of

ROOT = Path(__file__).parent.parent
PARAMS = Params(
    generators=["tiny"],
    max_new_tokens=99,
    question_max_new_tokens=20,
    facts_per_chunk=2,
    temperature=0.0,
    seed=0,
    tell=[],
    duplicate_similarity=0.85,
    engine="local",
)
PROMPTS = load_prompts(ALL_PROMPTS, ROOT / "prompts.yaml", domain="machine learning")


@dataclass
class Scripted:
    """Answers a request with the first reply whose key its text ends with, or holds."""

    replies: dict[str, str | Reply]
    strategy: str = "direct"
    requests: list[GenerateRequest] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    scored: list[ScoreRequest] = field(default_factory=list)
    misleading: tuple[str, ...] = ()  # words of questions that do not lead to their answers
    known: tuple[str, ...] = ()  # words of those that are answered as well without the text
    cannot_score: bool = False
    asked: int = 0
    reused: int = 0

    @property
    def entry(self) -> ModelEntry:
        return ModelEntry(source="server:x", backend="openai", qa_strategy=self.strategy)  # type: ignore[arg-type]

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.requests += requests
        self.rounds.append(len(requests))
        return [self._reply(request) for request in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        """A text helps by a nat a token, a question of `leading` by half a nat more, one of `misleading` by less."""
        self.scored += requests
        return [Score.failed("no such route") if self.cannot_score else self._score(request) for request in requests]

    def _score(self, request: ScoreRequest) -> Score:
        text = request.prompt.text
        led = 0.0 if NO_QUESTION in text else -0.5 if any(words in text for words in self.misleading) else 0.5
        helped = 1.0 if text.startswith("Documentation") and not any(w in text for w in self.known) else 0.0
        return Score(logprobs=(2 * (helped + led - 3),), tokens=(2,))

    def _reply(self, request: GenerateRequest) -> Reply:
        text = request.prompt.text + request.prompt.answer_prefix
        for key, reply in self.replies.items():
            if key in text:
                return reply if isinstance(reply, Reply) else said(reply)
        raise AssertionError(f"no reply is scripted for {text[-200:]!r}")


def said(text: str, finish_reason: str = "stop") -> Reply:
    return Reply(text=text, finish_reason=finish_reason, prompt_tokens=1, completion_tokens=1)  # type: ignore[arg-type]


def pair(question: str, answer: str) -> str:
    return json.dumps({"question": question, "answer": answer})


def chunk(number: int, text: str, source: str = "peft==1.0:peft.lora.LoraConfig", **fields: Any) -> Record:
    place = {"id": f"d{number}-0", "document": f"d{number}", "source": source, "start": 0, "sampled": True}
    return place | {"text": text} | fields


def test_direct_keeps_pairs_and_the_span_that_supports_them() -> None:
    model = Scripted({"rank of LoRA": pair("What is the rank of LoRA?", "8")})
    text = "The rank of LoRA is 8 by default."
    outcome = ask_directly([chunk(1, text)], PROMPTS, model, PARAMS, "tiny")
    (record,) = outcome.kept
    assert record == {
        "id": "tiny:d1-0",
        "chunk": "d1-0",
        "generator": "tiny",
        "strategy": "direct",
        "question": "What is the rank of LoRA?",
        "answer": "8",
        "support": {"start": text.index("8"), "end": text.index("8") + 1},
    }
    (request,) = model.requests
    assert text in request.prompt.text and request.schema == SCHEMA


def test_direct_reads_what_is_told_of_a_chunk_and_finds_support_in_its_text_alone() -> None:
    model = Scripted({"rank of LoRA": pair("What is the rank of LoRA?", "8")})
    record = chunk(1, "The rank of LoRA is 8 by default.", told="Source: v8.md\nHeading: LoRA 8\n\n")
    outcome = ask_directly([record], PROMPTS, model, PARAMS, "tiny")
    (request,) = model.requests
    assert "Source: v8.md\nHeading: LoRA 8\n\nThe rank of LoRA is 8" in request.prompt.text
    assert "documents about machine learning" in request.prompt.text
    (kept,) = outcome.kept
    assert kept["support"] == {"start": 20, "end": 21}


def test_direct_counts_every_kind_of_garbage() -> None:
    failed = Reply(text="", finish_reason="error", prompt_tokens=0, completion_tokens=0, error="status 400")
    replies: dict[str, tuple[str | Reply, str]] = {
        "chunk A": ("the the the", "unparsable"),
        "chunk B": (said('{"question": "What is', "length"), "cut_off"),
        "chunk C": (failed, "failed_request"),
        "chunk D": (pair("<the question>", "<the answer>"), "repeats_prompt"),
        "chunk E": (pair("Tell me the rank.", "8"), "not_a_question"),
        "chunk F": (pair("What does this function return?", "8"), "refers_to_context"),
        "chunk G": (pair("Is the rank of LoRA eight by default?", "eight"), "gives_answer_away"),
        "chunk H": ("", "unparsable"),
    }
    model = Scripted({key: reply for key, (reply, _) in replies.items()})
    chunks = [chunk(i, key) for i, key in enumerate(replies)]
    outcome = ask_directly(chunks, PROMPTS, model, PARAMS, "tiny")
    assert outcome.kept == []
    assert [line["reason"] for line in outcome.rejected] == [reason for _, reason in replies.values()]
    assert [line["chunk"] for line in outcome.rejected] == [c["id"] for c in chunks]
    assert outcome.rejected[0]["reply"] == "the the the"
    metrics = make_metrics("direct", len(chunks), outcome, [])
    assert metrics["chunks"]["dropped"]["unparsable"] == 2 and sum(metrics["chunks"]["dropped"].values()) == 8


FACTS = (
    "The weight replacement is rolled back when the callback returns `False` to `LoraConfig`.\n\n"
    "The rank is doubled when the flag `use_double` is set by anybody."
)


ENTRIES = (
    "Args:\n"
    "    factor (`float`, *optional*): The factor by which updates are multiplied before they join the weights.\n"
    "    dims (`int`, defaults to None): The number of dimensions that the update matrices have in each layer.\n"
)
FACTOR = " by which updates are multiplied?"


def test_code_is_asked_for_its_values_and_points_to_them_by_construction() -> None:
    model = Scripted({}, "fact_first", misleading=("lr",))
    texts = ["```python\nrun(lr=0.1)\n```", "```python\nrun(steps=20)\n```"]
    known = Scripted({}, "fact_first", known=("lr",))
    for scripted, count in ((model, 2), (known, 1)):
        outcome = ask_fact_first([chunk(i, text) for i, text in enumerate(texts)], PROMPTS, scripted, PARAMS, "tiny")
        assert [record["answer"] for record in outcome.kept] == ["0.1", "20"][-count:]
        assert not any(NO_QUESTION in request.prompt.text for request in scripted.scored)
    (rejected,) = outcome.rejected
    assert rejected["reason"] == "answered_without_text" and rejected["fact"] == "0.1"
    place = outcome.kept[0]["support"]
    assert texts[1][place["start"] : place["end"]] == "steps=20"


def test_fact_first_asks_by_the_parse_of_a_sentence() -> None:
    model = Scripted({}, "fact_first")
    (record,) = ask_fact_first([chunk(1, FACTS)], PROMPTS, model, PARAMS, "tiny").kept
    assert record["question"] == "When is the weight replacement rolled back in peft's LoraConfig?"
    assert record["answer"] == FACTS.partition("\n\n")[0]
    assert record["support"] == {"start": 0, "end": len(record["answer"])}
    assert record["opening"] == "When is the weight replacement" and record["finished"] == ""
    assert not model.requests
    with_question, without, alone = (request.prompt.text for request in model.scored)
    assert FACTS in with_question and record["question"] in with_question
    assert FACTS in without and NO_QUESTION in without
    assert FACTS not in alone and record["question"] in alone
    assert {request.choices for request in model.scored} == {(f" {record['answer']}",)}


def test_fact_first_asks_for_the_end_of_a_question_about_an_entry() -> None:
    model = Scripted({"specifies the factor": FACTOR}, "fact_first")
    (record,) = ask_fact_first([chunk(1, ENTRIES)], PROMPTS, model, PARAMS, "tiny").kept
    start = "Which parameter of peft's LoraConfig specifies the factor"
    assert record["question"] == f"{start}{FACTOR}"
    assert record["opening"] == start and record["finished"] == FACTOR.strip(" ?")
    (request,) = model.requests
    assert not request.prompt.chat and request.prompt.answer_prefix == f" {start}"
    assert request.sampling.stop == ("\n",) and request.sampling.max_tokens == 20
    assert request.prompt.text.endswith("Question:")


@pytest.mark.parametrize("trip", ["misleading", "known"])
def test_a_question_that_fails_the_round_trip_makes_room_for_the_next(trip: str) -> None:
    model = Scripted({}, "fact_first", **{trip: ("the weight replacement rolled back",)})  # type: ignore[arg-type]
    outcome = ask_fact_first([chunk(1, FACTS)], PROMPTS, model, PARAMS, "tiny")
    assert [record["question"] for record in outcome.kept] == ["When is the rank doubled in peft's LoraConfig?"]
    reason = {"misleading": "not_led_to_answer", "known": "answered_without_text"}[trip]
    assert [(line["reason"], line["final"]) for line in outcome.rejected] == [(reason, False)]


def test_a_model_that_gives_no_likelihoods_is_told_of() -> None:
    outcome = ask_fact_first([chunk(1, FACTS)], PROMPTS, Scripted({}, "fact_first", cannot_score=True), PARAMS, "tiny")
    assert len(outcome.kept) == 1 and outcome.unmeasured == ["no such route"]


def test_fact_first_tries_the_next_fact_after_a_bad_question_and_keeps_the_bad_one_aside() -> None:
    numbers = " of dimensions that matrices have?"
    model = Scripted({"the factor": " of apples?", "the number": numbers}, "fact_first")
    chunks = [chunk(1, ENTRIES), chunk(2, "Nothing here.")]
    outcome = ask_fact_first(chunks, PROMPTS, model, PARAMS, "tiny")
    start = "Which parameter of peft's LoraConfig specifies the number"
    assert [record["question"] for record in outcome.kept] == [f"{start}{numbers}"]
    assert model.rounds == [1, 1]
    assert [(line["chunk"], line["reason"], line["final"]) for line in outcome.rejected] == [
        ("d2-0", "no_fact", True),
        ("d1-0", "off_fact", False),
    ]
    assert outcome.rejected[1]["reply"] == " of apples?"
    records = mark_same_questions(outcome.kept, 0.85)
    metrics = make_metrics("fact_first", 2, outcome, records)
    assert metrics["chunks"] == {"in": 2, "kept": 1, "dropped": {"no_fact": 1}}
    assert metrics["replies"] == {"in": 2, "kept": 1, "dropped": {"off_fact": 1}}
    assert metrics["most_common_opening"] == {"words": "which parameter", "share": 1.0}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "not_a_question"),
        ("?", "unfinished"),
        (said(" by which updates and by which", "length"), "cut_off"),
        (" by which factor updates are multiplied?", "gives_answer_away"),
    ],
)
def test_fact_first_rejects(reply: str | Reply, reason: str) -> None:
    model = Scripted({"the factor": reply}, "fact_first")
    params = Params(**(vars(PARAMS) | {"facts_per_chunk": 1}))
    outcome = ask_fact_first([chunk(1, ENTRIES)], PROMPTS, model, params, "tiny")
    assert [line["reason"] for line in outcome.rejected] == [reason]


def test_what_follows_the_question_mark_is_not_part_of_the_question() -> None:
    model = Scripted({"the factor": said(f"{FACTOR} When is it not? And why", "length")}, "fact_first")
    (record,) = ask_fact_first([chunk(1, ENTRIES)], PROMPTS, model, PARAMS, "tiny").kept
    assert record["question"].endswith(f"the factor{FACTOR}")


def test_a_question_of_the_shots_is_rejected() -> None:
    source = "numpy==1.0:numpy.memmap"
    text = "Creates a view of `one` array that is stored in a binary file on disk 1."
    ((candidate,),) = candidates([chunk(1, text, source)], limit=1)
    assert candidate.fact.text == text
    assert candidate.opening == Opening("What is the purpose of numpy's memmap", whole=True, broad=True)
    name = "fact_first_question_prompt"
    prompts = PROMPTS | {
        name: PROMPTS[name].replace("What does numpy's memmap create?", "What is the purpose of numpy's memmap?")
    }
    outcome = ask_fact_first([chunk(1, text, source)], prompts, Scripted({}), PARAMS, "tiny")
    assert [line["reason"] for line in outcome.rejected] == ["repeats_prompt"]


def test_no_shot_is_broken_by_our_own_rules() -> None:
    from stages.lib.question_forms.question_faults import question_fault

    shots = re.findall(r"Question: (.+)", PROMPTS["fact_first_question_prompt"])
    assert len(shots) >= 5
    assert [question_fault(shot) for shot in shots] == [None] * len(shots)


def test_the_params_of_the_project_are_valid() -> None:
    assert params_of(Params, "qa").generators


@pytest.mark.parametrize(
    "wrong", [{"generators": []}, {"max_new_tokens": 0}, {"facts_per_chunk": 0}, {"duplicate_similarity": 1.5}]
)
def test_params_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Params(**(vars(PARAMS) | wrong))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.yaml").write_text((ROOT / "prompts.yaml").read_text())
    (tmp_path / "params.yaml").write_text(
        "models:\n  tiny: {source: path:tiny, backend: transformers}\n"
        "qa:\n  generators: [tiny]\n  max_new_tokens: 99\n  question_max_new_tokens: 20\n"
        "  facts_per_chunk: 2\n"
        "  temperature: 0.0\n  seed: 0\n  tell: []\n  duplicate_similarity: 0.85\ndomain: cooking\n"
    )
    return tmp_path


def opens(model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(entry: ModelEntry, _: object) -> Iterator[Scripted]:
        assert entry.source == "path:tiny"
        yield model

    monkeypatch.setattr(stages.qa, "open_model", opened)


def test_main_asks_about_sampled_chunks_and_marks_duplicates(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Scripted(
        {
            "chunk A": pair("What is the rank of LoRA?", "8"),
            "chunk B": pair("what is the rank of LORA?", "9"),
            "chunk C": pair("When is the cache cleared?", "Never, it is said"),
        }
    )
    opens(model, monkeypatch)
    texts = ("chunk A: 8", "chunk B: 9", "chunk X", "chunk C: never, it is said")
    chunks = [chunk(i, text, sampled=text != "chunk X") for i, text in enumerate(texts, start=1)]
    write_jsonl(Path("data/chunks/chunks_dedu.jsonl"), chunks)
    main("tiny")
    records = read_jsonl(Path("data/qa/tiny_qa.jsonl"))
    assert [(record["chunk"], record["duplicate_of"]) for record in records] == [
        ("d1-0", None),
        ("d2-0", "tiny:d1-0"),
        ("d4-0", None),
    ]
    assert read_jsonl(Path("data/qa/tiny_dropped.jsonl")) == []
    metrics = read_results("qa_tiny")
    assert metrics["questions"] == 3 and metrics["duplicate_questions"] == 1
    assert metrics["chunks"] == {"in": 3, "kept": 3, "dropped": {}}


def test_main_fails_clearly_where_nothing_is_usable(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens(Scripted({"chunk": "la la la"}), monkeypatch)
    write_jsonl(Path("data/chunks/chunks_dedu.jsonl"), [chunk(1, "chunk A"), chunk(2, "chunk B")])
    with pytest.raises(ValueError, match=r"none of 2 chunks .*unparsable.*2.*tiny_dropped"):
        main("tiny")
    assert [line["reply"] for line in read_jsonl(Path("data/qa/tiny_dropped.jsonl"))] == ["la la la"] * 2
    assert not Path("data/qa/tiny_qa.jsonl").exists()


def test_main_says_what_to_do_with_other_languages(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    german = "Der Rang der Matrizen ist 8, und die Gewichte werden mit dem Modell gespeichert."
    chunks = [chunk(1, FACTS), chunk(2, german), chunk(3, german)]
    write_jsonl(Path("data/chunks/chunks_dedu.jsonl"), chunks)
    opens(Scripted({}, "fact_first"), monkeypatch)
    main("tiny")
    assert "Most chunks are not in English" in capsys.readouterr().out
    assert read_results("qa_tiny")["chunks"] == {"in": 3, "kept": 1, "dropped": {"not_english": 2}}
    write_jsonl(Path("data/chunks/chunks_dedu.jsonl"), chunks[1:])
    with pytest.raises(ValueError, match=r"none of 2 chunks .*not_english.*qa_strategy 'direct'"):
        main("tiny")


def test_main_names_what_is_wrong(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'other' is not among"):
        main("other")
    with pytest.raises(ValueError, match=r"chunks_dedu.jsonl: no such file"):
        main("tiny")
    write_jsonl(Path("data/chunks/chunks_dedu.jsonl"), [chunk(1, "chunk A", sampled=False)])
    with pytest.raises(ValueError, match="no chunk is marked as sampled"):
        main("tiny")
    Path("data/chunks/chunks_dedu.jsonl").write_text('{"id": "d1-0"}\n')
    with pytest.raises(ValueError, match=r"chunks_dedu.jsonl:1: the record lacks source"):
        main("tiny")
    write_jsonl(Path("data/chunks/chunks_dedu.jsonl"), [chunk(1, "chunk A")])
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("  tiny:", "  other:"))
    with pytest.raises(ValueError, match="no model 'tiny'"):
        main("tiny")
