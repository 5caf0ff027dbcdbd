"""The runs of a dry run: the graph's stages from chunk on, in order, with the models that each one loads."""

from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True)
class Run:
    """One process of the graph."""

    stage: str
    arguments: tuple[str, ...]
    models: tuple[str, ...]  # names under models:

    @property
    def title(self) -> str:
        """As the graph calls it."""
        return " ".join((self.stage, *self.arguments))


def runs(params: dict[str, Any]) -> list[Run]:
    """The processes that `dvc repro` would start for these params, but for the pretraining half."""
    judges, generators = params["judge"]["judges"], params["qa"]["generators"]
    rerank, tuned = params["rerank"], [params["grpo"]["base"], params["grpo"]["similarity_model"]]
    eval_models = [params["eval"][key] for key in ("base", "similarity_model", "judge")]
    chat_models = [params["chat"]["embedding"], params["chat"]["late_interaction"], params["rag"]["similarity_model"]]
    listed = [
        Run("chunk", (), ()),
        *(Run("near_pairs", (model,), (model,)) for model in params["dedup"]["models"]),
        Run("dedup", (), (params["dedup"]["judge"],)),
        *(Run("qa", (generator,), (generator,)) for generator in generators),
        *(Run("judge", (judge, generator), (judge,)) for judge, generator in product(judges, generators)),
        Run("select", (), ()),
        *(Run("embed", (model,), (model,)) for model in params["embed"]["models"]),
        *(
            Run("rerank", (model, reranker, instruction), (reranker,))
            for model, reranker, instruction in product(
                params["embed"]["models"], rerank["rerankers"], rerank["instructions"]
            )
        ),
        *(Run("retriever", (part,), (params["retriever"]["base"],)) for part in params["retriever"]["parts"]),
        Run("benchmark", (), ()),
        Run("instruct", (), (params["instruct"]["generator"],)),
        Run("qlora", (), (params["qlora"]["base"],)),
        Run("grpo", (), tuple(tuned)),
        Run("base", (params["gguf"]["base"],), (params["gguf"]["base"],)),
        Run("gguf", (), (params["gguf"]["base"],)),
        Run("eval", (), tuple(eval_models)),
        Run("rag", (), tuple(chat_models)),
    ]
    return listed
