"""Every pair of vectors whose cosine is at or above a floor: exact, in bounded memory.

All pairs are bounded from above, tile by tile of the upper triangle (`cosine_bound`). What the
bound cannot rule out is scored in float32 with its rounding error allowed for, and what that
cannot rule out is decided in float64. Where a chunk has very many (pages made from one template), its
nearest are listed and the others counted.
"""

import math
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from stages.lib.core.progress import bar
from stages.lib.near_duplicates.cosine_bound import (
    CELL,
    BoundPrecision,
    CosineBound,
    bound_cosines,
    choose_precision,
    sum_error,
)

Float32Array = npt.NDArray[np.float32]
RowNumbers = npt.NDArray[np.int64]

UNIT_TOLERANCE = 1e-3  # how far from 1 the norm of a "normalised" vector may be
TIE_WIDTH = 1e-12  # cosines nearer to the floor than this are decided with correctly rounded sums
TILE_ROWS, TILE_COLUMNS = 1024, 8192  # bounds computed together
STRIP = 1 << 19  # bounds from which pairs are picked together
GATHER = 1 << 19  # numbers gathered together to score pairs
HELD = 1 << 18  # pairs held before those beyond each row's nearest are let go
# A tile in float32; of a strip where everything passes eight integers each; four copies in float64.
THREAD_BYTES = 4 * TILE_ROWS * TILE_COLUMNS + 8 * 8 * STRIP + 4 * 8 * GATHER


@dataclass(frozen=True, kw_only=True)
class NearPairs:
    """The pairs listed, in the order of (first, second), and what it took."""

    first: RowNumbers  # (pairs,)
    second: RowNumbers  # (pairs,) second > first
    cosine: npt.NDArray[np.float64]  # (pairs,)
    found: int  # pairs at or above the floor, listed or not
    columns: int  # of the bound
    precision: str  # of the bound
    survivors: int  # pairs that the bound could not rule out


def near_pairs(
    vectors: Float32Array,
    floor: float,
    *,
    memory_mb: float = 1000,
    neighbours: int | None = None,
    kinds: Sequence[Hashable] | None = None,
    precision: BoundPrecision = "auto",
    progress: str = "",
) -> NearPairs:
    """Finds every pair of rows i < j with cosine >= floor.

    With `neighbours` a pair is listed if one of its rows is among that many nearest of the other, equal
    cosines in the order of rows. Pairs of two rows of one kind and of two kinds are ranked apart, so that
    neither hides the other. What is listed depends on nothing else.

    The cosine is x.y / sqrt(x.x * y.y) in float64 over the float32 values given. Nearer than 1e-12 to
    the floor the sums are correctly rounded, so that no decision hangs on the order of a summation.
    The precision of the bound (`auto` times both) changes the speed and never the result.

    Args:
        vectors: (n, d), rows of norm 1.
        floor: the smallest cosine to report, 0.1 <= floor <= 1.
        memory_mb: working memory in megabytes, beside the vectors and the pairs held (about 150 bytes each; with
            `neighbours` no more than a million and four for each row and neighbour).
        neighbours: of a row at most, >= 1; None: all.
        kinds: (n,), a value for each row.
        precision: of the bound.
        progress: label of the progress bar; none when empty.

    Raises:
        ValueError: not a float32 matrix; a row that is zero, not finite or not normalised (named); a floor
            out of range; too little memory_mb.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise ValueError(f"expected a float32 matrix (n, d), found {vectors.dtype} {vectors.shape}")
    if not 0.1 <= floor <= 1:
        raise ValueError(f"floor {floor} is not a cosine in [0.1, 1]")
    n = len(vectors)
    norms = _check_norms(vectors)
    search = _Search(vectors, norms, floor, neighbours, kinds)
    if n < 2:
        return search.result(0, torch.float32)
    room = int(memory_mb * 1e6) - 32 * n  # norms and their inverses
    # Each thread takes whole tiles with products of one thread: nobody waits for a thread that the machine holds up.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        kind = choose_precision(precision)
        workers = max(1, min(threads, room // 2 // THREAD_BYTES))
        bound = bound_cosines(vectors, norms, floor, kind=kind, room=room - workers * THREAD_BYTES, threads=workers)
        with ThreadPoolExecutor(workers) as pool:
            _compare_all(pool, search, bound, progress)
    finally:
        torch.set_num_threads(threads)
    return search.result(bound.columns.shape[1], kind)


def _compare_all(pool: ThreadPoolExecutor, search: "_Search", bound: CosineBound, progress: str) -> None:
    """Sends every tile of the upper triangle through the search."""
    n = len(search.vectors)
    tiles = [(top, left) for top in range(0, n, TILE_ROWS) for left in range(top, n, TILE_COLUMNS)]
    with bar(progress or None, len(tiles), "tile") as counter:
        futures = [pool.submit(search.compare, bound, top, left) for top, left in tiles]
        try:
            for future in futures:
                future.result()
                counter.update()
        except ValueError:
            pool.shutdown(cancel_futures=True)
            raise


def cosines(vectors: Float32Array, first: RowNumbers, second: RowNumbers) -> npt.NDArray[np.float64]:
    """(pairs,) cosines in float64; a pair's value does not depend on the pairs beside it."""
    a, b = vectors[first].astype(np.float64), vectors[second].astype(np.float64)
    dots = (a * b).sum(axis=1)  # along contiguous rows numpy sums each row alone, pairwise
    a *= a
    b *= b
    return np.asarray(np.minimum(dots / np.sqrt(a.sum(axis=1) * b.sum(axis=1)), 1.0))


