"""The pretrainings among a repository's DVC experiments, read from git: finished ones are commits under refs/exps."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stages.lib.core.params import parse_yaml
from stages.lib.scaling.runs import Budget, Run, Size, Validation

# refs/exps/AB/CDEF.../NAME: AB and CDEF... are the commit that the experiment was started from.
_REF = re.compile(r"refs/exps/(?P<first>[0-9a-f]{2})/(?P<rest>[0-9a-f]{38})/(?P<name>[^/]+)")


def git(*arguments: str, at: Path = Path()) -> str:
    """What git prints.

    Raises:
        ValueError: with what git says.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git {' '.join(arguments)}: {error.stderr.strip()}") from error
    return done.stdout


def gather(rev: str | None, only: str = "", at: Path = Path()) -> tuple[list[Run], Counter[str]]:
    """The runs of the experiments that were started from a commit (None: from any), and how many were left out, by why.

    Args:
        rev: `HEAD`, a branch, a commit.
        only: a regular expression that an experiment's name begins with; empty: all.
        at: the repository.

    Raises:
        ValueError: no such commit.
    """
    start = None if rev is None else git("rev-parse", "--verify", f"{rev}^{{commit}}", at=at).strip()
    runs, left_out = [], Counter[str]()
    for line in git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps", at=at).splitlines():
        ref, commit = line.split()
        found = _REF.fullmatch(ref)
        if not found or not re.match(only, found["name"]):
            continue
        if start not in (None, found["first"] + found["rest"]):
            left_out["of_another_commit"] += 1
            continue
        run = read_run(found["name"], partial(_committed, commit, at))
        if isinstance(run, Run):
            runs.append(run)
        else:
            left_out[run] += 1
    return runs, left_out


def _committed(commit: str, at: Path, file: str) -> str:
    return git("show", f"{commit}:{file}", at=at)


def read_run(name: str, read: Callable[[str], str]) -> Run | str:
    """The run of an experiment, or why it has none.

    Args:
        name: of the experiment.
        read: gives the text of a file as it is in the experiment; raises `ValueError` where there is none.
    """
    try:
        # dvc.lock says with what pretrain ran; params.yaml may say more, where the experiment ran other stages alone.
        lock = parse_yaml(read("dvc.lock"), Path(f"{name}:dvc.lock"))
        params = lock["stages"]["pretrain"]["params"]["params.yaml"]["pretrain"]
        (metrics,) = json.loads(read("metrics/full/pretrain.json"))
        curve = read("metrics/pretrain_curve.csv")
    except (ValueError, KeyError):
        return "no_pretraining"
    if not {"matmul_flops", "val"} <= metrics.keys():
        return "of_older_code"  # which did not note them
    return Run(
        name=name,
        size=Size(metrics["weights"], params["n_layer"], params["n_head"], params["d_model"]),
        optimizer=params["optimizer"],
        lr=float(params["lr"]),
        budget=Budget(params["steps"], params["batch_tokens"]),
        seed=params["seed"],
        data=metrics["data"],
        val_windows=metrics["val"]["windows"],
        context=params["context"],
        matmul_flops=metrics["matmul_flops"],
        val_loss=metrics["val_loss"],
        val_standard_error=metrics["val"]["standard_error"],
        curve=tuple(validations(curve, metrics)),
    )


def validations(curve: str, metrics: dict[str, Any]) -> list[Validation]:
    """The rows of `metrics/pretrain_curve.csv` that have a validation loss; every step costs the same."""
    header, *lines = curve.splitlines()
    columns = header.split(",")
    rows = [dict(zip(columns, line.split(","), strict=True)) for line in lines]
    return [
        Validation(
            step=int(row["step"]),
            matmul_flops=metrics["matmul_flops"] * int(row["step"]) / metrics["steps"],
            val_loss=float(row["val_loss"]),
        )
        for row in rows
        if row["val_loss"]
    ]
