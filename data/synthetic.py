"""A drawn world whose best possible ranking is known: clusters of taste, uniform positions, clicks by dot product.

Drawn whole columns at a time. Every table and every click file has a random stream of its own, so that a file depends
on the seed and its place alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.output import WORLD, whole_folder, write_json, write_schema, write_table
from hexbite.console import Advance, progress
from hexbite.errors import DataError
from hexbite.features import Feature, FeatureSchema, Matrix
from hexbite.folder import REQUESTS, RESTAURANTS, TEST, TRAIN, USERS

CLUSTERS: Final = 10
USER_WIDTH: Final = 30
RESTAURANT_WIDTH: Final = 10
CENTRE_SCALE: Final = 2.0
NOISE: Final = 0.1

#: Bangkok, degrees: south, north, west, east.
BOX: Final = (13.581327544528989, 14.171447685944495, 100.30471258549801, 100.85824174657563)

CANDIDATES: Final = 1_000
ROWS_PER_FILE: Final = 625_000

# Rows drawn at once: their gathered features (2 x 10 float32) stay within a second-level cache's reach.
_CHUNK_ROWS: Final = 65_536

# One random stream each; the numbers are part of what a seed means.
_USERS, _RESTAURANTS, _REQUESTS, _TRAIN, _TEST = range(5)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to draw. Raises DataError where a number is out of range."""

    users: int = 20_000
    restaurants: int = 5_000
    clicks: int = 500_000
    test_clicks: int = 100_000
    requests: int = 1_000

    def check(self, folder: Path) -> None:
        """Raise DataError where a size is below its least."""
        for name, size in asdict(self).items():
            least = 0 if name == "requests" else 1
            if size < least:
                raise DataError(f"{name} must be {least} or more, not {size}", path=folder)


class Ceiling(NamedTuple):
    """How well a model could do on the test rows that knew each true score, but not its noise."""

    click_rate: float
    accuracy: float
    auc: float | None
    log_loss: float


class World(NamedTuple):
    """What a click is drawn from: ``(U, 10)`` and ``(R, 10)`` float32, the dimensions that count."""

    users: Matrix
    restaurants: Matrix


