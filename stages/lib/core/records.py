"""JSON, JSONL and CSV records, and whole-or-nothing output files.

Every output appears complete or not at all: it is written beside its place under a
temporary name and renamed when it is whole.
"""

import csv
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]
Message = dict[str, str]  # {"role": "system", "user" or "assistant", "content": ...}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path; renames it to `path` when the block ends well, removes it otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def appearing_directory(directory: Path) -> Iterator[Path]:
    """Yields a temporary sibling that becomes `directory` when the block ends well, and is removed when it does not.

    Raises:
        OSError: as the block does (a full disk), with nothing left behind and an earlier `directory` untouched.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.parent / f".{directory.name}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if directory.exists():
            old = temporary.with_name(temporary.name + ".old")
            directory.rename(old)
            temporary.rename(directory)
            shutil.rmtree(old)
        else:
            temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def saving(place: Path, what: str, again: str = "run again") -> Iterator[None]:
    """A block that saves: tells of a disk that is full or not writable what to do about it.

    Args:
        place: what the message names.
        what: is saved there.
        again: what to do once there is room.

    Raises:
        ValueError: the block raised an OSError, or what safetensors and torch.save raise of a full disk.
    """
    try:
        yield
    except Exception as error:
        if not (isinstance(error, OSError) or _is_failed_write(error)):
            raise
        raise ValueError(f"{place}: {what} could not be saved ({error}); make room and {again}") from error


def _is_failed_write(error: Exception) -> bool:
    """By name: neither library is loaded here."""
    return type(error).__name__ == "SafetensorError" or (
        isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error)
    )


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON with a final newline, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV with the columns of the first row, whole or not at all; `csv_text` tells how."""
    write_text(path, csv_text(rows))


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV; floats with six significant digits, so that a diff means a change; None, or no such key, is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Writes one JSON object a line, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes an .npy file (no pickle), whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_rows(path: Path, blocks: Iterable[np.ndarray], rows: int) -> None:
    """Writes blocks of rows, one below the other, as `write_array` writes the whole; holds one block at a time.

    Args:
        path: an .npy file.
        blocks: (n, d) each, one dtype; at least one.
        rows: of all blocks together.

    Raises:
        ValueError: the blocks have other rows together, or do not fit each other.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        written, first = 0, None
        for block in blocks:
            if first is None:
                first = block[:0]
                shape = (rows, *block.shape[1:])
                header = {"descr": block.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            if block.dtype != first.dtype or block.shape[1:] != first.shape[1:]:
                raise ValueError(f"{path}: a block {block.dtype} {block.shape} below {first.dtype} {first.shape}")
            file.write(np.ascontiguousarray(block).data)
            written += len(block)
        if written != rows or first is None:
            raise ValueError(f"{path}: {written} rows came, {rows} were announced")


def read_json(path: Path, hint: str = "") -> Any:
    """Reads a JSON file. Raises `ValueError` naming the file, with the hint, when it is absent or no JSON."""
    after = f"; {hint}" if hint else ""
    if not path.is_file():
        raise ValueError(f"{path}: no such file{after}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}{after}") from error


def read_json_object(path: Path, hint: str = "") -> Record:
    """Reads a file that holds one JSON object. Raises `ValueError` naming the file when it is absent or another."""
    content = read_json(path, hint)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def read_jsonl(path: Path, required: Sequence[str] = ()) -> list[Record]:
    """Reads one JSON object a line; blank lines are skipped.

    Raises:
        ValueError: names the file and the line that is not UTF-8, not a JSON object, or lacks a required key.
    """
    return list(iterate_jsonl(path, required))


def iterate_jsonl(path: Path, required: Sequence[str] = ()) -> Iterator[Record]:
    """The records of `read_jsonl`, one at a time, with its errors."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; the stage that writes it has not run")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise ValueError(f"{path}:{number}: not a JSON line: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{path}:{number}: expected a JSON object, found {type(record).__name__}")
            absent = [key for key in required if key not in record]
            if absent:
                raise ValueError(f"{path}:{number}: the record lacks {', '.join(absent)}")
            yield record
