"""Scores in training: kept through kills, nothing twice and nothing lost; drawn where there are some."""

import struct
from pathlib import Path

import pytest

from stages.lib.curves.curve_picture import ScorePanel, publish_curve
from stages.lib.curves.curves import Point
from stages.lib.curves.score_curve import ScoreCurve, Scoring

COLUMNS = ("items", "acc")


def scored(path: Path, steps: range, resumed_from: int = 0) -> ScoreCurve:
    curve = ScoreCurve(path, COLUMNS, resumed_from)
    for step in steps:
        curve.append(step, {"items": 30, "acc": 1 / (step + 2), "more": 1.0})
    return curve


def test_a_resumed_file_equals_an_undisturbed_one(tmp_path: Path) -> None:
    whole = scored(tmp_path / "whole.csv", range(10, 70, 10))
    scored(tmp_path / "cut.csv", range(10, 50, 10))  # killed after step 40, whose last checkpoint is of step 30
    assert list(ScoreCurve(tmp_path / "cut.csv", COLUMNS, 30).rows) == [10, 20, 30]
    again = scored(tmp_path / "cut.csv", range(40, 70, 10), resumed_from=30)
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert again.rows == whole.rows
    again.publish(tmp_path / "shown/acc.csv")
    assert (tmp_path / "shown/acc.csv").read_text().splitlines()[:3] == [
        "step,items,acc",
        "10,30,0.0833333",
        "20,30,0.0454545",
    ]
    # A training that begins anew has none of them.
    assert not ScoreCurve(tmp_path / "cut.csv", COLUMNS).rows


def test_none_is_a_file_too(tmp_path: Path) -> None:
    ScoreCurve(tmp_path / "none.csv", COLUMNS).publish(tmp_path / "shown.csv")
    assert (tmp_path / "shown.csv").read_text() == "step,items,acc\n"
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize(
    ("text", "where"), [("step,x\n", ":1: expected"), ("step,items,acc\n10,30\n", ":2: not a row")]
)
def test_another_file_is_refused_with_its_line(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=f"a.csv{where}"):
        ScoreCurve(tmp_path / "a.csv", COLUMNS, resumed_from=10)


def height(picture: Path) -> int:
    found: int = struct.unpack(">I", picture.read_bytes()[20:24])[0]
    return found


def test_the_picture_has_a_panel_of_scores_where_there_are_some(tmp_path: Path) -> None:
    points = [Point(step, 3.0 / step, None, 1e-3, 1.0) for step in range(1, 70)]
    scoring = Scoring(
        name="quiz",
        identity="x",
        columns=COLUMNS,
        shown=("acc",),
        chance=0.25,
        every=10,
        score=dict,
        csv=tmp_path / "quiz.csv",
    )
    rows = scored(tmp_path / "a.csv", range(10, 70, 10)).rows
    panels = {"bare": None, "none": ScorePanel(scoring, {}), "some": ScorePanel(scoring, rows)}
    for name, panel in panels.items():
        publish_curve(points, 1, tmp_path / f"{name}.csv", tmp_path / f"{name}.png", panel)
    assert (tmp_path / "none.png").read_bytes() == (tmp_path / "bare.png").read_bytes()
    assert height(tmp_path / "some.png") > height(tmp_path / "bare.png")
    publish_curve(points, 1, tmp_path / "again.csv", tmp_path / "again.png", panels["some"])
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "some.png").read_bytes()


@pytest.mark.parametrize(("every", "steps"), [(0, []), (7, [7, 14]), (20, [20])])
def test_its_own_steps(every: int, steps: list[int]) -> None:
    scoring = Scoring(
        name="quiz", identity="x", columns=COLUMNS, shown=(), chance=0.0, every=every, score=dict, csv=Path("x")
    )
    assert [step for step in range(1, 21) if scoring.due(step)] == steps
