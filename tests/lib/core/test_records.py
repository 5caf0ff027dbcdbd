from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from stages.lib.core.records import (
    atomic_path,
    csv_text,
    iterate_jsonl,
    read_json,
    read_json_object,
    read_jsonl,
    saving,
    write_array,
    write_json,
    write_jsonl,
    write_rows,
)


def test_jsonl_round_trip_keeps_text(tmp_path: Path) -> None:
    records = [{"id": "1", "text": 'käse\u2028\n\t"x"'}, {"id": "2", "text": ""}]
    write_jsonl(tmp_path / "deep" / "a.jsonl", records)
    assert read_jsonl(tmp_path / "deep" / "a.jsonl", required=["id", "text"]) == records


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": 1', r"a\.jsonl:3: not a JSON line"),
        (b'{"id": "\xff"}', r"a\.jsonl:3: not a JSON line"),
        (b"[1]", r"a\.jsonl:3: expected a JSON object, found list"),
        (b'{"other": 1}', r"a\.jsonl:3: the record lacks id"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"id": 1}\n\n' + line + b"\n")
    with pytest.raises(ValueError, match=message):
        read_jsonl(file, required=["id"])


def test_a_missing_file_says_that_its_stage_has_not_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has not run"):
        read_jsonl(tmp_path / "a.jsonl")


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    write_jsonl(file, [{"id": 1}])

    def records() -> Iterator[dict[str, int]]:
        yield {"id": 2}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_jsonl(file, records())
    assert read_jsonl(file) == [{"id": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"), atomic_path(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_arrays_and_json(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "a.npy", array)
    assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)
    write_json(tmp_path / "a.json", {"b": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1\n}\n'


@pytest.mark.parametrize("shape", [(10, 3), (7,), (3, 0)])
def test_rows_in_blocks_give_the_bytes_of_the_whole_array(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    write_array(tmp_path / "whole.npy", array)
    write_rows(tmp_path / "rows.npy", iter([array[:1], array[1:1], array[1:]]), len(array))
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    turned = np.asfortranarray(array)
    write_rows(tmp_path / "rows.npy", [turned], len(array))
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_rows_that_are_not_all_there_leave_no_file(tmp_path: Path) -> None:
    array = np.ones((4, 2), dtype=np.float32)
    cases: list[tuple[list[np.ndarray], str]] = [
        ([array[:3]], "3 rows came, 4 were announced"),
        ([], "0 rows came"),
        ([array[:2], array[2:, :1]], r"a block float32 \(2, 1\) below float32 \(0, 2\)"),
        ([array[:2], array[2:].astype(np.float64)], "a block float64"),
    ]
    for blocks, message in cases:
        with pytest.raises(ValueError, match=message):
            write_rows(tmp_path / "rows.npy", blocks, 4)
    assert not list(tmp_path.iterdir())


def test_records_can_be_read_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"b": 3}\n')
    records = iterate_jsonl(tmp_path / "r.jsonl", ["a"])
    assert [next(records), next(records)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(ValueError, match=r"r\.jsonl:3: the record lacks a"):
        next(records)


def test_csv_has_six_significant_digits() -> None:
    assert csv_text([{"a": "x, y", "b": 1 / 3, "c": 12}, {"a": "", "b": 1.0, "c": 0}]) == (
        'a,b,c\n"x, y",0.333333,12\n,1,0\n'
    )


def test_a_json_object_or_an_error_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    with pytest.raises(ValueError, match=r"facts\.json: no such file"):
        read_json_object(file)
    for content, message in (("{", "not valid JSON"), ("[]", "expected a JSON object, found list")):
        file.write_text(content)
        with pytest.raises(ValueError, match=rf"facts\.json: {message}"):
            read_json_object(file)
    file.write_text('{"a": 1}')
    assert read_json_object(file) == {"a": 1}


def test_a_hint_follows_what_is_wrong_with_a_json_file(tmp_path: Path) -> None:
    file = tmp_path / "ids.json"
    with pytest.raises(ValueError, match=r"ids\.json: no such file; run embed$"):
        read_json(file, hint="run embed")
    file.write_text("[1,")
    with pytest.raises(ValueError, match=r"ids\.json: not valid JSON: .*; run embed$"):
        read_json(file, hint="run embed")
    file.write_text("[1]")
    assert read_json(file) == [1]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file"),
    ],
)
def test_what_libraries_raise_of_a_full_disk_says_what_to_do(error: Exception) -> None:
    message = r"^models/x: the adapter could not be saved \(.*\); make room and go on$"
    with pytest.raises(ValueError, match=message), saving(Path("models/x"), "the adapter", "go on"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("the loss is nan"), KeyError("a")])
def test_other_failures_within_saving_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, saving(Path("models/x"), "the adapter"):
        raise error
    assert caught.value is error
