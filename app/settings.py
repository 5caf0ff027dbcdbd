"""What the app runs with: the `chat` section, the models that search, and the texts of a question."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.evidence import Encoders
from stages.lib.answering.prompting import AnswerWording
from stages.lib.cache.place import cache_dir
from stages.lib.core.params import load, load_prompts, read_names, read_param
from stages.lib.embedding.embedders import open_embedder
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.retrieval.systems import Choice, System, best_system
from stages.lib.weights.models import load_model_entry, locate_safetensors

HOME = "app"  # under the cache directory: libraries, conversations, vectors


@dataclass(frozen=True)
class Searching:
    """How documents are searched."""

    settings: ChatSettings
    choice: Choice
    encoders: Encoders


def home() -> Path:
    """Where the app keeps what people gave it."""
    return cache_dir() / HOME


def wording(reasoning: bool) -> AnswerWording:
    """The texts that the tuned model was trained with; `reasoning`: ask for `reasoning ##### answer`."""
    asked = "reasoning_prompt" if reasoning else "answer_from_context_prompt"
    prompts = load_prompts(["instruct_system_prompt", asked])
    return AnswerWording(system=prompts["instruct_system_prompt"], with_context=prompts[asked])


def chosen_system(settings: ChatSettings) -> Choice:
    """The system that params.yaml names, or the best of the benchmark."""
    if settings.system == "auto":
        embeddings = [settings.embedding]
        late = [settings.late_interaction]
        return best_system(embeddings, read_names("embed.instructions"), late)
    system: System = settings.system  # type: ignore[assignment]  # checked by ChatSettings
    return Choice(system, settings.embedding, "", f"chat.system is {system}")


@contextmanager
def open_searching() -> Iterator[Searching]:
    """Reads params.yaml and opens the models that search.

    Raises:
        ValueError: a bad section, no such model, or weights that are absent or not the pinned ones.
    """
    settings = load(ChatSettings, "chat")
    choice = chosen_system(settings)
    entry = load_model_entry(settings.late_interaction)
    tokens = TokenEncoder(entry, locate_safetensors(entry))
    instruction = str(read_param(f"embed.instructions.{choice.instruction}") or "") if choice.instruction else ""
    with open_embedder(settings.embedding, load_model_entry(settings.embedding)) as embedder:
        yield Searching(settings, choice, Encoders(tokens, embedder, instruction, home() / "vectors"))
