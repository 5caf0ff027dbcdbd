"""Held-out questions -> data/evaluation/: the base against what was tuned from it, scored, judged, compared.

Every system of `systems` gets the same questions, prompts and seeds. Run: python -m stages.eval
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("eval", ["read", "ask", "embed", "judge", "write"])

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import fitted, render
from stages.lib.core.metrics import Stopwatch, ending, write_metrics
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_csv
from stages.lib.corpus.sources import DocumentSource, parse_source, read_source
from stages.lib.embedding.embedders import open_embedder
from stages.lib.evaluation.chart import draw
from stages.lib.evaluation.comparison import compare_systems
from stages.lib.evaluation.evaluation_report import caption, report
from stages.lib.evaluation.evaluation_tables import evaluation_rows
from stages.lib.evaluation.forgetting import forgetting, text_windows
from stages.lib.evaluation.held_out import choose_questions, make_pairs, prompt_of
from stages.lib.evaluation.reply_scores import make_measures, not_scored, reply_similarities, score_reply, win_row
from stages.lib.evaluation.systems import (
    SPARE,
    Answers,
    Asking,
    SystemName,
    ask_gguf,
    ask_transformers,
    find_gguf,
    gguf_context,
)
from stages.lib.evaluation.win_rate import AnswerPair, Preference, judge_by_likelihood, judge_by_rating
from stages.lib.llm.asking import open_model
from stages.lib.llm.in_flight import top_reasons
from stages.lib.replying.conversation_replies import Conversation, ConversationReply
from stages.lib.weights.base import check_adapter, context_length, load_tokenizer
from stages.lib.weights.gguf_header import read_gguf_header
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import ModelEntry, load_model_entry

TEST = Path("data/instruct/synthetic_qa_test.jsonl")
OUT = Path("data/evaluation")
MODELS = Path("models")
FLOOR = 10  # questions that an evaluation asks at least
JUDGE_PROMPTS = {"rating": "pairwise_judge_prompt", "likelihood": "reference_after_answer_prompt"}
NAMES = {  # measure -> its name in the chart
    "token_f1": "token F1",
    "token_f1_answerable": "token F1, answerable",
    "rouge_l": "ROUGE-L",
    "embedding_similarity": "embedding similarity",
    "refusal_precision": "refusal precision",
    "refusal_recall": "refusal recall",
    "correction_rate": "false premises corrected",
    "win_rate": "judge: wins against base",
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `eval` of params.yaml."""

    base: str  # name under models:
    systems: list[SystemName]  # base first; qlora and grpo are adapters on it, gguf is the file in models/gguf
    questions: int  # of the test split, in turn from each kind, >= 10; 0: all
    max_new_tokens: int  # of a reply
    temperature: float  # 0: greedy
    batch_size: int  # conversations computed together
    dtype: str  # of the weights: float32, bfloat16
    gpu_layers: int  # of the GGUF file, that a GPU computes, where llama.cpp is built for one; -1: all
    similarity_model: str  # name under models:, whose cosine compares reply and reference
    judge: str  # name under models:; its judge_method says how it judges
    judge_max_new_tokens: int  # of a verdict with its rationale (rating)
    judge_margin: float  # nats per token of the reference from which an answer wins (likelihood), >= 0
    forgetting: dict[str, Any]  # general text: a `kind` (hub, files, packages) and fields
    forgetting_texts: int  # documents of it
    forgetting_tokens: int  # from the beginning of each
    bootstrap_samples: int
    seed: int  # of the choice of questions, of sampling and of the bootstrap

    def __post_init__(self) -> None:
        if self.systems[:1] != ["base"] or len(set(self.systems)) < len(self.systems):
            raise ValueError(f"systems: {self.systems}: begin with base, which the others are compared with, each once")
        if self.questions and self.questions < FLOOR:
            raise ValueError(f"questions: {self.questions} is below {FLOOR}; 0 asks all of the test split")
        if min(self.max_new_tokens, self.batch_size, self.judge_max_new_tokens, self.bootstrap_samples) < 1:
            raise ValueError("max_new_tokens, batch_size, judge_max_new_tokens and bootstrap_samples must be >= 1")
        if min(self.temperature, self.judge_margin, self.gpu_layers + 1) < 0:
            raise ValueError("temperature and judge_margin must not be negative, gpu_layers not below -1")
        if self.forgetting_texts < 2 or self.forgetting_tokens < 2:
            raise ValueError("forgetting_texts and forgetting_tokens must be >= 2")
        self.general_text()

    def general_text(self) -> DocumentSource:
        """The typed source of the forgetting check. Raises `ValueError` naming the key."""
        return parse_source(self.forgetting, "forgetting")

    @property
    def asking(self) -> Asking:
        """How each system is asked."""
        names = ("max_new_tokens", "temperature", "seed", "batch_size", "dtype", "gpu_layers")
        return Asking(**{name: getattr(self, name) for name in names})


