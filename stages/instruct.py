"""Selected questions, abstracts, QASA -> data/instruct/: chats, question-reasoning-answer, instructions, each split.

Three sets, train, val and test by source document: synthetic_qa (chats with answers, refusals and corrections), qar
(`reasoning ##### answer`) and what the stage finetune takes. What does not fit stands in dropped.jsonl with its reason.
Run: python -m stages.instruct
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("instruct", ["gather", "edge_cases", "write"])

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.chats.abstracts import AbstractFiles, AnswerFiles, read_answers
from stages.lib.chats.chat_records import Wording, chat_record, instruction_record, qar_record
from stages.lib.chats.collect_items import ask_about_abstracts, checked, qasa_items, selected_items
from stages.lib.chats.drop_counts import Account, sorted_counts
from stages.lib.chats.edge_cases import EDGE_KINDS, EdgeKind, write_edge_cases
from stages.lib.chats.give_away import give_away, warnings
from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qasa import read_qasa
from stages.lib.chats.rated_chats import read_rated_chats
from stages.lib.chats.record_files import read_records
from stages.lib.chats.splits import SPLITS, ChatSplit, group_sources, side
from stages.lib.core.metrics import Stopwatch, ending, summed, write_metrics
from stages.lib.core.params import from_mapping, load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_json, write_jsonl
from stages.lib.llm.asking import open_model
from stages.lib.llm.in_flight import top_reasons
from stages.lib.llm.protocol import LanguageModel
from stages.lib.qa.question_writing import ALL_PROMPTS as ASKING_PROMPTS
from stages.lib.reading.documents import Drop
from stages.lib.weights.models import load_model_entry

SELECTED = Path("data/selected/qa_selected.jsonl")
CHUNKS = Path("data/chunks/chunks.jsonl")
OUT = Path("data/instruct")
PROMPTS = [
    "instruct_system_prompt",
    "answer_from_context_prompt",
    "reasoning_prompt",
    "closed_book_reasoning_prompt",
    "evidence_reasoning",
    "refusal_answers",
    "correction_answers",
    "confirmation_answers",
    "unanswerable_question_prompt",
    "false_premise_prompt",
    *ASKING_PROMPTS,
]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `instruct` of params.yaml."""

    seed: int  # of the splits, and of sampling where temperature > 0
    val_fraction: float  # of the source documents, 0..1
    test_fraction: float
    near_duplicate: float  # Jaccard similarity of word 5-grams from which two contexts stand on the same side, 0..1
    max_context_chars: int  # longer contexts are dropped
    unanswerable_share: float  # of synthetic_qa, at most, 0..1
    false_premise_share: float
    true_premise_share: float  # questions in the form of false premises that are true
    edge_cases: list[Literal["rules", "generator"]]  # who writes them; a model of 135M cannot
    generator: str  # name under models:; writes the questions on abstracts, and edge cases
    max_new_tokens: int  # of a reply, >= 1
    question_max_new_tokens: int  # of the rest of a question after its opening (fact_first), >= 1
    facts_per_chunk: int  # questions on an abstract's facts that are tried (fact_first), >= 1
    temperature: float  # 0: greedy
    abstracts: list[dict[str, Any]]  # patterns, title_key, text_key, id_key, limit
    qasa: list[str]  # globs of files in QASA's schema
    rated_chats: list[str]  # globs of chats with thumbs, exported from the page
    # without a text: patterns, question_key, answer_key, source_key, limit
    question_answers: list[dict[str, Any]]

    def __post_init__(self) -> None:
        """Checks the ranges."""
        fractions = [self.val_fraction, self.test_fraction]
        shares = list(self.shares.values())
        if min(fractions) < 0 or sum(fractions) >= 1:
            raise ValueError(f"val_fraction, test_fraction: {fractions} must be >= 0 and less than 1 together")
        if min(shares) < 0 or sum(shares) >= 1:
            raise ValueError(
                f"unanswerable_share, false_premise_share, true_premise_share: {shares} must be >= 0 and less than 1 "
                "together"
            )
        if not 0 < self.near_duplicate <= 1:
            raise ValueError(f"near_duplicate: {self.near_duplicate} is not in 0..1")
        if min(self.max_context_chars, self.max_new_tokens, self.question_max_new_tokens, self.facts_per_chunk) < 1:
            raise ValueError(
                "max_context_chars, max_new_tokens, question_max_new_tokens and facts_per_chunk must be >= 1"
            )
        if not self.edge_cases and shares != [0, 0, 0]:
            raise ValueError("edge_cases: nobody is named, and shares are; name rules or generator, or set shares to 0")
        self.abstract_files()
        self.answer_files()

    @property
    def shares(self) -> dict[EdgeKind, float]:
        """Kind of edge case -> its share of synthetic_qa."""
        return {
            "unanswerable": self.unanswerable_share,
            "false_premise": self.false_premise_share,
            "true_premise": self.true_premise_share,
        }

    def abstract_files(self) -> list[AbstractFiles]:
        """The typed entries. Raises `ValueError` naming the key."""
        return [from_mapping(AbstractFiles, entry, f"abstracts[{i}]") for i, entry in enumerate(self.abstracts)]

    def answer_files(self) -> list[AnswerFiles]:
        """The typed entries. Raises `ValueError` naming the key."""
        entries = enumerate(self.question_answers)
        return [from_mapping(AnswerFiles, entry, f"question_answers[{i}]") for i, entry in entries]


