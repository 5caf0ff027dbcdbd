"""An upper bound on every cosine of n vectors, cheap enough to compute for all n^2 / 2 pairs.

For unit vectors x, y, with p their coordinates in any orthonormal directions and r the norms of
what is left, Cauchy-Schwarz gives

    x . y  <=  p_x . p_y + r_x r_y,

one product of matrices whose w columns are the coordinates and r. It is computed in float32 or
bfloat16; whatever the arithmetic can lose is taken off the threshold (`_slack`), so a product
below the threshold proves a cosine below the floor. The directions are the leading ones of a
sample (principal components without centring, so a mean direction that all embeddings of a model
share comes first), and a sample decides how many of them leave the least work.

Letters: n vectors of d dimensions, w columns of the bound, S vectors in the sample.
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

BoundPrecision = Literal["auto", "float32", "bfloat16"]

SAMPLE = 6144  # vectors that choose the directions and their number; no more than that are compared in full width
WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512)  # columns tried; multiples of 32 suit matrix units
CELL = 128  # bounds in a row of which the search looks at the greatest first
BLOCK = 1024  # vectors widened to float64 at once
# The price list that chooses the width, in columns of one pair's bound, as measured on two x86 cores:
PASS_COST = {torch.float32: 24.0, torch.bfloat16: 96.0}  # writing a bound and looking at it
SURVIVOR_COST = {torch.float32: 100.0, torch.bfloat16: 600.0}  # scoring a surviving pair, per dimension


@dataclass(frozen=True, kw_only=True)
class CosineBound:
    """`columns @ columns.T`, computed in their dtype, is below `threshold` only where the cosine is below the floor."""

    columns: torch.Tensor  # (n and zeros up to a multiple of CELL, w) float32 or bfloat16
    threshold: float


def bound_cosines(
    vectors: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float64],
    floor: float,
    *,
    kind: torch.dtype,
    room: int,
    threads: int = 1,
) -> CosineBound:
    """Chooses directions and their number, and computes the columns.

    Args:
        vectors: (n, d).
        norms: (n,) their norms.
        floor: the smallest cosine of interest.
        kind: dtype of the columns, float32 or bfloat16.
        room: bytes that may be used, columns included.
        threads: blocks of vectors computed at once.

    Raises:
        ValueError: `room` does not even hold the fewest columns.
    """
    n, d = vectors.shape
    size = torch.tensor([], dtype=kind).element_size()
    widths = [width for width in WIDTHS if width < d]
    needs = {width: n * width * size + threads * _working_bytes(width, d) for width in [*widths, d]}
    widths = [width for width in widths if needs[width] <= room]
    full = needs[d] <= room
    if not widths and not full:
        raise ValueError(f"too little memory for {n} x {d} vectors: {(min(needs.values()) - room) / 1e6:.0f} MB more")
    if full and (n <= SAMPLE or not widths):
        return _project(vectors, norms, floor, None, kind=kind, threads=threads)
    rows = np.linspace(0, n - 1, max(256, min(n, SAMPLE, room // (d * 32)))).astype(np.int64)
    sample = torch.from_numpy(vectors[rows].astype(np.float64) / norms[rows, None])  # (S, d)
    # What chose the directions would flatter them: every third vector is held out to choose their number.
    held_out = torch.arange(len(sample)) % 3 == 0
    directions = leading_directions(sample[~held_out], widths[-1] - 1)
    coordinates = sample[held_out] @ directions  # (S / 3, w - 1)
    costs = {width: _cost(coordinates[:, : width - 1], d, floor, kind) for width in widths}
    width = min(costs, key=lambda width: costs[width])
    if full and d + PASS_COST[kind] < costs[width]:  # only few survive the bound in all coordinates
        return _project(vectors, norms, floor, None, kind=kind, threads=threads)
    return _project(vectors, norms, floor, directions[:, : width - 1].contiguous(), kind=kind, threads=threads)


def leading_directions(sample: torch.Tensor, count: int) -> torch.Tensor:
    """(d, count) orthonormal columns near the leading principal directions of a sample (S, d), the leading first.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4). The bound holds for any
    orthonormal directions; that they lead makes it tight.
    """
    d = sample.shape[1]
    small = sample.float()
    guess = torch.randn(d, count, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        guess = torch.linalg.qr(small.T @ (small @ guess)).Q
    basis: torch.Tensor = torch.linalg.qr(guess.double()).Q
    inside = sample @ basis
    basis = torch.linalg.qr(basis @ torch.linalg.eigh(inside.T @ inside).eigenvectors.flip(1)).Q
    assert float((basis.T @ basis - torch.eye(count, dtype=torch.float64)).abs().max()) < 1e-10
    return basis


def choose_precision(wanted: BoundPrecision) -> torch.dtype:
    """The dtype whose matrix product is faster here: bfloat16 where the processor has matrix units for it.

    Raises:
        ValueError: products are computed less exactly than their dtype says.
    """
    seconds = {
        kind: _time_product(kind)
        for kind in (torch.float32, torch.bfloat16)
        if wanted in ("auto", str(kind).removeprefix("torch."))
    }
    kind = min(seconds, key=lambda kind: seconds[kind])
    if seconds[kind] == math.inf:
        raise ValueError(
            f"{kind} matrix products are less exact here than their type; "
            "call torch.set_float32_matmul_precision('highest')"
        )
    return kind


def sum_error(terms: int) -> float:
    """Largest |computed - exact| of a sum of float32 products, relative to the sum of |products|, in any order.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, with the unit roundoff of an adder
    that truncates (2^-23), and two terms to spare.
    """
    return 1.01 * (terms + 2) * 2.0**-23


def _working_bytes(width: int, d: int) -> int:
    """What `_project` uses for one block and the directions, and the sample's share, in bytes."""
    return BLOCK * (2 * d + 4 * width) * 8 + 3 * d * min(width, WIDTHS[-1]) * 8


