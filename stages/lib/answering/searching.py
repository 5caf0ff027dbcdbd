"""What searches documents: the system that the `chat` section or the benchmark chooses, and the models it needs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.evidence import Encoders
from stages.lib.embedding.embedders import open_embedder
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.retrieval.systems import Choice, System, best_system
from stages.lib.weights.models import ModelEntry, locate_safetensors


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
def open_searching(
    settings: ChatSettings,
    instructions: Mapping[str, str],
    *,
    embedding: ModelEntry,
    late_interaction: ModelEntry,
    vectors: Path | None,
) -> Iterator[Searching]:
    """Opens the models that search.

    Args:
        settings: section `chat`.
        instructions: query instructions by name, `embed.instructions`.
        embedding: the entry of `settings.embedding`.
        late_interaction: the entry of `settings.late_interaction`.
        vectors: where token vectors are kept; None: nowhere.

    Raises:
        ValueError: weights that are absent or not the pinned ones.
    """
    choice = chosen_system(settings, list(instructions))
    tokens = TokenEncoder(late_interaction, locate_safetensors(late_interaction))
    with open_embedder(settings.embedding, embedding) as embedder:
        instruction = instructions.get(choice.instruction) or ""
        yield Searching(settings, choice, Encoders(tokens, embedder, instruction, vectors))