def judge_pairs(params: Params, pairs: Mapping[str, Sequence[AnswerPair]]) -> tuple[str, dict[str, list[Preference]]]:
    """The judge's method and its verdicts on each system's pairs with the base."""
    entry = load_model_entry(params.judge)
    method = entry.judge_method
    prompts = load_prompts(list(JUDGE_PROMPTS.values()), domain=read_param("domain"))  # both: dvc.yaml tracks both
    prompt = prompts[JUDGE_PROMPTS[method]]
    verdicts = {}
    with open_model(entry) as model:
        for system, asked in pairs.items():
            progress = f"judge {system} against base"
            match method:
                case "rating":
                    verdicts[system] = judge_by_rating(
                        asked, model, prompt=prompt, max_tokens=params.judge_max_new_tokens, progress=progress
                    )
                case "likelihood":
                    verdicts[system] = judge_by_likelihood(
                        asked, model, prompt=prompt, margin=params.judge_margin, progress=progress
                    )
                case _:
                    assert_never(method)
    return method, verdicts


def ask_system(
    name: SystemName,
    params: Params,
    base: ModelEntry,
    conversations: Sequence[Any],
    windows: Sequence[list[int]],
) -> Answers:
    """What a system says to the conversations; `base` is the entry of `params.base`."""
    match name:
        case "base":
            return ask_transformers(params.base, base, None, conversations, windows, asking=params.asking)
        case "qlora" | "grpo":
            adapter = MODELS / f"{params.base}-{name}"
            return ask_transformers(params.base, base, adapter, conversations, windows, asking=params.asking)
        case "gguf":
            tokenizer = load_tokenizer(huggingface_directory(base))
            longest = max(prompt_lengths(tokenizer, base, conversations, [name] * len(conversations)))
            return ask_gguf(find_gguf(MODELS / "gguf"), conversations, params.asking, longest, base.thinking)
        case _:
            assert_never(name)


def check_systems(params: Params, base: ModelEntry) -> None:
    """Before anything is computed: that each system is there, whole and of this base.

    Raises:
        ValueError: one is not.
    """
    for name in params.systems:
        match name:
            case "base":
                pass  # its weights are checked where they are loaded
            case "qlora" | "grpo":
                check_adapter(params.base, base, MODELS / f"{params.base}-{name}")
            case "gguf":
                read_gguf_header(find_gguf(MODELS / "gguf"))
            case _:
                assert_never(name)


def room_for_prompts(params: Params, base: ModelEntry) -> int:
    """Tokens of a prompt that every system takes beside a reply.

    Raises:
        ValueError: there is no room for a prompt.
    """
    limits = {params.base: context_length(base)}
    if "gguf" in params.systems:
        file = find_gguf(MODELS / "gguf")
        limits[str(file)] = gguf_context(file) - SPARE
    name = min(limits, key=lambda name: limits[name])
    if limits[name] <= params.max_new_tokens:
        raise ValueError(
            f"eval.max_new_tokens: {params.max_new_tokens} leaves no room for a prompt: {name} takes {limits[name]} "
            "tokens in all"
        )
    return limits[name] - params.max_new_tokens


def prompt_lengths(
    tokenizer: Any, base: ModelEntry, conversations: Sequence[Conversation], names: Sequence[str]
) -> list[int]:
    """Tokens of each prompt. Raises `ValueError` naming the record that the chat template refuses."""
    fmt = ChatFormat.of(base)
    prompts = [
        render(tokenizer, turns, fmt, generation_prompt=True, where=f"{TEST}: {name}")
        for turns, name in zip(conversations, names, strict=True)
    ]
    return [len(encode(tokenizer, prompt)) for prompt in prompts]


def similarities(
    params: Params, replies: Mapping[str, Sequence[ConversationReply]], records: Sequence[Record]
) -> dict[str, list[float]]:
    """System -> cosine of each reply and its reference, by the embedding model; an empty reply is worth 0."""
    with open_embedder(params.similarity_model, load_model_entry(params.similarity_model)) as embedder:
        references = [record["answer"] for record in records]
        return {
            system: reply_similarities(embedder, [reply.text for reply in said], references)
            for system, said in replies.items()
        }


