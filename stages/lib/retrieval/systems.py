"""The ways to search that people can choose, and which of them the benchmark ranks best."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from stages.lib.core.metrics import read_results

System = Literal["bm25", "dense", "late_interaction", "mean_pooled", "fused"]
SYSTEMS: tuple[System, ...] = get_args(System)
WITHOUT_BENCHMARK: System = "fused"


class Choice(NamedTuple):
    """A system, what it runs with, and why it was chosen."""

    system: System
    embedding: str  # a name under models:
    instruction: str  # a key of embed.instructions; "": none
    why: str


def best_system(
    embeddings: Sequence[str], instructions: Sequence[str], late_interaction: Sequence[str], project: Path = Path()
) -> Choice:
    """The system that metrics/benchmark_results.json ranks best by MRR among those that can be run here.

    Args:
        embeddings: names of embedding models.
        instructions: names of query instructions.
        late_interaction: names of the rerankers that work by late interaction.
        project: where metrics/ lies.
    """
    try:
        results = read_results("benchmark_results", project)
        measured: Mapping[str, Mapping[str, float]] = results["systems"]
    except (ValueError, KeyError):
        why = "there is no benchmark yet (`dvc repro benchmark`): all rankings are fused"
        return Choice(WITHOUT_BENCHMARK, embeddings[0], "", why)
    best: Choice | None = None
    best_mrr = -1.0
    for name, system, embedding, instruction in _names(embeddings, instructions, late_interaction):
        mrr = float(measured[name]["mrr"]) if name in measured else -1.0
        if mrr > best_mrr:
            why = f"{name} has the best MRR of the benchmark: {mrr:.3f} on {results['queries']} questions"
            best, best_mrr = Choice(system, embedding, instruction, why), mrr
    if best is None:
        why = "the benchmark holds no system that runs here: all rankings are fused"
        return Choice(WITHOUT_BENCHMARK, embeddings[0], "", why)
    return best


def _names(
    embeddings: Sequence[str], instructions: Sequence[str], late_interaction: Sequence[str]
) -> Iterator[tuple[str, System, str, str]]:
    """What stages/benchmark.py calls each system that can be run here."""
    yield "bm25", "bm25", embeddings[0], ""
    for embedding in embeddings:
        for instruction in instructions:
            name = f"{embedding}_{instruction}"
            yield name, "dense", embedding, instruction
            yield f"{name}_bm25-rrf", "fused", embedding, instruction
            for reranker in late_interaction:
                yield f"{name}_{reranker}", "late_interaction", reranker, instruction