def gather(params: Params, prompts: dict[str, str], model: LanguageModel | None, account: Account) -> list[QAItem]:
    """Everything that is asked and answered by a source, checked."""
    chunks = {chunk["id"]: chunk for chunk in read_jsonl(CHUNKS, required=["id", "document", "source", "text"])}
    questions = read_jsonl(SELECTED, required=["id", "chunk", "generator", "question", "answer"])
    found: dict[str, list[QAItem | Drop]] = {"selected": selected_items(questions, chunks)}
    for source in params.abstract_files():
        assert model
        found.setdefault("abstracts", []).extend(ask_about_abstracts(source, prompts, model, params, params.generator))
    if params.qasa:
        records = read_qasa(list(read_records(params.qasa)))
        asked = [question for question in records if not isinstance(question, Drop)]
        found["qasa"] = [*qasa_items(asked), *(drop for drop in records if isinstance(drop, Drop))]
    if params.rated_chats:
        found["rated_chats"] = list(read_rated_chats(params.rated_chats))
    for answers in params.answer_files():
        found.setdefault("question_answers", []).extend(read_answers(answers))
    items: dict[str, QAItem] = {}
    for name, entries in found.items():
        kept, drops = checked(entries, params.max_context_chars, known=items)
        account.enter(name, len(kept), drops)
        items |= {item.id: item for item in kept}
    return list(items.values())


def check_sides(chats: dict[ChatSplit, list[QAItem]], params: Params) -> None:
    """Raises `ValueError` where a side that was asked for has nothing."""
    wanted = {"train": 1.0, "val": params.val_fraction, "test": params.test_fraction}
    empty = [split for split in SPLITS if wanted[split] > 0 and not chats[split]]
    if empty:
        sizes = {split: len(chats[split]) for split in SPLITS}
        raise ValueError(
            f"instruct: no question fell to {', '.join(empty)}, {sizes}: sides are drawn by document, and there are "
            "too few; give more documents (the questions of one are all on one side), raise val_fraction or "
            "test_fraction, or change the seed"
        )


