"""nanoGPT's CPU configuration on tiny Shakespeare by bytes: validation loss and seconds.

Run: LLMILL_REAL_DATA=DIR python -m bench.tiny_shakespeare [--steps 2000]

The stages shard and pretrain do it all: the text is one document, whose last tenth is for validation, as nanoGPT cuts
it (here at the blank line between two speeches that is nearest).
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import yaml

from stages import pretrain, shard
from stages.lib.core.metrics import read_results
from tests.params_of import section


def main() -> None:
    """Copies the text into a temporary folder, shards it and trains there, prints what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.tiny_shakespeare", description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    if "LLMILL_REAL_DATA" not in os.environ:
        parser.error("set LLMILL_REAL_DATA to the folder that holds pretrain/tinyshakespeare_input.txt")
    text = Path(os.environ["LLMILL_REAL_DATA"], "pretrain/tinyshakespeare_input.txt").resolve()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        shutil.copyfile(text, "tinyshakespeare.txt")
        sharding = section(
            "shard",
            sources=[{"kind": "files", "patterns": ["tinyshakespeare.txt"]}],
            tokenizer="byte",
            split="auto",
            val_fraction=0.1,
        )
        pretraining = section(
            "pretrain",
            context=64,
            n_layer=4,
            n_head=4,
            d_model=128,
            steps=steps,
            batch_tokens=12 * 64,
            micro_batch=12,
            lr=1e-3,
            warmup_fraction=0.05,
            beta2=0.99,
            precision="float32",
            eval_every=max(1, steps // 8),
            checkpoint_every=max(1, steps // 8),
            eval_windows=0,
            prompts=["ROMEO:\n"],
        )
        Path("params.yaml").write_text(yaml.safe_dump({"shard": sharding, "pretrain": pretraining}))
        for stage in (shard, pretrain):
            stage.main()
        for name in ("shard", "pretrain"):
            print(json.dumps(read_results(name), indent=2))
        print(json.dumps(json.loads(Path("timings/pretrain.json").read_text())["parts"]))
        os.chdir("/")


if __name__ == "__main__":
    main()
