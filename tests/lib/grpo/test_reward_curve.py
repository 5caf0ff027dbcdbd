"""The picture of a GRPO training: what it draws, from logs that lack something, too."""

import csv
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from stages.lib.grpo.reward_curve import draw_rewards, publish_curve, reward_quarters, reward_rows


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were drawn, as they were when they were closed."""
    figures: list[Any] = []
    close = plt.close

    def keep(figure: Any) -> None:
        figures.append(figure)
        close(figure)

    monkeypatch.setattr(plt, "close", keep)
    return figures


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def test_draws_every_reward_and_what_was_logged(tmp_path: Path, drawn: list[Any]) -> None:
    rows = [
        {"step": 1, "reward": 0.5, "reward_std": 0.1, "format_mean": 0.2, "entropy": 1.5, "clipped_share": 0.25},
        {"step": 2, "entropy": 1.2},  # a second iteration on the same replies
        {"step": 3, "reward": 0.9, "reward_std": 0.2, "format_mean": 0.7, "entropy": 1.0, "clipped_share": 0.0},
    ]
    draw_rewards(tmp_path / "curve.png", rows, ["format"], "a toy")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    total, each, drift = figure.axes
    assert list(lines(total).values()) == [([1, 3], [0.5, 0.9])]
    assert lines(each) == {"format": ([1, 3], [0.2, 0.7]), "cut at the token limit": ([1, 3], [0.25, 0.0])}
    assert lines(drift) == {"entropy (nats per token)": ([1, 2, 3], [1.5, 1.2, 1.0])}  # beta 0: no KL


def rewarded(names: list[str]) -> list[dict[str, float]]:
    """Two steps of a training with these rewards."""
    return [
        {"step": step, "reward": 0.5, "reward_std": 0.1, "entropy": 1.0}
        | {f"{name}_{kind}": 0.1 * step + 0.01 * place for place, name in enumerate(names) for kind in ("mean", "std")}
        for step in (1, 2)
    ]


@pytest.mark.parametrize("count", [1, 5, 7, 13])
def test_any_number_of_rewards_is_drawn_and_told_apart(tmp_path: Path, drawn: list[Any], count: int) -> None:
    names = [f"reward {i}" for i in range(count)]
    draw_rewards(tmp_path / "curve.png", rewarded(names), names, "a toy")
    (figure,) = drawn
    _, each, _ = figure.axes
    assert list(lines(each)) == names
    assert (
        len({(line.get_color(), line.get_linestyle(), str(line._dash_pattern)) for line in each.get_lines()}) == count
    )
    assert len(each.get_legend().get_texts()) == count


def test_the_long_format_has_a_row_a_step_and_reward() -> None:
    rows = [{"step": 0, "entropy": 1.2}, *rewarded(["format", "brevity"])]
    found = reward_rows(rows, ["format", "brevity"])
    assert [(row["step"], row["reward"]) for row in found] == [
        (step, name) for step in (1, 2) for name in ("weighted sum", "format", "brevity")
    ]
    assert found[0] == {"step": 1, "reward": "weighted sum", "mean": 0.5, "std": 0.1}
    assert found[5]["mean"] == pytest.approx(0.21)


@pytest.mark.parametrize("logged", [{}, {"reward": 0.5}, {"reward": 0.5, "format_mean": 0.2}, {"kl": 0.1}])
def test_a_picture_of_what_there_is(tmp_path: Path, logged: dict[str, float]) -> None:
    """Unsloth logs no entropy; whatever else a trainer leaves out, its training is drawn."""
    names = ["format", "overlap"]
    columns = ("reward", "reward_std", "kl", "entropy", "clipped_share", "format_mean", "overlap_mean")
    rows = [{"step": step, **dict.fromkeys(columns), **logged} for step in (1, 2)]
    publish_curve(rows, names, "a toy", tmp_path / "curve.csv", tmp_path / "out")
    assert (tmp_path / "out/curve.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "curve.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [{name for name in columns if row[name]} for row in table] == [set(logged)] * 2


def test_nothing_is_left_of_a_picture_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="No space left"):
        draw_rewards(tmp_path / "curve.png", [{"step": 1, "reward": 0.5}], ["format"], "a toy")
    assert list(tmp_path.iterdir()) == []


def test_quarters_are_of_the_rewarded_steps() -> None:
    rows = [{"step": step, "reward": float(step)} for step in range(1, 6)] + [{"step": 6, "loss": 0.0}]
    assert reward_quarters(rows) == {"reward_first_quarter": 1.5, "reward_last_quarter": 4.5}
    assert set(reward_quarters(rows[5:]).values()) == {None}
