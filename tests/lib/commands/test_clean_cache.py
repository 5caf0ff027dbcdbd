"""What `make clean-cache` removes and what it leaves."""

import os
from pathlib import Path

from stages.lib.commands.clean_cache import clean, survey


def filled(cache: Path) -> Path:
    """Two trainings of a stage, conversions of old and new code, a ledger, compiled kernels."""
    for place, size in (
        ("pretrain/old/model.safetensors", 3000),
        ("pretrain/new/model.safetensors", 2000),
        ("qlora/only/checkpoint-4/adapter.safetensors", 500),
        ("models/abc-transformers-1-x/model.safetensors", 7000),
        ("models/abc-transformers-2-y/model.safetensors", 9000),
        ("llm/ledger.sqlite", 40),
        ("inductor/kernel.so", 60),
    ):
        (cache / place).parent.mkdir(parents=True, exist_ok=True)
        (cache / place).write_bytes(b"x" * size)
    for old in ("pretrain/old", "models/abc-transformers-1-x"):
        os.utime(cache / old, (1, 1))
    return cache


def test_earlier_trainings_and_other_codes_conversions_go(tmp_path: Path) -> None:
    cache = filled(tmp_path / ".cache")
    freed = {str(found.path.relative_to(cache)): found.size for found in survey(cache) if not found.kept}
    assert freed == {"pretrain/old": 3000, "models/abc-transformers-1-x": 7000, "inductor": 60}
    report = clean(cache, dry_run=True)
    assert "would free 0.0 MB" in report and (cache / "pretrain/old").is_dir()
    report = clean(cache, dry_run=False)
    left = {str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file()}
    assert left == {
        "pretrain/new/model.safetensors",
        "qlora/only/checkpoint-4/adapter.safetensors",
        "models/abc-transformers-2-y/model.safetensors",
        "llm/ledger.sqlite",
    }
    assert report.splitlines()[-1] == ".cache: freed 0.0 MB, 0.0 MB stay"
    assert any(line.startswith("free") and "pretrain/old" in line for line in report.splitlines())


def test_no_cache_is_nothing_to_free(tmp_path: Path) -> None:
    assert clean(tmp_path / ".cache", dry_run=False) == ".cache: freed 0.0 MB, 0.0 MB stay"
