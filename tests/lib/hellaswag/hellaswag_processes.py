"""A program for torchrun: HellaSwag of one model in the middle of a training, and the loss of the step behind it.

Run: torchrun --nproc-per-node 2 tests/lib/hellaswag/hellaswag_processes.py PLACE PRECISION PARALLEL
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))

from stages.lib.hellaswag.items import HellaSwagItem
from stages.lib.hellaswag.together import score_together
from stages.lib.launching.world import World, open_world
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.training.training_setup import CONFIG, Counting, settings, training

WORDS = "the roof of a house is where rain and snow fall in autumn when leaves turn red under grey skies".split()


def items(count: int) -> list[HellaSwagItem]:
    """Made-up items whose endings differ much in length, as whose batches do."""
    return [
        HellaSwagItem(
            activity_label="Roofs",
            ctx=" ".join(WORDS[i % 5 : i % 5 + 4]),
            ctx_parts=None,
            endings=tuple(" ".join(WORDS[(i + j) % 9 : (i + j) % 9 + 1 + (i * j) % 7]) for j in range(4)),
            label=i % 4,
        )
        for i in range(count)
    ]


def score_in_training(place: Path, precision: str, parallel: str, world: World) -> dict[str, Any]:
    """The scores of 1 and of 23 items after a step, and the loss of the next."""
    config = replace(CONFIG, dropout=0.0, vocab_size=320)
    made = training(place, settings(micro_batch=2, parallel=parallel, precision=precision), world, config)
    with torch.no_grad():
        for parameter in made.model.parameters():  # so that its preferences are not all alike
            if parameter.dim() == 2:
                parameter.mul_(10)
    batches = Counting()
    found: dict[str, Any] = {}
    made.train_step(made.parts(batches, 0), 1e-3)
    for count in (1, 23):
        found[str(count)] = score_together(made.model, load_tokenizer("byte"), items(count), world, made.precision)
    assert made.model.training
    made.step = 1
    found["loss"], _ = made.train_step(made.parts(batches, 1), 1e-3)
    return found


def main() -> None:
    """Writes what each process found."""
    place, precision, parallel = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with open_world() as world:
        found = score_in_training(place, precision, parallel, world)
        (place / f"found_{world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
