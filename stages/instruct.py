"""Selected questions, abstracts, QASA -> data/instruct/: chats, question-reasoning-answer, instructions, each split.

Three sets, train, val and test by source document: synthetic_qa (chats with answers, refusals and corrections), qar
(`reasoning ##### answer`) and what the stage finetune takes. What does not fit is kept in dropped.jsonl with its reason.
Run: python -m stages.instruct
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.lib.corpus.documents import Drop
from stages.lib.llm.facts import readable
from stages.lib.metrics import Stopwatch, check_counts, write_metrics
from stages.lib.params import load, load_prompts
from stages.lib.records import Record, read_jsonl, write_json, write_jsonl
from stages.lib.tuning.chat_records import Wording, chat_record, instruction_record, qar_record, text_fault
from stages.lib.tuning.edge_cases import Texts, pair_unanswerable
from stages.lib.tuning.false_premises import false_premise, parameter_name
from stages.lib.tuning.items import Item
from stages.lib.tuning.qar import chosen_evidence, own_reasoning
from stages.lib.tuning.qasa import QasaQuestion, read_qasa
from stages.lib.tuning.record_files import read_records
from stages.lib.tuning.splits import SPLITS, Split, drawn, group_sources, side

SELECTED = Path("data/selected/qa_selected.jsonl")
CHUNKS = Path("data/chunks/chunks.jsonl")
OUT = Path("data/instruct")
PROMPTS = [
    "instruct_system_prompt",
    "answer_from_context_prompt",
    "reasoning_prompt",
    "reasoning_alone_prompt",
    "refusal_answers",
    "correction_answers",
    "evidence_reasoning",
]
EVIDENCE_SENTENCES = 3  # of contexts without a rationale


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `instruct` of params.yaml."""

    seed: int  # of the splits
    val_fraction: float  # of the source documents, 0..1
    test_fraction: float
    near_duplicate: float  # Jaccard similarity of word 5-grams from which two contexts stand on the same side, 0..1
    unanswerable_share: float  # of synthetic_qa, at most, 0..1
    false_premise_share: float
    max_context_chars: int  # longer contexts are dropped
    qasa: list[str] = field(default_factory=list)  # globs of files in QASA's schema

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for first, second in (("val_fraction", "test_fraction"), ("unanswerable_share", "false_premise_share")):
            a, b = getattr(self, first), getattr(self, second)
            if min(a, b) < 0 or a + b >= 1:
                raise ValueError(f"{first}, {second}: {a} and {b} must be >= 0 and less than 1 together")
        if not 0 < self.near_duplicate <= 1:
            raise ValueError(f"near_duplicate: {self.near_duplicate} is not in 0..1")
        if self.max_context_chars < 1:
            raise ValueError(f"max_context_chars: {self.max_context_chars} must be >= 1")


@dataclass
class Ledger:
    """What was dropped, and the counts of what came in and what was kept."""

    dropped: list[Record] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def count(self, name: str, total: int, kept: int, drops: Sequence[Drop]) -> None:
        """Adds one line of counts that adds up, and the drops behind it."""
        self.counts[name] = check_counts(total, kept, dict(Counter(drop.reason for drop in drops)))
        self.dropped += [
            {"set": name, "id": drop.source, "reason": drop.reason, "detail": drop.detail} for drop in drops
        ]


def selected_items(questions: Sequence[Record], chunks: dict[str, Record], max_chars: int) -> list[Item | Drop]:
    """Selected questions with their chunks. Drop reasons: `no_chunk` and those of `chat_records.text_fault`."""
    found: list[Item | Drop] = []
    for record in questions:
        chunk = chunks.get(record["chunk"])
        if chunk is None:
            found.append(Drop(record["id"], "no_chunk", record["chunk"]))
            continue
        support = record.get("support")
        evidence = readable(chunk["text"][support["start"] : support["end"]]) if support else ""
        # fact_first's answer is the statement itself, without what a bullet or a line break puts around it.
        evidence = record["answer"] if record.get("strategy") == "fact_first" else evidence
        item = Item(
            id=record["id"],
            kind="selected",
            source=chunk["document"],
            context=chunk["text"],
            question=record["question"],
            answer=record["answer"],
            made_by=record["generator"],
            evidence=evidence,
            opening=record.get("opening", ""),
        )
        found.append(checked(item, max_chars))
    return found


def checked(item: Item, max_chars: int) -> Item | Drop:
    """The item, or the drop that an unusable text makes of it."""
    fault = text_fault(item.context, item.question, item.answer, max_chars)
    return Drop(item.id, fault, item.question[:200]) if fault else item


def kept_of(found: Sequence[Any]) -> tuple[list[Any], list[Drop]]:
    """What was kept and what was dropped."""
    return [one for one in found if not isinstance(one, Drop)], [one for one in found if isinstance(one, Drop)]


def share_out(found: Sequence[Item | Drop], wanted: int) -> list[Item | Drop]:
    """As many of the items as are wanted, drawn by hash; the others become drops (`over_share`)."""
    names = {item.id for item in found if isinstance(item, Item)}
    chosen = set(drawn("share", names)[:wanted])
    return [
        item if isinstance(item, Drop) or item.id in chosen else Drop(item.id, "over_share", item.question)
        for item in found
    ]


