"""The four rerankers by their `rerank_method`: two that compute here, two that ask a language model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import assert_never

from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.llm.protocol import LanguageModel
from stages.lib.reranking.cross_encoder import CrossEncoderReranker
from stages.lib.reranking.late_interaction import LateInteractionReranker
from stages.lib.reranking.pair_scores import LEDGER_FILE, HandedOn, Reranker
from stages.lib.reranking.query_likelihood import QueryLikelihoodReranker
from stages.lib.reranking.yes_no import YesNoReranker
from stages.lib.weights.models import ModelEntry

ASKING_METHODS = ("yes_no", "likelihood")  # those that go through the language-model room
PROMPTS = ["rerank_instruction", "query_likelihood_prompt"]  # of yes_no and of likelihood


@contextmanager
def open_encoder_reranker(
    entry: ModelEntry, idf_corpus: Sequence[str] | None, handed_on: HandedOn | None = None
) -> Iterator[CrossEncoderReranker | LateInteractionReranker]:
    """Opens a cross-encoder or a late-interaction encoder; its weights load when a pair is not yet scored.

    Args:
        entry: the model's entry.
        idf_corpus: texts whose word frequencies weigh late interaction; None: no weights.
        handed_on: has the batches computed elsewhere.

    Raises:
        ValueError: another backend than sentence_transformers, or weights that are absent or not the pinned ones.
    """
    if entry.backend != "sentence_transformers":
        raise ValueError(
            f"{entry.source}: rerank_method {entry.rerank_method!r} needs backend sentence_transformers, "
            f"found {entry.backend!r}"
        )
    with closing(Ledger(cache_dir() / LEDGER_FILE)) as ledger:
        yield encoder_reranker(entry, ledger, idf_corpus, handed_on)


def encoder_reranker(
    entry: ModelEntry, ledger: Ledger, idf_corpus: Sequence[str] | None, handed_on: HandedOn | None = None
) -> CrossEncoderReranker | LateInteractionReranker:
    """What `open_encoder_reranker` opens, over a ledger of the caller's."""
    match entry.rerank_method:
        case "cross_encoder":
            return CrossEncoderReranker(entry, ledger, handed_on)
        case "late_interaction":
            return LateInteractionReranker(entry, ledger, idf_corpus, handed_on)
        case "yes_no" | "likelihood":
            raise ValueError(f"{entry.source}: rerank_method {entry.rerank_method!r} asks a language model")
        case _:
            assert_never(entry.rerank_method)


def asking_reranker(model: LanguageModel, prompts: Mapping[str, str]) -> Reranker:
    """A reranker that asks a language model, by its entry's rerank_method; `prompts` holds those of PROMPTS."""
    match model.entry.rerank_method:
        case "yes_no":
            return YesNoReranker(model, prompts["rerank_instruction"].strip())
        case "likelihood":
            return QueryLikelihoodReranker(model, prompts["query_likelihood_prompt"])
        case "cross_encoder" | "late_interaction":
            raise ValueError(
                f"{model.entry.source}: rerank_method {model.entry.rerank_method!r} asks no language model"
            )
        case _:
            assert_never(model.entry.rerank_method)
