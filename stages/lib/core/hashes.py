"""Hashes: of values, which decide a key, and of files."""

import hashlib
import json
from pathlib import Path
from typing import Any


def ledger_key(*parts: Any) -> str:
    """SHA-256 over the JSON of the parts; equal parts, equal key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes.

    Raises:
        ValueError: no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
