"""held-out questions, the corpus, the released GGUF -> data/rag/: what the users of the chat get, measured.

Each question is searched for in the whole corpus as the chat does it; the base and the released model answer from the
passages that were found. Run: python -m stages.rag
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("rag", ["read", "search", "base", "tuned", "embed", "write"])

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.evidence import DocumentIndex
from stages.lib.answering.prompting import AnswerWording, build_messages
from stages.lib.answering.searching import Searching, open_searching
from stages.lib.answers.reasoned_answers import written_parts
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.core.metrics import Stopwatch, ending, write_metrics
from stages.lib.core.params import in_domain, load, load_prompts, read_param
from stages.lib.core.records import Message, Record, read_jsonl, write_csv
from stages.lib.embedding.embedders import open_embedder
from stages.lib.evaluation.chart import draw
from stages.lib.evaluation.comparison import compare_systems
from stages.lib.evaluation.reply_scores import reply_similarities
from stages.lib.evaluation.systems import find_gguf, single_prompt
from stages.lib.llm.asking import AskedModel, make_backend
from stages.lib.llm.protocol import GenerateRequest, Sampling
from stages.lib.passages.passages import readable
from stages.lib.rag.corpus_index import Corpus, make_corpus
from stages.lib.rag.measures import Found, citation_rows, citation_table, floor_report, not_scored, system_measures
from stages.lib.rag.questions import Asked, asked_questions, questions_for_models
from stages.lib.rag.report import caption, reply_rows, report
from stages.lib.ranking.qrels import same_words_groups
from stages.lib.weights.base import context_length, load_tokenizer
from stages.lib.weights.gguf_header import read_gguf_header
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import ModelEntry, load_model_entry

TEST = Path("data/instruct/synthetic_qa_test.jsonl")
SELECTED = Path("data/selected/qa_selected.jsonl")
DOCUMENTS = Path("data/chunks/documents.jsonl")
CHUNKS = Path("data/chunks/chunks.jsonl")
MODELS = Path("models")
OUT = Path("data/rag")
NAMES = {  # measure -> its name in the chart; the rest is in metrics/full/rag.json
    "token_f1": "token F1",
    "embedding_similarity": "embedding similarity",
    "answered": "answerable, answered",
    "refusal_recall": "refusal recall",
    "refusal_precision": "refusal precision",
    "correction_rate": "false premises corrected",
    "found_chunk": "right chunk among passages",
    "cited_chunk": "right chunk cited first",
    "cited_support": "right sentence cited first",
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `rag` of params.yaml; how is searched and answered is in section `chat`."""

    questions: int  # that the models are asked, in turn from each kind; 0: all. The search is measured on all
    off_topic: list[str]  # questions of another subject than the corpus; [] measures none
    similarity_model: str  # name under models:, whose cosine compares reply and reference
    bootstrap_samples: int
    seed: int  # of the choice of questions and of the bootstrap

    def __post_init__(self) -> None:
        if self.questions < 0:
            raise ValueError(f"questions: {self.questions} must be >= 0; 0 asks all")
        if self.bootstrap_samples < 100:
            raise ValueError(f"bootstrap_samples: {self.bootstrap_samples} is too few for a 95% interval (100 or more)")
        if len(set(self.off_topic)) < len(self.off_topic) or not all(text.strip() for text in self.off_topic):
            raise ValueError("off_topic: each question once, none empty")


@contextmanager
def open_chat_search() -> Iterator[Searching]:
    """What the page searches with, by section `chat`."""
    settings = load(ChatSettings, "chat")
    with open_searching(
        settings,
        in_domain(read_param("embed.instructions") or {}, read_param("domain")),
        embedding=load_model_entry(settings.embedding),
        late_interaction=load_model_entry(settings.late_interaction),
        vectors=cache_dir() / "rag" / "vectors",
    ) as searching:
        yield searching


