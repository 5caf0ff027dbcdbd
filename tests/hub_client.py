"""Processes of their own that ask a hub: HF_ENDPOINT and HF_HOME are read when huggingface_hub is imported."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
LOCATE = "from stages.lib.weights.models import load_model_entry, locate; print(locate(load_model_entry('m')))"


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """An environment in which the hub is at `url` and its cache in `home`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    ours = {"HF_ENDPOINT": url, "HF_HOME": str(home), "PYTHONPATH": str(ROOT), "LLMILL_CACHE": str(home / "llmill")}
    return clean | ours | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"} | more


def start(command: list[str], where: Path, env: dict[str, str]) -> "subprocess.Popen[str]":
    """A python process in a directory."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], cwd=where, env=env, stdout=pipe, stderr=pipe, text=True)


def run(command: list[str], where: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """The same to its end."""
    process = start(command, where, env)
    out, error = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def write_entry(where: Path, name: str, revision: str, backend: str = "transformers", **fields: Any) -> None:
    """A params.yaml with one model, `m`, of the hub."""
    entry = {"source": f"hub:{name}", "revision": revision, "backend": backend} | fields
    where.mkdir(parents=True, exist_ok=True)
    (where / "params.yaml").write_text(yaml.safe_dump({"models": {"m": entry}}))


def parquet(columns: dict[str, list[Any]], group: int = 2) -> bytes:
    """A parquet file in row groups of `group`."""
    from datasets import Dataset

    file = io.BytesIO()
    Dataset.from_dict(columns).to_parquet(file, batch_size=group)
    return file.getvalue()


def last_line(result: "subprocess.CompletedProcess[str]") -> str:
    """What a process that failed says, which is one line and no traceback."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result.stderr.strip().splitlines()[-1]
