import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import stages.instruct
from stages.instruct import Params, main
from stages.lib.answers.reasoned_answers import separated
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.english.similar_texts import shingles
from stages.lib.english.words import normalised
from stages.lib.instructions.examples import InstructionFiles, read_source
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.reply_acts.refusing import says_not_told
from stages.lib.weights.models import ModelEntry
from tests.lib.chats.test_role_tokens import read_back
from tests.params_of import section

SPLITS = ("train", "val", "test")
PROMPTS = {
    "instruct_system_prompt": "Answer from the text.",
    "answer_from_context_prompt": "Text:\n{context}\n\nQuestion: {question}",
    "reasoning_prompt": "Text:\n{context}\n\nQuestion: {question}\nReason, then #####, then the answer.",
    "closed_book_reasoning_prompt": "Question: {question}\nReason, then #####, then the answer.",
    "evidence_reasoning": '{asked} The text says: "{evidence}"',
    "refusal_answers": "The text does not say {asked}.\nThe text does not tell {asked}.",
    "correction_answers": 'No. {denial} The text says: "{evidence}"',
    "confirmation_answers": 'The text says: "{evidence}"',
    "unanswerable_question_prompt": "Unanswerable. {context} {question}",
    "false_premise_prompt": "False premise. {context} {question} {answer}",
    "QA_generation_prompt": "Ask about: {context}",
    "fact_first_question_prompt": "Topic: {topic}\nFact: {fact}\nQuestion:",
    "answer_with_context_prompt": "Documentation: {context}\nQuestion: {question}\nAnswer:",
    "answer_without_context_prompt": "Question: {question}\nAnswer:",
}
PARAMS: dict[str, Any] = section("instruct") | {
    "seed": 0,
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "near_duplicate": 0.6,
    "max_context_chars": 2000,
    "unanswerable_share": 0.2,
    "false_premise_share": 0.15,
    "true_premise_share": 0.05,
    "edge_cases": ["rules"],
    "generator": "tiny",
    "max_new_tokens": 50,
    "question_max_new_tokens": 20,
    "facts_per_chunk": 1,
    "temperature": 0.0,
}
NAMES = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima"]


def documents(count: int) -> tuple[list[Record], list[Record]]:
    """Chunks and selected questions of as many documents, two chunks each."""
    rng = random.Random(1)
    chunks, questions = [], []
    for i in range(count):
        thing, other = rng.sample(NAMES, 2)
        for part in range(2):
            default = 10 * i + part + 20
            name = f"{thing}_{other}_{i}_{part}"
            entry = f"{name} (`int`, defaults to {default}): Number of {other} steps before the {thing} is made anew."
            text = f"Args:\n    {entry}\n    quiet (`bool`): Says whether to keep the log short."
            chunk = {"id": f"d{i}-{part}", "document": f"d{i}", "source": f"lib==1:lib.Part{i}", "text": text}
            chunks.append(chunk | {"start": part, "end": 1})
            start = text.index(entry)
            wording = {
                0: f"Which parameter of lib's Part{i} specifies the number of {other} steps?",
                1: f"What is the default value of the parameter {name} of lib's Part{i}?",
            }
            record = {"id": f"tiny:{chunk['id']}", "chunk": chunk["id"], "generator": "tiny", "strategy": "fact_first"}
            record |= {"question": wording[part], "answer": entry}
            questions.append(record | {"support": {"start": start, "end": start + len(entry)}})
    return chunks, questions


def laid_out(tmp_path: Path, chunks: list[Record], questions: list[Record], **changes: Any) -> None:
    write_jsonl(tmp_path / "data/chunks/chunks.jsonl", chunks)
    write_jsonl(tmp_path / "data/selected/qa_selected.jsonl", questions)
    (tmp_path / "params.yaml").write_text(
        json.dumps(
            {"instruct": PARAMS | changes, "models": {"tiny": {"source": "path:tiny", "backend": "transformers"}}}
        )
    )
    (tmp_path / "prompts.yaml").write_text(json.dumps(PROMPTS))


