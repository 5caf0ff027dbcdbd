"""What searches documents: the system that the `chat` section or the benchmark chooses, and the models it needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.evidence import Encoders
from stages.lib.core.params import load, read_param
from stages.lib.embedding.embedders import open_embedder
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.retrieval.systems import Choice, System, best_system
from stages.lib.weights.models import load_model_entry, locate_safetensors


@dataclass(frozen=True)
class Searching:
    """How documents are searched."""

    settings: ChatSettings
    choice: Choice
    encoders: Encoders


def chosen_system(settings: ChatSettings, instructions: list[str]) -> Choice:
    """The system that params.yaml names, or the best of the benchmark.

    Args:
        settings: section `chat`.
        instructions: names of the query instructions that the benchmark may have tried.
    """
    if settings.system == "auto":
        return best_system([settings.embedding], instructions, [settings.late_interaction])
    system: System = settings.system  # type: ignore[assignment]  # checked by ChatSettings
    return Choice(system, settings.embedding, "", f"chat.system is {system}")


@contextmanager
def open_searching(vectors: Path | None) -> Iterator[Searching]:
    """Reads params.yaml and opens the models that search.

    Args:
        vectors: where token vectors are kept; None: nowhere.

    Raises:
        ValueError: a bad section, no such model, or weights that are absent or not the pinned ones.
    """
    settings = load(ChatSettings, "chat")
    instructions: dict[str, str] = read_param("embed.instructions") or {}
    choice = chosen_system(settings, list(instructions))
    entry = load_model_entry(settings.late_interaction)
    tokens = TokenEncoder(entry, locate_safetensors(entry))
    with open_embedder(settings.embedding) as embedder:
        yield Searching(
            settings, choice, Encoders(tokens, embedder, instructions.get(choice.instruction) or "", vectors)
        )
