"""What a stage finds from the stages before it, made for a project folder of any size, where models would take hours.

Run (by bench.stage_costs, in a project folder): python -m bench.grown_inputs STEP

- vectors: random unit vectors of the chunks and questions, put into the real ledger of vectors under their real keys;
  they share a mean direction, as those of one subject do, and one in fifty is a near-duplicate (bench.dedup). So no
  forward pass is computed.
- verdicts: the judge's scores of all pairs that dedup would ask about, put into the real ledger of language models:
  none is a duplicate, so there is one round of asking.
- questions: QUESTIONS of the chunks' own words, with support, evenly from the whole corpus. The default samples chunks
  to ask about, so their number does not grow with the corpus.
- reranking: each question's chunk and others, in the order of a random permutation.
"""

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.lib.core.records import read_json, read_jsonl, write_jsonl

QUESTIONS = 95  # that the default selects
RERANKED = 20  # candidates of a question
AT_ONCE = 10_000  # rows put into a ledger in one transaction
EMBEDDING = "minilm-l6"
CHUNKS, SELECTED = Path("data/chunks/chunks.jsonl"), Path("data/selected/qa_selected.jsonl")


def write_questions() -> None:
    """qa_selected.jsonl: of a chunk its first words; several of a chunk where there are fewer chunks than questions."""
    chunks = read_jsonl(CHUNKS, ["id", "text"])
    rows = [i * len(chunks) // QUESTIONS for i in range(QUESTIONS)]
    records = []
    for number, row in enumerate(rows):
        words = chunks[row]["text"].split()[:12]
        records.append(
            {
                "id": f"made:{number}",
                "chunk": chunks[row]["id"],
                "question": f"{number}: {' '.join(words)}?",
                "support": {"start": 0, "end": min(40, len(chunks[row]["text"]))},
            }
        )
    write_jsonl(SELECTED, records)


def fill_vectors() -> None:
    """Puts a vector of every chunk and question into the ledger of vectors."""
    from bench.dedup import make_vectors
    from stages.lib.cache.ledger import Ledger
    from stages.lib.cache.place import cache_dir
    from stages.lib.core.hashes import ledger_key
    from stages.lib.core.params import in_domain, read_param
    from stages.lib.embedding.embedders import LEDGER_FILE, open_embedder
    from stages.lib.weights.models import load_model_entry

    texts = [chunk["text"] for chunk in read_jsonl(CHUNKS, ["text"])]
    asked = [question["question"] for question in read_jsonl(SELECTED, ["question"])]
    with open_embedder(EMBEDDING, load_model_entry(EMBEDDING)) as embedder:
        written = embedder.write_documents(texts)
        for instruction in in_domain(read_param("embed.instructions"), read_param("domain")).values():
            written += embedder.write_queries(asked, instruction)
        keys = list({ledger_key(*embedder.identity, *embedder.encoder.key(one)): None for one in written})
        vectors = make_vectors("shared-mean", len(keys), embedder.dimension)
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    for start in range(0, len(keys), AT_ONCE):
        rows = range(start, min(start + AT_ONCE, len(keys)))
        ledger.put((keys[row], vectors[row].astype("<f4").tobytes()) for row in rows)
    ledger.close()


def fill_verdicts() -> None:
    """Puts the scores of all pairs that dedup asks about into the ledger of language models; prints how many."""
    from stages import dedup as stage
    from stages.lib.core.params import load
    from stages.lib.llm.asking import open_model
    from stages.lib.llm.protocol import LanguageModel, Score, ScoreRequest
    from stages.lib.near_duplicates.duplication import Verdict, excess_surprise
    from stages.lib.near_duplicates.found_pairs import ChunkPair, read_found
    from stages.lib.weights.models import ModelEntry, load_model_entry
    from stages.lib.wording.form import same_words

    params = load(stage.Params, "dedup")
    entry = load_model_entry(params.judge)
    chunks = read_jsonl(CHUNKS, ["id", "text"])
    own = sorted(set(same_words([chunk["text"] for chunk in chunks])))
    found = {model: read_found(model, [chunks[i]["id"] for i in own]) for model in params.models}
    texts = [chunks[i]["text"] for i in own]
    asked: list[tuple[str, str]] = []

    def ask(pairs: list[ChunkPair]) -> list[Verdict]:
        asked.extend((texts[a], texts[b]) for a, b in pairs)
        return [Verdict(False, "")] * len(pairs)

    stage.dedup(chunks, found, ask, params)
    requests: list[ScoreRequest] = []

    class Collecting:
        """A text is as likely as can be after itself, and not after another."""

        entry: ModelEntry

        def score(self, wanted: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
            requests.extend(wanted)
            return [made_score(request) for request in wanted]

        generate: Callable[..., list[object]]

    def made_score(request: ScoreRequest) -> Score:
        repeated = request.choices[0].strip() in request.prompt.text
        return Score(logprobs=(0.0 if repeated else -100.0,), tokens=(1,))

    model: LanguageModel = Collecting()  # type: ignore[assignment]  # what excess_surprise uses of one
    excess_surprise(asked, model, params.excess_nats)
    with open_model(entry) as real:
        real._ledger.put((real._key(request), real._written(made_score(request), 0.0)) for request in requests)
    print(f"{len(asked)} pairs for the judge")


def write_rerankings() -> None:
    """Rerankings of all rerankers and instructions that the benchmark asks for."""
    from stages.lib.ranking.grid import read_grid

    grid = read_grid()
    ids = read_json(Path(f"data/embeddings/{EMBEDDING}_chunks_ids.json"))
    for reranker in grid.rerankers:
        for instruction in grid.reranked_instructions:
            rng = random.Random(f"{reranker} {instruction}")
            records = []
            for question in read_jsonl(SELECTED, ["id", "chunk"]):
                others = rng.sample(ids, min(len(ids), RERANKED))
                chunks = list(dict.fromkeys([question["chunk"], *others]))[:RERANKED]
                rng.shuffle(chunks)
                candidates = [{"chunk": chunk, "rerank_rank": rank} for rank, chunk in enumerate(chunks, start=1)]
                records.append({"query": question["id"], "candidates": candidates})
            write_jsonl(Path(f"data/reranking/{EMBEDDING}_{reranker}_{instruction}_reranking.jsonl"), records)


STEPS: dict[str, Callable[[], None]] = {
    "questions": write_questions,
    "vectors": fill_vectors,
    "verdicts": fill_verdicts,
    "reranking": write_rerankings,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]]()