def read_set(name: str) -> dict[str, list[Record]]:
    return {split: read_jsonl(Path(f"data/instruct/{name}_{split}.jsonl")) for split in SPLITS}


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_three_sets_with_every_kind_on_every_side(at_work: Path) -> None:
    laid_out(at_work, *documents(60))
    main()
    chats, qar = read_set("synthetic_qa"), read_set("qar")
    for split in SPLITS:
        kinds = Counter(record["kind"] for record in chats[split])
        assert set(kinds) == {"selected", "unanswerable", "false_premise", "true_premise"}
        assert abs(kinds["unanswerable"] / kinds.total() - 0.2) < 0.05
        for record in chats[split]:
            assert [message["role"] for message in record["messages"]] == ["system", "user", "assistant"]
            assert read_back(record["text"]) == record["messages"]
            assert record["messages"][1]["content"] == f"Text:\n{record['context']}\n\nQuestion: {record['question']}"
            assert record["messages"][2]["content"] == record["answer"]
            assert says_not_told(record["answer"]) == (record["kind"] == "unanswerable")
            assert ("change" in record) == (record["kind"] == "false_premise")
        for record in qar[split]:
            assert separated(record["text"]) == (record["reasoning"], record["answer"])
            assert [message["role"] for message in record["messages"]] == ["system", "user"]
            assert record["context"] in record["messages"][1]["content"]
    selected = {record["id"]: record for split in SPLITS for record in chats[split]}
    assert selected["tiny:d0-0"]["context"].startswith("lib's Part0\n\nArgs:")


def test_no_document_and_no_text_is_on_two_sides(at_work: Path) -> None:
    chunks, questions = documents(60)
    for i in range(0, 60, 6):  # a copy under another name, with one word more
        chunks[2 * i + 2]["text"] = f"{chunks[2 * i]['text']} Indeed"
    laid_out(at_work, chunks, questions)
    main()
    sides: dict[str, set[str]] = {}
    texts: list[tuple[str, set[str]]] = []
    for name in ("synthetic_qa", "qar"):
        for split, records in read_set(name).items():
            for record in records:
                sides.setdefault(record["source"], set()).add(split)
                texts.append((split, shingles(record["context"].partition("\n\n")[2])))
    assert all(len(found) == 1 for found in sides.values())
    for split, grams in texts:
        for other_split, other in texts:
            assert split == other_split or len(grams & other) < 0.6 * len(grams | other)
    for i in range(0, 60, 6):
        assert sides[f"d{i}"] == sides[f"d{i + 1}"]


def test_nothing_depends_on_the_order_of_the_records(at_work: Path) -> None:
    chunks, questions = documents(40)
    outcomes = []
    for seed in (0, 1):
        laid_out(at_work, *(random.Random(seed).sample(part, len(part)) for part in (chunks, questions)))
        main()
        records = {s: sorted(r["text"] for r in read_set("synthetic_qa")[s]) for s in SPLITS}
        outcomes.append((records, Path("metrics/full/instruct.json").read_text()))
    assert outcomes[0] == outcomes[1]


def test_a_second_run_writes_the_same_bytes(at_work: Path) -> None:
    laid_out(at_work, *documents(40))
    main()
    first = {path.name: path.read_bytes() for path in Path("data/instruct").iterdir()}
    main()
    assert first == {path.name: path.read_bytes() for path in Path("data/instruct").iterdir()}
    assert len(first) == 10


def test_counts_add_up_and_drops_are_kept_with_their_reason(at_work: Path) -> None:
    chunks, questions = documents(40)
    chunks[0]["text"] = chunks[0]["text"] + " <|user|>"
    chunks[2]["text"] = chunks[2]["text"] + " x" * 2000
    questions[3]["chunk"] = "gone"
    questions[5]["answer"] = " "
    questions.append(dict(questions[10]))
    laid_out(at_work, chunks, questions)
    main()
    metrics = read_results("instruct")
    reasons = {"holds_role_token": 1, "context_too_long": 1, "no_chunk": 1, "no_answer": 1, "duplicate": 1}
    assert metrics["sources"]["selected"] == {"in": 81, "kept": 76, "dropped": dict(sorted(reasons.items()))}
    dropped = Counter(record["set"] for record in read_jsonl(Path("data/instruct/dropped.jsonl")))
    for name, counts in metrics["sources"].items():
        assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
        assert dropped[name] == sum(counts["dropped"].values())
    for split in SPLITS:
        kinds = dict(metrics["synthetic_qa"][split])
        assert kinds.pop("all") == sum(kinds.values()) == len(read_set("synthetic_qa")[split])


def test_finetune_takes_the_instructions_of_the_train_side_alone(at_work: Path) -> None:
    laid_out(at_work, *documents(40))
    main()
    source = InstructionFiles(kind="instructions", patterns=["data/instruct/finetune.json"])
    examples = list(read_source(source))
    chats = read_set("synthetic_qa")
    assert len(examples) == len(chats["train"])
    record = chats["train"][0]
    assert any(getattr(e, "prompt", "") == f"{record['question']}\n\n{record['context']}" for e in examples)
    taken = json.loads(Path("data/instruct/finetune.json").read_text())
    held_out = {r["context"] for split in ("val", "test") for r in chats[split]}
    assert not held_out & {r["input"] for r in taken}


