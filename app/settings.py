"""What the app runs with: the models that search, where it keeps what people gave it, and the texts of a question."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.capable_model import CapableWording
from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.prompting import AnswerWording
from stages.lib.answering.searching import Searching
from stages.lib.answering.searching import open_searching as open_searching_in
from stages.lib.cache.place import cache_dir
from stages.lib.core.params import in_domain, load, load_prompts, read_param
from stages.lib.weights.models import load_model_entry

__all__ = ["HOME", "Searching", "capable_wording", "home", "open_searching", "wording"]

HOME = "app"  # under the cache directory: libraries, conversations, vectors


def home() -> Path:
    """Where the app keeps what people gave it."""
    return cache_dir() / HOME


def wording(reasoning: bool) -> AnswerWording:
    """The texts that the tuned model was trained with; `reasoning`: ask for `reasoning ##### answer`."""
    asked = "reasoning_prompt" if reasoning else "answer_from_context_prompt"
    prompts = load_prompts(["instruct_system_prompt", asked], domain=read_param("domain"))
    return AnswerWording(system=prompts["instruct_system_prompt"], with_context=prompts[asked])


def capable_wording() -> CapableWording:
    """How a model that leads is asked beside answering."""
    prompts = load_prompts(["rewrite_question_prompt", "choose_sentences_prompt"], domain=read_param("domain"))
    return CapableWording(rewrite=prompts["rewrite_question_prompt"], choose=prompts["choose_sentences_prompt"])


@contextmanager
def open_searching(vectors: Path | None = None) -> Iterator[Searching]:
    """The models that search; `vectors`: where token vectors are kept, beside the libraries where nothing is said.

    Raises:
        ValueError: a bad section, no such model, or weights that are absent or not the pinned ones.
    """
    settings = load(ChatSettings, "chat")
    with open_searching_in(
        settings,
        in_domain(read_param("embed.instructions") or {}, read_param("domain")),
        embedding=load_model_entry(settings.embedding),
        late_interaction=load_model_entry(settings.late_interaction),
        vectors=vectors or home() / "vectors",
    ) as searching:
        yield searching
