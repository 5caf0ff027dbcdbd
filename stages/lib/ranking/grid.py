"""Which embeddings, instructions, rerankers and trained parts the graph loops over, as who gathers them reads it."""

from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.params import PARAMS_FILE, read_names


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Which embeddings, instructions, rerankers and trained parts there are: sections embed, rerank and retriever."""

    embeddings: list[str]
    instructions: list[str]  # all of embed.instructions: dense rows
    rerankers: list[str]
    reranked_instructions: list[str]  # rerank.instructions: reranked rows
    trained: list[str]  # retriever.parts: rows on held-out questions


def read_grid(path: Path = PARAMS_FILE) -> Grid:
    """Reads embed.models, embed.instructions, rerank.rerankers, rerank.instructions and retriever.parts.

    Raises:
        ValueError: one of them is missing or not a list (or mapping) of names, there is no embedding,
            or rerank asks for an instruction that embed does not have.
    """
    grid = Grid(
        embeddings=read_names("embed.models", path),
        instructions=read_names("embed.instructions", path),
        rerankers=read_names("rerank.rerankers", path),
        reranked_instructions=read_names("rerank.instructions", path),
        trained=read_names("retriever.parts", path),
    )
    if not grid.embeddings or not grid.instructions:
        raise ValueError(f"{path}: embed.models and embed.instructions need at least one name each")
    unknown = [name for name in grid.reranked_instructions if name not in grid.instructions]
    if unknown:
        raise ValueError(f"{path}: rerank.instructions: {unknown} not among embed.instructions {grid.instructions}")
    return grid