def write_world(folder: Path, sizes: Sizes, *, seed: int, files: int | None = None) -> dict[str, Any]:
    """Draw a world into a folder and return what its ``world.json`` says.

    ``files`` is the number of train files; None makes files of `ROWS_PER_FILE`. Requests are of distinct users, so
    there are no more of them than users. Memory holds the two tables and one file of clicks.
    """
    sizes.check(folder)
    if seed < 0:
        raise DataError(f"the seed must be 0 or more, not {seed}", path=folder)
    if files is not None and not 1 <= files <= sizes.clicks:
        raise DataError(f"files must be 1..{sizes.clicks}, the number of clicks, not {files}", path=folder)
    train_files = files or -(-sizes.clicks // ROWS_PER_FILE)
    test_files = -(-sizes.test_clicks // -(-sizes.clicks // train_files))
    with whole_folder(folder) as partial:
        write_schema(_schema(), partial)
        with progress("drawing tables", sizes.users + sizes.restaurants + sizes.requests) as advance:
            world = _write_tables(partial, sizes, seed, advance)
        with progress("drawing clicks", sizes.clicks + sizes.test_clicks) as advance:
            _write_clicks(partial / TRAIN, world, _split(sizes.clicks, train_files), (seed, _TRAIN), advance)
            ceiling = _write_clicks(
                partial / TEST, world, _split(sizes.test_clicks, test_files), (seed, _TEST), advance
            )
        document = {
            "seed": seed,
            "sizes": asdict(sizes) | {"requests": min(sizes.requests, sizes.users)},
            "files": {TRAIN: train_files, TEST: test_files},
            "ceiling": ceiling._asdict(),
        }
        write_json(document, partial / WORLD)
    return document


def _schema() -> FeatureSchema:
    def drawn(width: int, role: str) -> Iterator[Feature]:
        for column in range(width):
            yield Feature(f"f{column:02}", 0.0, role if column < RESTAURANT_WIDTH else "noise: decides no click")

    return FeatureSchema(
        user=tuple(drawn(USER_WIDTH, "taste, drawn")), restaurant=tuple(drawn(RESTAURANT_WIDTH, "offer, drawn"))
    )


def _stream(seed: int, *place: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))


def _write_tables(folder: Path, sizes: Sizes, seed: int, advance: Advance) -> World:
    users = _clustered(_stream(seed, _USERS), sizes.users, USER_WIDTH)
    write_table(pl.DataFrame({"user_id": np.arange(sizes.users)} | _columns(users)), folder / USERS)
    advance(sizes.users)

    draws = _stream(seed, _RESTAURANTS)
    restaurants = _clustered(draws, sizes.restaurants, RESTAURANT_WIDTH)
    keys = {"restaurant_id": np.arange(sizes.restaurants)} | _positions(draws, sizes.restaurants)
    write_table(pl.DataFrame(keys | _columns(restaurants)), folder / RESTAURANTS)
    advance(sizes.restaurants)

    requests = _requests(_stream(seed, _REQUESTS), sizes)
    write_table(requests, folder / REQUESTS)
    advance(sizes.requests)
    return World(np.ascontiguousarray(users[:, :RESTAURANT_WIDTH]), restaurants)


def _clustered(draws: np.random.Generator, rows: int, width: int) -> Matrix:
    centres = (CENTRE_SCALE * draws.standard_normal((CLUSTERS, width))).astype(np.float32)
    features = draws.standard_normal((rows, width), dtype=np.float32)
    features *= np.float32(NOISE)
    features += centres[draws.integers(CLUSTERS, size=rows)]
    return features


def _columns(features: Matrix) -> dict[str, Matrix]:
    return {f"f{column:02}": values for column, values in enumerate(np.ascontiguousarray(features.T))}


def _positions(draws: np.random.Generator, rows: int) -> dict[str, npt.NDArray[np.float64]]:
    south, north, west, east = BOX
    return {"latitude": draws.uniform(south, north, rows), "longitude": draws.uniform(west, east, rows)}


def _requests(draws: np.random.Generator, sizes: Sizes) -> pl.DataFrame:
    rows = min(sizes.requests, sizes.users)
    width = min(CANDIDATES, sizes.restaurants)
    candidates = np.empty((rows, width), dtype=np.int64)
    for row in range(rows):
        candidates[row] = draws.choice(sizes.restaurants, width, replace=False)
    by_distance = np.arange(rows) % 2 == 0
    columns = {"user_id": draws.choice(sizes.users, rows, replace=False)} | _positions(draws, rows)
    return pl.DataFrame(columns).with_columns(
        pl.Series("candidate_restaurant_ids", candidates, dtype=pl.Array(pl.Int64, width)).cast(pl.List(pl.Int64)),
        pl.Series("size", draws.integers(1, 11, rows) * 100),
        pl.Series("max_dist", draws.integers(5, 11, rows) * 1_000),
        pl.Series("sort_dist", draws.permutation(by_distance)),
    )


def _split(rows: int, files: int) -> list[int]:
    return [rows // files + (file < rows % files) for file in range(files)]


def _write_clicks(
    folder: Path, world: World, rows_per_file: list[int], seed: tuple[int, int], advance: Advance
) -> Ceiling:
    folder.mkdir()
    tally = _Tally()
    for file, rows in enumerate(rows_per_file):
        draws = _stream(*seed, file)
        columns = {
            "user_id": draws.integers(len(world.users), size=rows),
            "restaurant_id": draws.integers(len(world.restaurants), size=rows),
            "click": np.empty(rows, dtype=np.int64),
        }
        for start in range(0, rows, _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            scores = _scores(world, columns["user_id"][chunk], columns["restaurant_id"][chunk])
            noisy = scores + NOISE * draws.standard_normal(len(scores))
            clicks = draws.random(len(scores)) < _sigmoid(noisy)
            columns["click"][chunk] = clicks
            tally.add(scores, clicks)
            advance(len(scores))
        write_table(pl.DataFrame(columns), folder / f"{folder.name}_{file:02}.parquet")
    return tally.ceiling()


def _scores(world: World, users: npt.NDArray[np.int64], restaurants: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    products = world.users[users] * world.restaurants[restaurants]
    # Added one dimension after the other: a library's dot product adds in an order that depends on the processor.
    scores = products[:, 0].astype(np.float64)
    for dimension in range(1, products.shape[1]):
        scores += products[:, dimension]
    return scores


def _sigmoid(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    probabilities: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(scores, -_SCORE_LIMIT, _SCORE_LIMIT)))
    return probabilities


# Beyond it a click is certain to 17 digits.
_SCORE_LIMIT: Final = 40.0
_BINS: Final = 1 << 18


class _Tally:
    """Sums that give the ceiling in one pass: AUC from two histograms of the score, ties within a bin counted half."""

    def __init__(self) -> None:
        self.rows = self.hits = 0
        self.loss = 0.0
        self.histograms = np.zeros((2, _BINS), dtype=np.int64)

    def add(self, scores: npt.NDArray[np.float64], clicks: npt.NDArray[np.bool_]) -> None:
        """Count the rows of a chunk."""
        self.rows += len(scores)
        self.hits += int(np.count_nonzero((scores > 0) == clicks))
        self.loss += float(np.logaddexp(0.0, np.where(clicks, -scores, scores)).sum())
        bins = ((np.clip(scores / _SCORE_LIMIT, -1.0, 1.0) + 1.0) * (0.5 * (_BINS - 1))).astype(np.int64)
        counts = np.bincount(bins + _BINS * clicks, minlength=2 * _BINS)
        self.histograms += counts.reshape(2, _BINS)

    def ceiling(self) -> Ceiling:
        """The figures; AUC is None where only one class was drawn."""
        left, clicked = self.histograms
        n_left, n_clicked = int(left.sum()), int(clicked.sum())
        below = np.cumsum(left) - left
        wins = float((clicked * (below + 0.5 * left)).sum())
        return Ceiling(
            click_rate=n_clicked / self.rows,
            accuracy=self.hits / self.rows,
            auc=wins / n_left / n_clicked if n_left and n_clicked else None,
            log_loss=self.loss / self.rows,
        )