def find(asked: Sequence[Asked], corpus: Corpus, searching: Searching) -> list[Found]:
    """Searches for each question as the page does."""
    settings = searching.settings
    index = DocumentIndex(corpus.documents, searching.choice, settings, searching.encoders, corpus.parts)
    names = [document.sha256 for document in corpus.documents]
    found = []
    for question in progress.each(asked, "searches", "question"):
        allowed = [name for name in names if name not in question.without] if question.without else None
        evidence = index.find(question.question, allowed)
        shown = [ranked.quote for ranked in evidence.quotes[: settings.quotes]]
        cited = [corpus.quoted_chunks(quote) for quote in shown]
        passages = [corpus.chunk_of(hit.passage) for hit in evidence.hits]
        found.append(Found(evidence=evidence, shown=shown, cited=cited, passages=passages))
    return found


def make_requests(
    asked: Sequence[Asked], found: Sequence[Found], searching: Searching, base: str
) -> list[GenerateRequest]:
    """The page's prompts, with as many passages as fit; greedy, whatever `chat.temperature` is."""
    settings = searching.settings
    names = ["instruct_system_prompt", "answer_from_context_prompt", "reasoning_prompt"]
    prompts = load_prompts(names, domain=read_param("domain"))
    asked_with = prompts["reasoning_prompt" if settings.reasoning else "answer_from_context_prompt"]
    wording = AnswerWording(system=prompts["instruct_system_prompt"], with_context=asked_with)
    entry = load_model_entry(base)
    fmt = ChatFormat.of(entry)
    tokenizer = load_tokenizer(huggingface_directory(entry))

    def count(messages: Sequence[Message]) -> int:
        return len(encode(tokenizer, render(tokenizer, messages, fmt, generation_prompt=True)))

    room = min(settings.context_tokens, context_length(entry)) - settings.max_new_tokens
    return [
        GenerateRequest(
            prompt=single_prompt(
                build_messages(
                    question.question,
                    [hit.passage for hit in one.evidence.hits],
                    [],
                    wording=wording,
                    count=count,
                    room=room,
                )
            ),
            sampling=Sampling(max_tokens=settings.max_new_tokens),
        )
        for question, one in zip(asked, found, strict=True)
    ]


def asked_entries(base: str, released: Path, settings: ChatSettings) -> dict[str, ModelEntry]:
    """The base and the released model, asked alike: by llama.cpp where the base is a GGUF file, too.

    One conversation at a time: what llama.cpp computes together depends on the clock, and with it the last digits and
    the replies.
    """
    entry = load_model_entry(base)
    how: dict[str, Any] = {"backend": "llama_cpp", "context": settings.context_tokens, "concurrency": 1}
    how["gpu_layers"] = settings.gpu_layers or entry.gpu_layers
    tuned = ModelEntry(source=f"path:{released}", thinking=entry.thinking, system_role=entry.system_role, **how)
    return {"base": replace(entry, **how) if entry.source.endswith(".gguf") else entry, "tuned": tuned}


def ask(name: str, entry: ModelEntry, requests: Sequence[GenerateRequest]) -> list[str]:
    """What a model answers, without its reasoning; each reply is in the ledger before the next one is asked for.

    Raises:
        ValueError: it cannot answer one of them.
    """
    with closing(make_backend(entry)) as backend, closing(Ledger(cache_dir() / "llm" / "ledger.sqlite")) as ledger:
        replies = AskedModel(entry, backend, ledger).generate(requests, f"rag {name}")
    for reply in replies:
        if reply.error:
            raise ValueError(f"{entry.source}: {reply.error}; lower chat.context_tokens or chat.max_new_tokens")
    return [written_parts(reply.text)[1] for reply in replies]


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: each model's token F1, the right chunk cited first, and refusals of the tuned."""
    systems = results["systems"]
    found: dict[str, Any] = {
        f"{name}_f1": systems[name]["token_f1"]["value"]
        for name in ("base", "tuned")
        if "token_f1" in systems.get(name, {})
    }
    if "cited_chunk" in results["citations"]:
        found["cited"] = results["citations"]["cited_chunk"]["value"]
    for name in ("answered", "refusal_recall"):
        if name in systems.get("tuned", {}):
            found[name] = systems["tuned"][name]["value"]
    return {"rag": found}


