"""Runs a stage that asks a language model with made answers, and keeps them in the real ledger under the real keys.

Run (by bench.stage_costs, in a project folder): python -m bench.answered_stages STAGE [ARGUMENTS]

So a run of the stage after it does all that it does beside the model, and asks nothing. The answers are as varied as a
small model's: about half of the questions are usable, and an answer is the likelier the more of its words stand in the
prompt, so that judges tell matched from mismatched items and about as many questions pass as do in the default.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any

from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.llm.asking import AskedModel, make_backend
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.statistics.drawing import fraction_of
from stages.lib.weights.models import ModelEntry

ENDINGS = ("?", " use?")  # of a question whose opening is whole, and of one that lacks its verb


class MadeAnswers(AskedModel):
    """A model that answers at once."""

    def _answers(self, requests: Sequence[Any], ask: Any, kind: Any, progress: str | None) -> list[Any]:
        keys = [self._key(request) for request in requests]
        made = {key: made_answer(key, request) for key, request in zip(keys, requests, strict=True)}
        self._ledger.put((key, self._written(answer, 0.0)) for key, answer in made.items())
        self.asked += len(made)
        return [made[key] for key in keys]


def made_answer(key: str, request: GenerateRequest | ScoreRequest) -> Reply | Score:
    """The end of a question, or how likely the choices are by the words that they share with the prompt."""
    drawn = fraction_of("made answer", key)
    if isinstance(request, GenerateRequest):
        text = ENDINGS[int(drawn * len(ENDINGS))]
        return Reply(text=text, finish_reason="stop", prompt_tokens=300, completion_tokens=3)
    held = set(request.prompt.text.lower().split())
    words = [choice.lower().split() for choice in request.choices]
    shares = [sum(word in held for word in one) / max(1, len(one)) for one in words]
    sums = [-len(one) * (3.2 - 2.5 * share + 0.4 * drawn) for one, share in zip(words, shares, strict=True)]
    return Score(logprobs=tuple(round(one, 5) for one in sums), tokens=tuple(max(1, len(one)) for one in words))


@contextmanager
def open_made(entry: ModelEntry) -> Iterator[AskedModel]:
    """As `asking.open_model`; no weights load."""
    with closing(make_backend(entry)) as backend, closing(Ledger(cache_dir() / "llm" / "ledger.sqlite")) as ledger:
        yield MadeAnswers(entry, backend, ledger)


def main(stage: str, arguments: Sequence[str]) -> None:
    """Runs `python -m stages.STAGE ARGUMENTS` with made answers."""
    module: Any = import_module(f"stages.{stage}")
    module.open_model = open_made
    sys.argv = [stage, *arguments]
    module.main(*([] if stage == "rerank" else arguments))  # rerank reads its arguments itself


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
