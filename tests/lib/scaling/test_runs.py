"""Runs survive their CSV file; what cannot be compared is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.lib.scaling.runs import check_comparable, one_of_each, read_runs, short, write_runs
from tests.lib.scaling.made_runs import LARGE, made


def test_runs_come_back_from_their_file(tmp_path: Path) -> None:
    runs = [made("a"), made("b", LARGE, optimizer="muon", lr=5e-05, seed=2, val_standard_error=None)]
    write_runs(tmp_path / "runs.csv", runs)
    assert read_runs(tmp_path / "runs.csv") == runs


def test_the_best_loss_is_kept_where_the_last_is_worse(tmp_path: Path) -> None:
    overfitted = made(loss=2.0)
    overfitted = replace(overfitted, curve=(*overfitted.curve[:1], replace(overfitted.curve[1], val_loss=2.7)))
    write_runs(tmp_path / "runs.csv", [overfitted])
    (back,) = read_runs(tmp_path / "runs.csv")
    assert (back.val_loss, back.curve[-1].val_loss) == (2.0, 2.7)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run,weights", "run,wights", r"runs\.csv:1: expected the columns run,weights,"),
        (",0.001,", ",fast,", r"runs\.csv:2: lr is 'fast', not a number"),
        (",0.001,", ",nan,", r"runs\.csv:2: lr is 'nan', not a number"),
        (",2,0.01\n", "\n", r"runs\.csv:3: best_val_loss is None, not a number"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "runs.csv"
    write_runs(file, [made()])
    text = file.read_text()
    before, found, after = text.rpartition(old) if old.endswith("\n") else text.partition(old)
    assert found
    file.write_text(before + new + after)
    with pytest.raises(ValueError, match=message):
        read_runs(file)


def test_a_file_without_runs_and_a_missing_one_are_named(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs.csv", [made()])
    header = (tmp_path / "runs.csv").read_text().splitlines()[0]
    (tmp_path / "runs.csv").write_text(header + "\n")
    with pytest.raises(ValueError, match=r"runs\.csv: no run in it"):
        read_runs(tmp_path / "runs.csv")
    with pytest.raises(ValueError, match=r"none\.csv: no such file"):
        read_runs(tmp_path / "none.csv")


def test_a_training_that_ran_twice_counts_once() -> None:
    runs = [made("b", LARGE), made("a"), made("a again"), made("other rate", lr=0.002), made("other seed", seed=2)]
    assert [run.name for run in one_of_each(runs)] == ["a", "other seed", "other rate", "b"]


@pytest.mark.parametrize("change", [{"data": "f" * 12}, {"val_windows": 8}, {"context": 32}])
def test_losses_of_other_validations_are_not_compared(change: dict[str, object]) -> None:
    check_comparable([made("a"), made("b", LARGE)], "x")
    with pytest.raises(ValueError, match=r"x: .*1 of data .*such as a\); 1 of data .*such as odd-one\)"):
        check_comparable([made("a"), replace(made("odd-one"), **change)], "x")  # type: ignore[arg-type]


def test_counts_are_short() -> None:
    assert [short(n) for n in (828_544, 59_680, 1_228_800, 124_475_904, 12, 3e9)] == [
        *("0.83M", "60k", "1.2M", "124M", "12", "3B"),
    ]