def read_asked(params: Params, chunks: Sequence[Record]) -> tuple[list[Asked], dict[str, Any]]:
    """The questions, and the counts of the held-out ones.

    Raises:
        ValueError: there is none, or a file does not fit the others.
    """
    held_out = read_jsonl(TEST, required=["id", "kind", "question", "answer"])
    selected = read_jsonl(SELECTED, required=["id", "chunk", "support"])
    groups = same_words_groups(chunks)
    by_id = {chunk["id"]: chunk for chunk in chunks}
    asked, counts = asked_questions(
        held_out,
        selected,
        chunks=by_id,
        groups=groups,
        off_topic=params.off_topic,
    )
    if not counts["kept"]:
        raise ValueError(f"{TEST}: none of {len(held_out)} questions is about a chunk: {counts['dropped']}")
    return asked, counts


def main() -> None:
    """Searches, asks, measures; writes the table, the chart and the metrics.

    Raises:
        ValueError: no question is there, or the released model is absent or damaged.
    """
    watch = Stopwatch("rag")
    params = load(Params, "rag")
    file = find_gguf(MODELS / "gguf")
    read_gguf_header(file)
    chunks = read_jsonl(CHUNKS, ["id", "document", "start", "end", "text"])
    asked, counts = read_asked(params, chunks)
    corpus = make_corpus(read_jsonl(DOCUMENTS, ["id", "text"]), chunks)
    base = str(read_param("gguf.base"))
    watch.lap("read")
    with open_chat_search() as searching:
        found = find(asked, corpus, searching)
        watch.lap("search")
        above = [one.evidence.answerable for one in found]
        places = questions_for_models(asked, above, params.questions, params.seed)
        told, known = [asked[i] for i in places], [found[i] for i in places]
        requests = make_requests(told, known, searching, base)
    replies: dict[str, list[str]] = {}
    for name, entry in asked_entries(base, file, searching.settings).items():
        replies[name] = ask(name, entry, requests)
        watch.lap(name)
    replies["quotes"] = [readable(one.shown[0].text) if one.shown else "" for one in known]
    with open_embedder(params.similarity_model, load_model_entry(params.similarity_model)) as embedder:
        references = [question.reference or " " for question in told]
        similarities = {name: reply_similarities(embedder, said, references) for name, said in replies.items()}
    watch.lap("embed")
    measures, absent = system_measures(told, known, replies, similarities, ["base", "tuned"])
    table = compare_systems(measures, params.bootstrap_samples, params.seed)
    citations = citation_table(citation_rows(asked, found), params.bootstrap_samples, params.seed)
    floor = floor_report(asked, found, searching.settings.min_relevance)
    kinds = {str(kind): count for kind, count in Counter(question.kind for question in asked).items()}
    models_asked = {str(kind): count for kind, count in Counter(question.kind for question in told).items()}
    title = caption(base, file.stem, models_asked, searching.choice.system)
    metrics = {
        "questions": counts,
        "kinds": kinds,
        "asked": models_asked,
        "search": searching.choice._asdict(),
        "systems": table,
        "citations": citations,
        "floor": floor,
        "absent": absent,
        "not_scored": not_scored(told),
    }
    write_csv(OUT / "rag.csv", reply_rows(told, known, replies, similarities, ["base", "tuned"]))
    draw(OUT / "rag.png", table | {"quotes": table["quotes"] | citations}, NAMES, title)
    write_metrics("rag", metrics, headline)
    watch.lap("write")
    watch.write()
    print(report(metrics))
    print(ending("rag", counts, "questions", f"{len(told)} asked of {len(replies)} systems, table and chart,", OUT))


if __name__ == "__main__":
    main()