def main() -> None:
    """Reads, makes edge cases side by side, writes the sets and their counts."""
    watch = Stopwatch("instruct")
    params = load(Params, "instruct")
    prompts = load_prompts(PROMPTS)
    wording = Wording(
        system=prompts["instruct_system_prompt"],
        with_context=prompts["answer_from_context_prompt"],
        reasoning=prompts["reasoning_prompt"],
        reasoning_alone=prompts["reasoning_alone_prompt"],
    )
    ledger = Ledger()
    chunks = {chunk["id"]: chunk for chunk in read_jsonl(CHUNKS, required=["id", "document", "source", "text"])}
    questions = read_jsonl(SELECTED, required=["id", "chunk", "generator", "question", "answer"])
    items, drops = kept_of(selected_items(questions, chunks, params.max_context_chars))
    ledger.count("selected", len(questions), len(items), drops)
    qasa, qasa_drops = kept_of(read_qasa(list(read_records(params.qasa))))
    qasa_items: list[tuple[Item, QasaQuestion]] = []
    for question in qasa:
        item = checked(qasa_item(question), params.max_context_chars)
        if isinstance(item, Drop):
            qasa_drops.append(item)
        elif not question.evidence:
            qasa_drops.append(Drop(question.id, "no_evidence", question.answer))
        else:
            qasa_items.append((item, question))
    ledger.count("qasa", len(qasa_items) + len(qasa_drops), len(qasa_items), qasa_drops)

    everything = [*items, *(item for item, _ in qasa_items)]
    groups = group_sources([(i.source, i.context, i.answer) for i in everything], params.near_duplicate)
    sides: dict[str, Split] = {
        source: side(group, params.val_fraction, params.test_fraction, params.seed) for source, group in groups.items()
    }
    parameters = sorted({name for item in items if (name := parameter_name(item))})
    chats: dict[Split, list[Item]] = {}
    unanswerable: list[Item | Drop] = []
    false: list[Item | Drop] = []
    answerable = 1 - params.unanswerable_share - params.false_premise_share
    for split in SPLITS:
        own = [item for item in items if sides[item.source] == split]
        texts = Texts(own, groups)
        refused = [pair_unanswerable(item, texts, groups[item.source], prompts["refusal_answers"]) for item in own]
        refused = share_out(refused, round(len(own) * params.unanswerable_share / answerable))
        corrected = [false_premise(item, parameters, prompts["correction_answers"]) for item in own]
        corrected = share_out(corrected, round(len(own) * params.false_premise_share / answerable))
        unanswerable += refused
        false += corrected
        chats[split] = [*own, *kept_of(refused)[0], *kept_of(corrected)[0]]
    for name, found in (("unanswerable", unanswerable), ("false_premise", false)):
        kept, drops = kept_of(found)
        ledger.count(name, len(found), len(kept), drops)

    reasoned: list[Record | Drop] = []
    for item in items:
        halves = own_reasoning(item, prompts["evidence_reasoning"])
        reasoned.append(halves if isinstance(halves, Drop) else qar_record(item, *halves, wording))
    for item, question in qasa_items:
        reasoned.append(qar_record(item, qasa_reasoning(question), item.answer, wording))
    qar, drops = kept_of(reasoned)
    ledger.count("qar", len(reasoned), len(qar), drops)

    for split in SPLITS:
        write_jsonl(OUT / f"synthetic_qa_{split}.jsonl", [chat_record(item, wording) for item in chats[split]])
        write_jsonl(OUT / f"qar_{split}.jsonl", [record for record in qar if sides[record["source"]] == split])
    write_json(OUT / "finetune.json", [instruction_record(item) for item in chats["train"]])
    write_jsonl(OUT / "dropped.jsonl", ledger.dropped)
    kinds = {split: dict(sorted(Counter(item.kind for item in chats[split]).items())) for split in SPLITS}
    metrics = {
        "counts": ledger.counts,
        "synthetic_qa": kinds,
        "qar": {split: sum(sides[record["source"]] == split for record in qar) for split in SPLITS},
        "groups": len(set(groups.values())),
        "sources": len(groups),
    }
    write_metrics("instruct", metrics)
    watch.lap("all")
    watch.write()
    print(f"instruct: {kinds}")


def qasa_item(question: QasaQuestion) -> Item:
    """A question of QASA's with its passages as the context."""
    return Item(
        id=question.id,
        kind="selected",
        source=question.paper,
        context="\n\n".join(passage.context for passage in question.evidence if passage.context),
        question=question.question,
        answer=question.answer,
        made_by="people",
    )


def qasa_reasoning(question: QasaQuestion) -> str:
    """The rationales; where there are none, the sentences of the passages that tell most of the answer."""
    rationales = [passage.rationale for passage in question.evidence if passage.rationale]
    if rationales:
        return " ".join(rationales)
    contexts = [passage.context for passage in question.evidence]
    return chosen_evidence(contexts, question.question, question.answer, EVIDENCE_SENTENCES)


if __name__ == "__main__":
    main()
