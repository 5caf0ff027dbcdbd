"""What the tables say of made-up runs."""

from stages.lib.scaling.fit import sweeps
from stages.lib.scaling.report import report
from stages.lib.scaling.runs import Size
from tests.lib.scaling.made_runs import LARGE, SMALL, made


def test_setups_with_their_best_rate_and_the_frontier() -> None:
    runs = [made("a", SMALL, 3.0, lr=0.001), made("b", SMALL, 2.9, lr=0.002), made("c", SMALL, 3.1, lr=0.004)]
    runs += [made("worse and dearer", LARGE, 3.2)]
    text = report(sweeps(runs))
    assert "| 2 x 16 | 1,000 | adamw | 10 | 1k | 6.00e+06 | 0.002 of 3 | 2.9000 ± 0.0100 (data) * |" in text
    assert "| 2 x 32 | 8,000 | adamw | 10 | 1k | 4.80e+07 | 0.001 | 3.2000 ± 0.0100 (data) |" in text
    assert "adamw: 1 setup on the frontier (*), too few for a power law" in text
    assert "| 2 x 16 | adamw | 10 | 3.0000 | **2.9000** | 3.1000 |" in text
    assert "| 2 x 32 | adamw" not in text.split("power law")[1]  # nothing was swept there


def test_a_best_rate_at_the_edge_is_marked() -> None:
    text = report(sweeps([made("a", lr=0.001, loss=3.0), made("b", lr=0.002, loss=2.9)]))
    assert "0.002 of 2 (edge)" in text


def test_the_law_is_told_with_what_one_point_does_to_it() -> None:
    sizes = [Size(10**n, 2, 1, 8 * n) for n in (3, 4, 5)]
    runs = [made(f"{size}", size, 10.0 * (6.0 * size.weights * 1_000) ** -0.1) for size in sizes]
    law = "loss = 10 x FLOPs^-0.100 through 3 points of the frontier (*); exponent 0.100 to 0.100 with one"
    assert law in report(sweeps(runs))


def test_optimizers_side_by_side() -> None:
    runs = [made(f"a{seed}", seed=seed, loss=2.0 + seed / 10) for seed in (1, 2, 3)]
    runs += [made(f"m{seed}", seed=seed, loss=1.9 + seed / 10, optimizer="muon", lr=0.01) for seed in (1, 2, 3)]
    row = "| 2 x 16 | 1k | adamw | 0.001 | 2.2000 ± 0.0577 (3 seeds) | muon | 0.01 | 2.1000 ± 0.0577 (3 seeds) |"
    assert f"{row} -0.1000 ± 0.0000 (3 seeds) |" in report(sweeps(runs))
    assert "difference by seed" not in report(sweeps(runs[:3]))