def add_forgetting(
    table: dict[str, dict[str, dict[str, Any]]], answers: Mapping[str, Answers], params: Params
) -> dict[str, str]:
    """Adds `forgetting` to the rows of each system whose losses are known; returns why those of others are absent."""
    before = answers["base"].losses
    assert before is not None
    absent = {}
    for name, answer in answers.items():
        if answer.losses is None:
            absent[f"{name}.forgetting"] = "llama.cpp is not asked for losses; stage gguf compares its perplexity"
        elif name != "base":
            table[name]["forgetting"] = forgetting(before, answer.losses, params.bootstrap_samples, params.seed)
    return absent


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: each system's token F1; its wins against the base, and what general text became.

    `forgetting` is the perplexity of general text by that of the base: 1 is as before, above 1 is worse.
    """
    found: dict[str, dict[str, Any]] = {}
    for system, rows in results["systems"].items():
        found[system] = {"f1": rows["token_f1"]["value"]} if "token_f1" in rows else {}
        if "win_rate" in rows:
            found[system]["win_rate"] = rows["win_rate"]["value"]
        if "forgetting" in rows:
            found[system]["forgetting"] = rows["forgetting"]["ratio"]
    return {"eval": found}


def main() -> None:
    """Asks, scores, judges, compares; writes the tables, the chart and the metrics.

    Raises:
        ValueError: no question is there or fits, or a system is absent, damaged or of another base.
    """
    params = load(Params, "eval")
    watch = Stopwatch("eval", ["read", *params.systems, "embed", "judge", "write"])
    base = load_model_entry(params.base)
    check_systems(params, base)
    records = read_jsonl(TEST, required=["id", "kind", "messages", "context", "question", "answer"])
    tokenizer = load_tokenizer(huggingface_directory(base))
    limit = room_for_prompts(params, base)
    prompts, names = [prompt_of(record) for record in records], [str(record["id"]) for record in records]
    lengths = prompt_lengths(tokenizer, base, prompts, names)
    chosen, counts = choose_questions(records, lengths, limit, params.questions, params.seed)
    if not chosen:
        raise ValueError(f"{TEST}: none of {len(records)} questions fits into {limit} tokens: {counts['dropped']}")
    source = read_source(params.general_text(), max_chars=10_000_000)
    windows = text_windows(tokenizer, source, params.forgetting_tokens, params.forgetting_texts)
    watch.lap("read")
    # A system turn that the template has no place for is folded here: llama.cpp would do it in a way of its own.
    conversations = [fitted(tokenizer, prompt_of(record), ChatFormat.of(base), record["id"]) for record in chosen]
    answers: dict[str, Answers] = {}
    for system in params.systems:
        answers[system] = ask_system(system, params, base, conversations, windows)
        watch.lap(system)
        said = answers[system].replies
        print(f"{system}: {len(said)} replies, {sum(reply.tokens for reply in said)} tokens", flush=True)
    replies: dict[str, list[ConversationReply]] = {name: answer.replies for name, answer in answers.items()}
    cosines = similarities(params, replies, chosen)
    scores = {
        name: [score_reply(*one) for one in zip(chosen, said, cosines[name], strict=True)]
        for name, said in replies.items()
    }
    watch.lap("embed")
    pairs = {name: make_pairs(chosen, replies["base"], said) for name, said in replies.items() if name != "base"}
    method, verdicts = judge_pairs(params, pairs)
    watch.lap("judge")
    measures, absent = make_measures(chosen, scores)
    table = compare_systems(measures, params.bootstrap_samples, params.seed)
    for name, judged in verdicts.items():
        row = win_row(judged, params.bootstrap_samples, params.seed)
        if row is None:
            absent[f"{name}.win_rate"] = f"{params.judge} judged no pair: {top_reasons(v.why for v in judged)}"
        else:
            table[name]["win_rate"] = row
    absent |= add_forgetting(table, answers, params)
    rows, marking = evaluation_rows(chosen, replies, scores, verdicts, params.seed)
    write_csv(OUT / "evaluation.csv", rows)
    write_csv(OUT / "evaluation_for_marking.csv", marking)
    kinds = dict(sorted(Counter(record["kind"] for record in chosen).items()))
    draw(OUT / "evaluation.png", table, NAMES, caption(params.base, kinds, params.judge, method))
    metrics = {
        "questions": counts,
        "kinds": kinds,
        "judge": {"name": params.judge, "method": method},
        "forgetting_texts": len(windows),
        "systems": table,
        "absent": absent,
        "not_scored": not_scored(scores),
    }
    write_metrics("eval", metrics, headline)
    watch.lap("write")
    tokens = sum(reply.tokens for answer in answers.values() for reply in answer.replies)
    asked = sum(watch.parts[name] for name in params.systems)
    watch.write(new_tokens_per_second=round(tokens / max(asked, 1e-9), 2))
    print(report(metrics, FLOOR))
    print(ending("eval", counts, "questions", f"{len(replies)} systems, replies, table and chart,", OUT))


if __name__ == "__main__":
    main()
