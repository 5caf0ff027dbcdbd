"""The curve: equal bytes, nothing twice and nothing lost after a kill, a stable picture."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.lib.curves.curve_picture import plot, publish_curve, smoothed
from stages.lib.curves.curves import Curve, Point
from tests.lib.curves.written_curve import read_curve


def row(step: int) -> dict[str, float]:
    """A row with digits beyond the sixth."""
    values = {"train_loss": 5.123456789 / step, "lr": 6e-4 * step, "grad_norm": 0.1 * step}
    return values | ({"val_loss": 1 / 3} if step % 4 == 0 else {})


def point(step: int) -> Point:
    values = row(step)
    return Point(step, values["train_loss"], values.get("val_loss"), values["lr"], values["grad_norm"])


def test_rows_have_six_digits_and_read_back(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.csv")
    for step in range(1, 6):
        curve.append(step, row(step))
    curve.close()
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,train_loss,val_loss,lr,grad_norm"
    assert lines[1] == "1,5.12346,,0.0006,0.1"
    assert lines[4] == "4,1.28086,0.333333,0.0024,0.4"
    read = read_curve(tmp_path / "curve.csv")
    assert [p.step for p in read] == [1, 2, 3, 4, 5]
    assert read[0] == Point(1, 5.12346, None, 0.0006, 0.1)
    assert [p.line() for p in read] == [line + "\n" for line in lines[1:]]  # read and written, the bytes stay


def test_resumed_curve_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, cut = Curve(tmp_path / "whole.csv"), Curve(tmp_path / "cut.csv")
    for step in range(1, 11):
        whole.append(step, row(step))
    for step in range(1, 8):
        cut.append(step, row(step))
    cut.close()
    with (tmp_path / "cut.csv").open("a") as file:
        file.write("8,0.64")  # the row that the process died over
    again = Curve(tmp_path / "cut.csv", resumed_from=5)
    assert [p.step for p in again.points] == [1, 2, 3, 4, 5]
    for step in range(6, 11):
        again.append(step, row(step))
    publish_curve(whole.points, 1, tmp_path / "metrics/whole.csv", tmp_path / "metrics/whole.png")
    publish_curve(again.points, 1, tmp_path / "metrics/again.csv", tmp_path / "metrics/again.png")
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "metrics/again.csv").read_bytes() == (tmp_path / "metrics/whole.csv").read_bytes()
    assert (tmp_path / "metrics/again.png").read_bytes() == (tmp_path / "metrics/whole.png").read_bytes()


def test_what_is_published_are_logged_steps_validations_and_the_last(tmp_path: Path) -> None:
    publish_curve([point(step) for step in range(1, 12)], 3, tmp_path / "curve.csv", tmp_path / "curve.png")
    assert [p.step for p in read_curve(tmp_path / "curve.csv")] == [3, 4, 6, 8, 9, 11]


def test_training_from_the_beginning_leaves_no_old_rows(tmp_path: Path) -> None:
    first = Curve(tmp_path / "curve.csv")
    first.append(1, row(1))
    first.close()
    assert Curve(tmp_path / "curve.csv").points == []
    assert read_curve(tmp_path / "curve.csv") == []


def test_rows_outlive_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path; from stages.lib.curves.curves import Curve\n"
        f"curve = Curve(Path({str(tmp_path / 'curve.csv')!r}))\n"
        "for step in range(1, 4): curve.append(step, {'train_loss': 1.0, 'lr': 0.1, 'grad_norm': 1.0})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": "."})
    assert died.returncode == -signal.SIGKILL
    assert [p.step for p in Curve(tmp_path / "curve.csv", resumed_from=2).points] == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"curve\.csv: no such file, and the training goes on from step 5; remove"),
        ("a,b\n1,2\n", r"curve\.csv:1: expected 'step,"),
        ("step,train_loss,val_loss,lr,grad_norm\n1,x,,1,1\n", r"curve\.csv:2: not a row"),
        ("step,train_loss,val_loss,lr,grad_norm\n1,1.0,1\n2,1,,1,1\n", r"curve\.csv:2: not a row"),
    ],
)
def test_what_is_no_curve_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "curve.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        Curve(tmp_path / "curve.csv", resumed_from=5)


def test_smoothing_is_a_centred_mean() -> None:
    values = np.array([1.0, 5.0, 3.0, 7.0])
    np.testing.assert_allclose(smoothed(values, 3), [3.0, 3.0, 5.0, 5.0])
    np.testing.assert_allclose(smoothed(values, 1), values)


def test_picture_shows_the_points_and_needs_some(tmp_path: Path) -> None:
    plot([point(step) for step in range(1, 200)], tmp_path / "a.png")
    plot([point(step) for step in range(1, 200)], tmp_path / "b.png")
    plot([point(step) for step in range(1, 100)], tmp_path / "c.png")
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
    assert first == (tmp_path / "b.png").read_bytes() != (tmp_path / "c.png").read_bytes()
    with pytest.raises(ValueError, match="no points to draw"):
        plot([], tmp_path / "d.png")