def exact_cosine(a: Float32Array, b: Float32Array) -> float:
    """The cosine with correctly rounded sums: products of two float32 are exact in float64, and fsum loses nothing."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return min(1.0, math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y)))


def _check_norms(vectors: Float32Array) -> npt.NDArray[np.float64]:
    """Norms (n,) in float64, after checking that each is 1."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), 1024):
        block = vectors[start : start + 1024].astype(np.float64)
        block *= block
        norms[start : start + 1024] = np.sqrt(block.sum(axis=1))
    wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= UNIT_TOLERANCE))  # a NaN is wrong too
    if len(wrong):
        row = int(wrong[0])
        what = "is zero" if norms[row] == 0 else f"has norm {norms[row]:.6g}"
        raise ValueError(f"vectors must be finite and of norm 1: row {row} {what} ({len(wrong)} such rows)")
    return norms


class _Search:
    """Takes tiles of bounds and keeps the pairs that are near."""

    def __init__(
        self,
        vectors: Float32Array,
        norms: npt.NDArray[np.float64],
        floor: float,
        neighbours: int | None,
        kinds: Sequence[Hashable] | None,
    ) -> None:
        self.vectors, self.floor, self.neighbours = vectors, floor, neighbours
        numbers: dict[Hashable, int] = {}
        self.kind = np.array([numbers.setdefault(kind, len(numbers)) for kind in kinds or [0] * len(vectors)], np.int64)
        self.inverse = (1 / norms).astype(np.float32)
        # Four more roundings: of the two inverse norms and of multiplying by them.
        self.error = 1.1 * sum_error(vectors.shape[1] + 4)
        self.floor_float32 = np.float32(floor - self.error)
        # (2, n): of a row's pairs of two kinds and of its own the cosine below which none is listed, so far known
        self.least = np.full((2, len(vectors)), -np.inf)
        self.survivors = self.count = self.held = 0
        self.room = max(HELD, 4 * len(vectors) * (neighbours or 0))
        self.counting = threading.Lock()
        self.own = threading.local()
        self.found: list[tuple[RowNumbers, RowNumbers, npt.NDArray[np.float64]]] = []

    def compare(self, bound: CosineBound, top: int, left: int) -> None:
        """Scores the pairs that the bound lets pass, of the tile with rows from `top` and columns from `left`."""
        rows = bound.columns[top : top + TILE_ROWS]
        others = bound.columns[left : left + TILE_COLUMNS]
        if not hasattr(self.own, "tile"):  # one a thread
            self.own.tile = torch.empty(TILE_ROWS * TILE_COLUMNS, dtype=rows.dtype)
        products = self.own.tile[: len(rows) * len(others)].view(len(rows), len(others))
        torch.mm(rows, others.T, out=products)
        if left == top:
            products.fill_diagonal_(-1.0)  # each with itself
        threshold = torch.tensor(bound.threshold, dtype=rows.dtype)
        if rows.dtype == torch.bfloat16:
            # Positive floats are ordered as their bits are, and negative ones are negative integers, which
            # compare several times faster.
            products, threshold = products.view(torch.int16), threshold.view(torch.int16)
        limit = threshold.item()
        cells = products.view(-1, CELL)
        hit = torch.nonzero(cells.amax(1) >= limit)[:, 0]
        for start in range(0, len(hit), STRIP // CELL):
            part = hit[start : start + STRIP // CELL]
            passed = torch.nonzero(cells[part] >= limit)
            at = (part[passed[:, 0]] * CELL + passed[:, 1]).numpy()
            first, second = at // len(others) + top, at % len(others) + left
            above = first < second  # tiles on the diagonal hold some pairs twice
            self._score(first[above], second[above])

    def _score(self, first: RowNumbers, second: RowNumbers) -> None:
        with self.counting:
            self.survivors += len(first)
        step = max(1, GATHER // self.vectors.shape[1])
        for start in range(0, len(first), step):
            i, j = first[start : start + step], second[start : start + step]
            dots = np.einsum("ij,ij->i", self.vectors[i], self.vectors[j])
            scores = dots * self.inverse[i] * self.inverse[j]
            passed = scores >= self.floor_float32
            if self.neighbours is not None:
                passed &= ~self._surely_beyond(i, j, scores)
            if passed.any():
                self._decide(i[passed], j[passed])

    def _surely_beyond(
        self, first: RowNumbers, second: RowNumbers, scores: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Which pairs are near for sure and not listed for sure; they are counted here."""
        alike = (self.kind[first] == self.kind[second]).astype(np.int64)
        least = np.minimum(self.least[alike, first], self.least[alike, second])
        beyond: npt.NDArray[np.bool_] = (scores < least - self.error) & (scores >= self.floor + self.error)
        with self.counting:
            self.count += int(beyond.sum())
        return beyond

    def _decide(self, first: RowNumbers, second: RowNumbers) -> None:
        values = cosines(self.vectors, first, second)
        for at in np.flatnonzero(np.abs(values - self.floor) <= TIE_WIDTH):
            values[at] = exact_cosine(self.vectors[first[at]], self.vectors[second[at]])
        near = values >= self.floor
        with self.counting:
            self.count += int(near.sum())
            self.held += int(near.sum())
            self.found.append((first[near], second[near], values[near]))
            if self.neighbours is not None and self.held > self.room:
                self.found = [self._nearest(self.neighbours)]
                self.held = len(self.found[0][0])

    def _nearest(self, neighbours: int) -> tuple[RowNumbers, RowNumbers, npt.NDArray[np.float64]]:
        """Of the pairs held those that are among the nearest of one of their rows.

        What is let go has so many nearer pairs at both ends already, so it would not be listed in the end.
        """
        first, second, cosine = self._held()
        pairs = len(first)
        ends, others = np.concatenate([first, second]), np.concatenate([second, first])
        group = 2 * ends + np.tile(self.kind[first] == self.kind[second], 2)  # of a row, and of its kind or not
        order = np.lexsort((others, np.tile(-cosine, 2), group))
        rank = np.arange(2 * pairs) - np.searchsorted(group[order], group[order])
        last = order[rank == neighbours - 1]
        self.least[group[last] % 2, group[last] // 2] = cosine[last % pairs] if pairs else []
        listed = np.unique(order[rank < neighbours] % max(pairs, 1))
        return first[listed], second[listed], cosine[listed]

    def _held(self) -> tuple[RowNumbers, RowNumbers, npt.NDArray[np.float64]]:
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        first, second, cosine = (np.concatenate(parts) for parts in zip(nothing, *self.found, strict=True))
        return first, second, cosine

    def result(self, columns: int, kind: torch.dtype) -> NearPairs:
        """The pairs to list, sorted."""
        first, second, cosine = self._held() if self.neighbours is None else self._nearest(self.neighbours)
        order = np.lexsort((second, first))
        return NearPairs(
            first=first[order],
            second=second[order],
            cosine=cosine[order],
            found=self.count,
            columns=columns,
            precision=str(kind).removeprefix("torch."),
            survivors=self.survivors,
        )