def test_too_few_documents_for_a_side_is_an_error_that_says_what_to_do(at_work: Path) -> None:
    laid_out(at_work, *documents(1))
    with pytest.raises(ValueError, match=r"no question fell to .*change the seed"):
        main()
    assert not Path("data/instruct").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "val_fraction, test_fraction"),
        ({"unanswerable_share": -0.1}, "unanswerable_share"),
        ({"unanswerable_share": 0.9}, "less than 1 together"),
        ({"near_duplicate": 0.0}, "near_duplicate"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"edge_cases": []}, "edge_cases: nobody"),
        ({"edge_cases": ["magic"]}, "'magic' is not allowed"),
        ({"abstracts": [{"patterns": ["a"], "tittle_key": "b"}]}, "did you mean 'title_key'"),
        ({"question_answers": [{"patterns": []}]}, r"question_answers\[0\]: patterns"),
    ],
)
def test_bad_params_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        from_mapping(Params, PARAMS | change, "params.yaml: instruct")


@dataclass
class Scripted:
    """Finishes fact-first questions, and writes edge cases."""

    requests: list[GenerateRequest] = field(default_factory=list)

    @property
    def entry(self) -> ModelEntry:
        return ModelEntry(source="server:x", backend="openai", qa_strategy="fact_first")

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.requests += requests
        return [Reply(text=self.text(r), finish_reason="stop", prompt_tokens=1, completion_tokens=1) for r in requests]

    def text(self, request: GenerateRequest) -> str:
        if request.prompt.text.startswith("Unanswerable."):
            return json.dumps({"question": "What is the price of the thing?", "answer": "The text does not say it."})
        if request.prompt.text.startswith("False premise."):
            return "I cannot."
        return "?"

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        return [Score.failed("no likelihoods") for _ in requests]