def main() -> None:
    """Reads, asks, makes edge cases side by side, writes the sets and their counts.

    Raises:
        ValueError: a side has no question.
    """
    watch = Stopwatch("instruct")
    params = load(Params, "instruct")
    prompts = load_prompts(PROMPTS, domain=read_param("domain"))
    account = Account()
    with ExitStack() as stack:
        needs_model = bool(params.abstracts) or "generator" in params.edge_cases
        model = stack.enter_context(open_model(load_model_entry(params.generator))) if needs_model else None
        items = gather(params, prompts, model, account)
        watch.lap("gather")
        texts = [(item.source, item.context.removeprefix(item.title), item.answer) for item in items]
        groups = group_sources(texts, params.near_duplicate)
        sides = {s: side(group, params.val_fraction, params.test_fraction, params.seed) for s, group in groups.items()}
        plain: dict[ChatSplit, list[QAItem]] = {
            split: [i for i in items if sides[i.source] == split] for split in SPLITS
        }
        if failed := [line["detail"] for line in account.dropped if line["reason"] == "failed_request"]:
            print(f"instruct: {len(failed):,} requests failed: {top_reasons(failed)}")
        check_sides(plain, params)
        edges = {split: write_edge_cases(plain[split], groups, prompts, model, params) for split in SPLITS}
        watch.lap("edge_cases")
    chats = dict(plain)
    for kind in EDGE_KINDS:
        drops: list[Drop] = []
        for split in SPLITS:
            chats[split] = [*chats[split], *(edge for edge in edges[split][kind] if isinstance(edge, QAItem))]
            drops += [edge for edge in edges[split][kind] if isinstance(edge, Drop)]
        account.enter(kind, sum(len(edges[split][kind]) for split in SPLITS) - len(drops), drops)
    wording = Wording(
        system=prompts["instruct_system_prompt"],
        with_context=prompts["answer_from_context_prompt"],
        reasoning=prompts["reasoning_prompt"],
        closed_book_reasoning=prompts["closed_book_reasoning_prompt"],
    )
    lines = [qar_record(i, prompts["evidence_reasoning"], wording) for i in items if i.kind != "unanswerable"]
    reasoned = [line for line in lines if not isinstance(line, Drop)]
    account.enter("qar", len(reasoned), [line for line in lines if isinstance(line, Drop)])
    qar = {split: [line for line in reasoned if sides[line["source"]] == split] for split in SPLITS}

    for split in SPLITS:
        write_jsonl(OUT / f"synthetic_qa_{split}.jsonl", [chat_record(item, wording) for item in chats[split]])
        write_jsonl(OUT / f"qar_{split}.jsonl", qar[split])
        instructions = [instruction_record(item) for item in chats[split]]
        write_json(OUT / ("finetune.json" if split == "train" else f"finetune_{split}.json"), instructions)
    write_jsonl(OUT / "dropped.jsonl", account.dropped)
    told = give_away(*(premises(chats, kind) for kind in ("false_premise", "true_premise")))
    metrics = make_metrics(account, chats, qar, groups) | {"give_away": told}
    write_metrics("instruct", metrics, headline)
    if foreign := account.counts["false_premise"]["dropped"].get("not_english", 0):
        print(
            f"instruct: the rules of edge cases are English: none was made of {foreign:,} questions on texts in other "
            "languages (`not_english`); edge_cases: generator writes them in the text's language"
        )
    print("\n".join(warnings(told)), end="\n" if warnings(told) else "")
    watch.lap("write")
    watch.write()
    made_later = {*EDGE_KINDS, "qar"}
    read = summed(counts for source, counts in account.counts.items() if source not in made_later)
    chats_made = sum(map(len, chats.values()))
    made = f"{chats_made:,} chats with edge cases and {len(reasoned):,} questions with reasoning"
    print(ending("instruct", read, "questions", made, OUT))


def premises(chats: dict[ChatSplit, list[QAItem]], kind: EdgeKind) -> list[QAItem]:
    """The chats of one kind, of all splits."""
    return [item for split in SPLITS for item in chats[split] if item.kind == kind]


def make_metrics(
    account: Account, chats: dict[ChatSplit, list[QAItem]], qar: dict[ChatSplit, list[Record]], groups: dict[str, str]
) -> dict[str, Any]:
    """Counts of what came in, and of each set by split and kind."""
    changes = Counter(item.change.type for split in SPLITS for item in chats[split] if item.change)
    made_by = Counter(f"{item.kind} by {item.made_by}" for split in SPLITS for item in chats[split])
    return {
        "sources": account.counts,
        "documents": len(groups),
        "groups_of_documents": len(set(groups.values())),  # near-identical ones are one group, on one side
        "synthetic_qa": {
            split: {"all": len(chats[split]), **sorted_counts(Counter(item.kind for item in chats[split]))}
            for split in SPLITS
        },
        "made_by": sorted_counts(made_by),
        "false_premises": sorted_counts(changes),
        "qar": {split: len(qar[split]) for split in SPLITS},
        "finetune": {split: len(chats[split]) for split in SPLITS},
    }


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: conversations, and questions with reasoning, of all splits."""
    chats = sum(split["all"] for split in results["synthetic_qa"].values())
    return {"instruct": {"chats": chats, "reasoned": sum(results["qar"].values())}}


if __name__ == "__main__":
    main()
