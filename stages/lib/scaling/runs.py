"""What is compared of a pretraining: its size, optimizer, budget and losses; read from and written to a CSV file."""

import csv
import io
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stages.lib.core.records import write_csv


class Size(NamedTuple):
    """A shape of the model."""

    weights: int
    n_layer: int
    n_head: int
    d_model: int

    def __str__(self) -> str:
        """`4 x 128, 0.83M`."""
        return f"{self.n_layer} x {self.d_model}, {short(self.weights)}"


class Budget(NamedTuple):
    """What a training is given."""

    steps: int
    batch_tokens: int

    @property
    def tokens(self) -> int:
        """Seen in all."""
        return self.steps * self.batch_tokens


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The loss at a step."""

    step: int
    matmul_flops: float  # of all steps up to this one
    val_loss: float  # nats per token, over `eval_windows` of the validation windows


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pretraining that came to its end."""

    name: str  # of the experiment
    size: Size
    optimizer: str
    lr: float  # peak
    budget: Budget
    seed: int
    data: str  # fingerprint of the shards
    val_windows: int  # that the loss is of: all there are
    context: int  # tokens of a window
    matmul_flops: float  # of the whole training
    val_loss: float  # of the best checkpoint, nats per token
    val_standard_error: float | None  # of the loss over validation; None: not measured
    curve: tuple[Validation, ...]  # by step

    @property
    def setup(self) -> tuple[Size, str, Budget]:
        """What runs of one group share; learning rate and seed differ within it."""
        return self.size, self.optimizer, self.budget


COLUMNS = (
    *("run", "weights", "n_layer", "n_head", "d_model", "optimizer", "lr", "steps", "batch_tokens", "seed", "data"),
    *("val_windows", "context", "step", "matmul_flops", "val_loss", "best_val_loss", "val_standard_error"),
)
TEXTS = ("run", "optimizer", "data")  # the others are numbers


def short(count: float) -> str:
    """A count with its unit: 59680 -> 60k, 828544 -> 0.83M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit / 2:
            return f"{count / unit:.2g}{name}" if count < 100 * unit else f"{count / unit:.0f}{name}"
    return f"{count:.0f}"


def one_of_each(runs: Iterable[Run]) -> list[Run]:
    """The runs without repetitions of the same training, by size, optimizer, budget, learning rate and seed."""
    found: dict[tuple[object, ...], Run] = {}
    for run in runs:
        found.setdefault((*run.setup, run.lr, run.seed), run)
    return [found[key] for key in sorted(found)]


def check_comparable(runs: Collection[Run], where: str) -> None:
    """Losses of other data, or over other validation windows, say nothing about each other.

    Raises:
        ValueError: naming a run of each kind.
    """
    kinds: dict[tuple[str, int, int], list[str]] = {}
    for run in runs:
        kinds.setdefault((run.data, run.val_windows, run.context), []).append(run.name)
    if len(kinds) > 1:
        told = [
            f"{len(names)} of data {data[:12]}, {windows} validation windows of {context} tokens (such as {names[0]})"
            for (data, windows, context), names in kinds.items()
        ]
        raise ValueError(
            f"{where}: the runs were validated differently: {'; '.join(told)}. Compare one kind: --rev takes the "
            "commit that the experiments were started from, --only names of experiments"
        )


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """One row a validation; what is of the whole run stands in each of its rows."""
    rows = [
        {
            "run": run.name,
            **run.size._asdict(),
            "optimizer": run.optimizer,
            "lr": run.lr,
            **run.budget._asdict(),
            "seed": run.seed,
            "data": run.data[:12],
            "val_windows": run.val_windows,
            "context": run.context,
            "step": point.step,
            "matmul_flops": point.matmul_flops,
            "val_loss": point.val_loss,
            "best_val_loss": run.val_loss,
            "val_standard_error": run.val_standard_error,
        }
        for run in runs
        for point in run.curve
    ]
    write_csv(path, [{name: row[name] for name in COLUMNS} for row in rows])


def read_runs(path: Path) -> list[Run]:
    """The runs of a file that `write_runs` wrote.

    Raises:
        ValueError: naming file and line: no such file, other columns, a value that is no number, or no run.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; without --from, the experiments of this repository are read")
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{path}:1: expected the columns {','.join(COLUMNS)}")
    rows: dict[str, list[dict[str, str]]] = {}
    for row in reader:
        for name in COLUMNS:
            value = row[name]
            if name not in TEXTS and not _is_number(value) and not (name == "val_standard_error" and value == ""):
                raise ValueError(f"{path}:{reader.line_num}: {name} is {value!r}, not a number")
        rows.setdefault(row["run"], []).append(row)
    if not rows:
        raise ValueError(f"{path}: no run in it")
    return [_run(name, its) for name, its in rows.items()]


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _run(name: str, rows: list[dict[str, str]]) -> Run:
    one = rows[0]
    curve = [
        Validation(step=int(row["step"]), matmul_flops=float(row["matmul_flops"]), val_loss=float(row["val_loss"]))
        for row in rows
    ]
    curve.sort(key=lambda point: point.step)
    return Run(
        name=name,
        size=Size(*(int(one[field]) for field in Size._fields)),
        optimizer=one["optimizer"],
        lr=float(one["lr"]),
        budget=Budget(int(one["steps"]), int(one["batch_tokens"])),
        seed=int(one["seed"]),
        data=one["data"],
        val_windows=int(one["val_windows"]),
        context=int(one["context"]),
        matmul_flops=curve[-1].matmul_flops,
        val_loss=float(one["best_val_loss"]),
        val_standard_error=float(one["val_standard_error"]) if one["val_standard_error"] else None,
        curve=tuple(curve),
    )
