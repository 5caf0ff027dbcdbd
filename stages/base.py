"""models.NAME -> models/NAME: a note of what a base's weights are, so that `gguf.model: NAME` can release it as it is.

DVC has a stage wait for files. What gguf releases is the output of a training (models/NAME-qlora, models/gpt/best),
or a base, which no stage makes: its note stands for it. The weights stay where `models:` says.
Run: python -m stages.base NAME
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("base", ["write"])

import argparse
from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.metrics import all_kept, ending
from stages.lib.core.records import write_json
from stages.lib.weights.models import load_model_entry

MODELS_DIR = Path("models")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `base` of params.yaml: nothing to set; which base it is, gguf.base says."""


def main(name: str) -> None:
    """Writes the note of the base `name`.

    Raises:
        ValueError: no such model, or a bad entry.
    """
    entry = load_model_entry(name)
    write_json(MODELS_DIR / name, {"base": name, "source": entry.source, "weights": entry.revision or entry.sha256})
    print(ending(f"base {name}", all_kept(1), "base", "a note of its weights", MODELS_DIR / name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stages.base", description=__doc__)
    parser.add_argument("name", help="a model under models:")
    main(parser.parse_args().name)