def _time_product(kind: torch.dtype) -> float:
    """Seconds of a small product; infinite if it is less exact than `_slack` takes it to be."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, 128, generator=generator).to(kind) for size in (512, 2048))
    out = torch.empty(512, 2048, dtype=kind)
    seconds = math.inf
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(a, b.T, out=out)
        seconds = min(seconds, time.perf_counter() - start)
    exact = a.double() @ b.double().T
    allowed = sum_error(128) * (a.double().abs() @ b.double().abs().T)
    if kind == torch.bfloat16:
        allowed += exact.abs() * 2.0**-7  # the result's own rounding, which is monotone and costs nothing (`_lower`)
    return seconds if bool(((out.double() - exact).abs() <= allowed).all()) else math.inf


def _cost(coordinates: torch.Tensor, d: int, floor: float, kind: torch.dtype) -> float:
    """Expected work for one pair, in columns: the bound's own, and the scoring of the sample's share of survivors."""
    columns, longest, lost = _columns(coordinates, True, kind)
    rows = columns[:: max(1, len(columns) // 1024)]
    threshold = _lower(floor - _slack(columns.shape[1], longest, lost), kind)
    passing = rows @ columns.T >= threshold
    survivors = max(0, int(passing.sum()) - len(rows)) / passing.numel()
    return columns.shape[1] + PASS_COST[kind] + survivors * SURVIVOR_COST[kind] * d


def _columns(part: torch.Tensor, residual_too: bool, kind: torch.dtype) -> tuple[torch.Tensor, float, float]:
    """The columns (b, w) of vectors whose coordinates are `part` (float64); their longest norm and largest loss."""
    columns = torch.empty(len(part), part.shape[1] + residual_too, dtype=kind)
    columns[:, : part.shape[1]] = part
    rounded = columns[:, : part.shape[1]].double()
    if residual_too:
        residual = (1 - part.square().sum(1)).clamp(min=0).add(1e-12).sqrt()
        nearest = residual.to(kind)
        above = torch.nextafter(nearest, torch.ones_like(nearest) * 2)
        columns[:, -1] = torch.where(nearest.double() < residual, above, nearest)
    longest = max(float(part.norm(dim=1).max()), float(rounded.norm(dim=1).max()))
    return columns, longest, float((part - rounded).norm(dim=1).max())


def _project(
    vectors: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float64],
    floor: float,
    directions: torch.Tensor | None,
    *,
    kind: torch.dtype,
    threads: int,
) -> CosineBound:
    """The bound in the given directions; None: in the coordinates as they are, with nothing left over."""
    n, d = vectors.shape
    columns = torch.zeros(-(-n // CELL) * CELL, d if directions is None else directions.shape[1] + 1, dtype=kind)

    def fill(start: int) -> tuple[float, float]:
        stop = min(n, start + BLOCK)
        block = torch.from_numpy(vectors[start:stop].astype(np.float64) / norms[start:stop, None])
        part = block if directions is None else block @ directions
        columns[start:stop], longest, lost = _columns(part, directions is not None, kind)
        return longest, lost

    with ThreadPoolExecutor(threads) as pool:
        longest, lost = (max(figures) for figures in zip(*pool.map(fill, range(0, n, BLOCK)), strict=True))
    return CosineBound(columns=columns, threshold=_lower(floor - _slack(columns.shape[1], longest, lost), kind))


def _slack(width: int, longest: float, lost: float) -> float:
    """How far the computed bound may lie below the true one.

    Rounding p to p' moves p_x.p_y by at most |p_x - p'_x||p_y| + |p'_x||p_y - p'_y| <= 2 lost longest.
    The product adds at most `sum_error` times sum |p'_x p'_y| + r'_x r'_y, which is below 1.1.
    1e-9 covers the steps in float64: norms, coordinates, directions that are orthonormal to 1e-10.
    """
    return 2 * lost * longest + 1.1 * sum_error(width) + 1e-9


def _lower(value: float, kind: torch.dtype) -> float:
    """The value rounded down to `kind`: rounding is monotone, so nothing at or above it comes out below."""
    rounded = torch.tensor(value, dtype=torch.float64).to(kind)
    if float(rounded) > value:
        rounded = torch.nextafter(rounded, torch.tensor(-math.inf, dtype=kind))
    return float(rounded)
