"""Work on a real cluster of two nodes: what is lost with a record, a worker and a node.

Each driver is a process of its own, as a stage is: Ray keeps a token as long as its process lives.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from stages.lib.spread.cluster import RayParams, check_engine, open_cluster
from tests.graph import ROOT
from tests.lib.spread.odd_workers import BROKEN, POISON
from tests.lib.spread.two_nodes import TwoNodes

DRIVER = """
import json, sys
from functools import partial
from stages.lib.spread.cluster import RayParams, open_cluster
from stages.lib.spread.pieces import Failed
from tests.lib.spread import odd_workers
records, size, seconds = json.loads(sys.argv[1])
opener = partial(odd_workers.open_squares, seconds) if seconds >= 0 else odd_workers.open_nothing
pieces = [list(range(start, min(start + size, len(records)))) for start in range(0, len(records), size)]
with open_cluster("ray", lambda: RayParams(workers=0, cpus=1.0, gpus=0.0, retries=1)) as cluster:
    print(json.dumps({"workers": cluster.workers}), flush=True)
    for done in cluster.each(opener, records, pieces):
        for place, result in zip(done.places, done.results):
            found = {"error": result.error} if isinstance(result, Failed) else {"square": result[0], "by": result[1]}
            print(json.dumps({"place": place, **found}), flush=True)
"""


def driver(cluster: TwoNodes, records: list[int], size: int, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """Squares records in pieces of a size, on the cluster; prints a line of JSON a result."""
    argument = json.dumps([records, size, seconds])
    command = [sys.executable, "-c", DRIVER, argument]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=cluster.environment, cwd=ROOT, text=True, stdout=pipe, stderr=pipe)


def results(lines: list[str]) -> dict[int, dict[str, Any]]:
    """Place -> result, each place once; Ray tells of dead workers between them."""
    found = [json.loads(line) for line in lines if line.startswith('{"place"')]
    places = [one["place"] for one in found]
    assert len(set(places)) == len(places), "a record came back twice"
    return {one["place"]: one for one in found}


@pytest.mark.landing
@pytest.mark.slow
def test_a_record_that_fails_and_one_that_kills_its_worker_are_two_failures_and_no_more(cluster: TwoNodes) -> None:
    records = list(range(40))
    records[7], records[23] = BROKEN, POISON
    out, told = driver(cluster, records, size=4).communicate(timeout=300)
    assert out.startswith('{"workers": 2}'), told
    found = results(out.splitlines())
    assert sorted(found) == list(range(40))
    assert {place: one["error"] for place, one in found.items() if "error" in one} == {
        7: "ValueError: this record cannot be squared",
        23: "its worker died, 2 times",
    }
    squares = {place: one["square"] for place, one in found.items() if "square" in one}
    assert squares == {place: place * place for place in range(40) if place not in (7, 23)}
    assert "records go one by one" in told


@pytest.mark.slow
def test_a_worker_that_cannot_load_its_model_ends_the_run_and_says_why(cluster: TwoNodes) -> None:
    _, told = driver(cluster, [1], size=1, seconds=-1.0).communicate(timeout=300)
    assert "engine ray: no worker could be opened" in told.splitlines()[-1]
    assert "weights: no such file" in told.splitlines()[-1]


@pytest.mark.landing
@pytest.mark.slow
def test_a_node_killed_in_mid_run_costs_no_record(cluster: TwoNodes) -> None:
    records = list(range(200))
    process = driver(cluster, records, size=1, seconds=0.3)
    assert process.stdout is not None
    lines: list[str] = []
    while len({one["by"] for one in results(lines).values()}) < 2:  # until both nodes work
        lines.append(process.stdout.readline())
    assert len(lines) < 150
    cluster.kill_worker()
    out, told = process.communicate(timeout=300)
    found = results([*lines, *out.splitlines()])
    assert {place: one.get("square") for place, one in found.items()} == {i: i * i for i in records}, told
    cluster.start_worker()


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line() -> None:
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:1", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    command = [sys.executable, "-c", DRIVER, "[[1], 1, 0]"]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "RAY_ADDRESS='127.0.0.1:1' cannot be reached" in done.stderr.splitlines()[-1]
    assert time.monotonic() - start < 60


def test_the_engine_local_needs_no_ray_and_no_params_of_it() -> None:
    with open_cluster("local", lambda: 1 / 0) as cluster:  # type: ignore[arg-type, return-value]
        assert cluster is None


def test_what_is_no_engine_is_told_with_those_that_are() -> None:
    assert check_engine("ray", "dedup.engine") == "ray"
    with pytest.raises(ValueError, match=r"dedup.engine: 'Ray' is not allowed; one of \['local', 'ray'\]"):
        check_engine("Ray", "dedup.engine")


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"cpus": 0.0}, {"gpus": -1.0}, {"retries": -1}])
def test_params_out_of_range_are_told(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be >= 0, cpus > 0"):
        RayParams(**{"workers": 0, "cpus": 1.0, "gpus": 0.0, "retries": 1} | wrong)  # type: ignore[arg-type]