def test_abstracts_qasa_and_closed_book_answers_go_in_together(at_work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(
        at_work / "abstracts.jsonl",
        [
            {
                "id": f"p{i}",
                "title": f"On {i}",
                "abstract": f"The scaler keeps {i + 30} copies of all weights in memory.",
            }
            for i in range(30)
        ],
    )
    qasa = {
        str(i): {
            "paper_id": f"q{i}",
            "question": f"How was the probe {i} calibrated?",
            "question_trigger_sentence": f"Then we took the probe {i} and used it for all of the samples.",
            "evidential_info": [{"context": f"We calibrated probe {i} with weights.", "rationale": ""}]
            if i % 2
            else [],
            "composition": f"With {i} weights." if i % 2 else "The paper does not say.",
        }
        for i in range(30)
    }
    (at_work / "qasa.json").write_text(json.dumps(qasa))
    answers = [{"pid": f"a{i}", "que": f"Why {i}?", "ans": "A: So. As it is."} for i in range(30)]
    write_jsonl(at_work / "answers.jsonl", answers)
    rated = {"answer": "With care.", "context": "The lens is ground with care.", "source": "r.pdf", "rating": "up"}
    write_jsonl(at_work / "rated.jsonl", [rated | {"question": "How is it ground?", "reasoning": "It says so."}])
    laid_out(
        at_work,
        *documents(30),
        abstracts=[{"patterns": ["abstracts.jsonl"]}],
        rated_chats=["rated.jsonl"],
        qasa=["qasa.json"],
        question_answers=[{"patterns": ["answers.jsonl"]}],
        edge_cases=["rules", "generator"],
    )
    model = Scripted()

    @contextmanager
    def opened(entry: ModelEntry) -> Iterator[Scripted]:
        assert entry.source == "path:tiny"
        yield model

    monkeypatch.setattr(stages.instruct, "open_model", opened)
    main()
    chats = [record for records in read_set("synthetic_qa").values() for record in records]
    made = Counter((record["kind"], record["made_by"]) for record in chats)
    assert made["closed_book", "people"] == 30
    assert made["qasa", "people"] == 15
    assert made["rated", "people"] == 1
    assert made["unanswerable", "people"] == 15
    assert made["abstract", "tiny"] > 0
    assert made["unanswerable", "generator"] + made["unanswerable", "pairing"] > 0
    metrics = read_results("instruct")
    assert metrics["sources"]["abstracts"]["in"] == 30
    asked = sum(request.prompt.text.startswith("False premise.") for request in model.requests)
    assert 0 < asked <= 2 * round(0.15 / 0.6 * sum(made[kind, by] for kind, by in made if by in ("tiny", "people"))) + 6
    assert metrics["sources"]["false_premise"]["dropped"]["unparsable"] > 0
    abstract = next(record for record in chats if record["kind"] == "abstract")
    assert abstract["context"].startswith("On ") and "copies of all" in abstract["context"]
    qar = [record for records in read_set("qar").values() for record in records]
    assert {"reasoning": "As it is.", "answer": "So.", "context": ""}.items() <= next(
        record for record in qar if record["source"] == "a0"
    ).items()
    assert any(record["text"].endswith("It says so. ##### With care.") for record in qar if record["source"] == "r.pdf")


@pytest.mark.real_data
@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA names no folder of real data sets")
def test_pubmedqa_qasa_and_scidqa_go_through(at_work: Path) -> None:
    root = Path(os.environ["LLMILL_REAL_DATA"])
    laid_out(
        at_work,
        *documents(30),
        max_context_chars=6000,
        qasa=[str(root / "qasa/*.json"), str(root / "pubmedqa/DERIVED*.json")],
        question_answers=[{"patterns": [str(root / "scidqa/scidqa_dev.jsonl")]}],
    )
    start = time.process_time()
    main()
    assert time.process_time() - start < 150  # 32 s seen on a busy AVX2 machine
    metrics = read_results("instruct")
    assert metrics["sources"]["qasa"]["in"] == 616
    assert metrics["sources"]["qasa"]["kept"] > 580
    assert metrics["sources"]["question_answers"]["kept"] > 2200
    refused = [r for split in SPLITS for r in read_set("synthetic_qa")[split] if r["made_by"] == "people"]
    assert sum(record["kind"] == "unanswerable" for record in refused) > 80
    assert all("\xa0" not in record["context"] for record in refused)
    contexts = [{normalised(r["context"]) for r in read_set("synthetic_qa")[split] if r["context"]} for split in SPLITS]
    assert not contexts[0] & contexts[1] and not contexts[0] & contexts[2] and not contexts[1] & contexts[2]


def test_each_kind_of_edge_case_has_its_own_share() -> None:
    shares = from_mapping(Params, PARAMS, "instruct").shares
    assert shares == {"unanswerable": 0.2, "false_premise": 0.15, "true_premise": 0.05}


def prose(count: int, sentence: str, question: str) -> tuple[list[Record], list[Record]]:
    """Chunks of one sentence of prose with a number, {i}, and questions that it answers."""
    rng = random.Random(3)
    chunks, questions = [], []
    for i in range(count):
        # Numbers of all sizes: of narrow ones a changed one would be outside.
        number = round(10 ** rng.uniform(1.1, 4.9))
        text = sentence.format(i=number, name=NAMES[i % len(NAMES)], other=NAMES[i // len(NAMES) % len(NAMES)])
        chunk = {"id": f"d{i}-0", "document": f"d{i}", "source": f"Report {i}", "text": text, "start": 0, "end": 1}
        record = {"id": f"tiny:{chunk['id']}", "chunk": chunk["id"], "generator": "tiny", "answer": text}
        chunks.append(chunk)
        questions.append(record | {"question": question, "support": {"start": 0, "end": len(text)}})
    return chunks, questions


SENTENCE = "The report on {name} says that {i} crates of {other} were sold at the harbour in those weeks."


def test_as_many_true_premises_as_false_ones_in_the_same_forms(
    at_work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laid_out(at_work, *prose(140, SENTENCE, "How many crates were sold?"), true_premise_share=0.15)
    main()
    chats = [record for records in read_set("synthetic_qa").values() for record in records]
    kinds = Counter(record["kind"] for record in chats)
    assert kinds["false_premise"] == kinds["true_premise"] > 30
    told = read_results("instruct")["give_away"]
    assert (told["false"], told["true"]) == (kinds["false_premise"], kinds["true_premise"])
    assert told["p"] > 0.01
    assert "warning" not in capsys.readouterr().out
    first = {kind: {r["question"].split()[0] for r in chats if r["kind"] == kind} for kind in kinds}
    assert len(first["false_premise"] & first["true_premise"]) >= 4  # several forms, the same ones


def test_uneven_premises_are_warned_of(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laid_out(at_work, *prose(140, SENTENCE, "How many crates were sold?"), true_premise_share=0.0)
    main()
    told = read_results("instruct")["give_away"]
    assert told["true"] == 0 and told["auc"] is None
    assert f"warning: {told['false']} questions with a false premise and 0 with a true one" in capsys.readouterr().out


def test_edge_cases_in_other_languages_are_counted_and_said(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    german = "Der Bericht über {name} sagt, dass in diesen Wochen {i} Kisten {other} am Hafen verkauft wurden."
    laid_out(at_work, *prose(40, german, "Wie viele Kisten wurden verkauft?"))
    main()
    chats = [record for records in read_set("synthetic_qa").values() for record in records]
    assert {record["kind"] for record in chats} == {"selected"}
    sources = read_results("instruct")["sources"]
    for kind in ("unanswerable", "false_premise", "true_premise"):
        assert sources[kind]["dropped"] == {"not_english": 40}
    assert "none was made of 40 questions on texts in other languages (`not_english`)" in capsys.readouterr().out
