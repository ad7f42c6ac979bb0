"""Reads for the service: one statement a request, decoded in bulk; the only import of asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import asyncpg
import numpy as np
import numpy.typing as npt

from db.statements import SQL
from hexbite.errors import SchemaError, StoreError, StoreTimeout, StoreUnavailable
from hexbite.features import FeatureSchema, Matrix
from hexbite.geo import Degrees, Ids, Intervals

# Compiling a 1 ms query costs more than it gives; a generic plan compares every row with every candidate.
_SESSION: Final = {"jit": "off", "plan_cache_mode": "force_custom_plan", "application_name": "hexbite"}

_CLOSE_S: Final = 5.0

# array_send: dimensions, flags, element type, length, lower bound; then length and value for each element.
_ARRAY_HEADER: Final = np.dtype("V20")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one request reads.

    ``user`` ``(U,)`` float32, None for an unknown user; of N restaurants in the cover, in no order: ``ids`` ``(N,)``
    int64, ``lats_deg`` and ``lngs_deg`` ``(N,)`` float64, ``features`` ``(N, R)`` float32. ``known`` is how many
    candidates exist at all, where that was asked.
    """

    user: Matrix | None
    ids: Ids
    lats_deg: Degrees
    lngs_deg: Degrees
    features: Matrix
    known: int | None


class FeatureStore:
    """A pool of connections that reads the rows of one feature schema. One for each worker process."""

    def __init__(self, pool: asyncpg.Pool, schema: FeatureSchema, timeout_s: float) -> None:
        self._pool = pool
        self._schema = schema
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, dsn: str, schema: FeatureSchema, *, connections: int, timeout_s: float) -> Self:
        """Make the pool, at most ``connections`` wide; no connection is opened before the first read needs it.

        ``timeout_s`` is the time one read may take in all, a free connection included.
        """
        with _driver_errors():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=connections,
                # Kept while idle: by its connections an embedded server knows that it is in use.
                max_inactive_connection_lifetime=0,
                timeout=timeout_s,
                server_settings=_SESSION,
            )
        return cls(pool, schema, timeout_s)

    async def close(self) -> None:
        """Close the pool, by force where connections do not come back in five seconds."""
        try:
            await asyncio.wait_for(self._pool.close(), _CLOSE_S)
        except TimeoutError:
            self._pool.terminate()

    async def check(self) -> tuple[str, ...]:
        """Return where the store can serve the schema: the features that it was loaded with another fill for.

        Raises SchemaError where the schema is not registered, StoreUnavailable or StoreTimeout where the store cannot
        tell.
        """
        async with self._connection() as connection:
            row = await connection.fetchrow(SQL["registered"], self._schema.fingerprint)
        if row is None:
            raise SchemaError(
                f"the store has no features of the model's schema {self._schema.fingerprint[:12]}; load the data "
                "folder that the model was trained on: python -m db load DIR"
            )
        return tuple(
            feature.name
            for group in ("user", "restaurant")
            for feature, loaded in zip(self._schema.group(group), row[f"{group}_fills"], strict=True)
            if (None if feature.fill is None else np.float32(feature.fill)) != loaded
        )

    async def read(
        self, user_id: int, cover: Intervals, candidates: Ids | None, *, count_known: bool = False
    ) -> Snapshot:
        """The user and the restaurants whose cell lies in the cover, of one snapshot.

        ``candidates`` ``(C,)`` int64, each id once, narrows them to those; None means all. Raises StoreUnavailable,
        StoreTimeout or StoreError.
        """
        arguments: list[Any] = [self._schema.fingerprint, user_id, cover.lows.tolist(), cover.highs.tolist()]
        statement = "nearby"
        known = None
        if candidates is not None:
            arguments.append(candidates.tolist())
            statement = "candidates"
        async with self._connection() as connection:
            if count_known and candidates is not None:
                # Two statements see one snapshot only inside a transaction that says so.
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    rows = await connection.fetch(SQL[statement], *arguments)
                    known = await connection.fetchval(SQL["known"], arguments[0], arguments[4])
            else:
                rows = await connection.fetch(SQL[statement], *arguments)
        return self._decode(rows, known)

    def _decode(self, rows: list[Any], known: int | None) -> Snapshot:
        if not rows:
            raise StoreUnavailable("the store has no features of the model's schema any more")
        user_bytes = None
        found = []
        for row in rows:
            if row[0] is None:
                user_bytes = row[3]
            else:
                found.append(row)
        ids, lats, lngs, features = zip(*found, strict=True) if found else ((), (), (), ())
        return Snapshot(
            user=None if user_bytes is None else _arrays_to_rows([user_bytes], len(self._schema.user))[0],
            ids=np.array(ids, dtype=np.int64),
            lats_deg=np.array(lats, dtype=np.float64),
            lngs_deg=np.array(lngs, dtype=np.float64),
            features=_arrays_to_rows(features, len(self._schema.restaurant)),
            known=known,
        )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with _driver_errors():
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as connection:
                yield connection


def _arrays_to_rows(arrays: tuple[bytes, ...] | list[bytes], width: int) -> Matrix:
    """N wire forms of ``real[]`` to ``(N, width)`` float32; the table guarantees width and no NULL element."""
    element = np.dtype([("bytes", ">i4"), ("value", ">f4")])
    layout = np.dtype([("header", _ARRAY_HEADER), ("elements", element, (width,))])
    packed = np.frombuffer(b"".join(arrays), dtype=layout)
    rows: npt.NDArray[np.float32] = packed["elements"]["value"].astype(np.float32)
    return rows


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Turn what the driver raises into our own errors, in this one place."""
    try:
        yield
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise StoreTimeout("the feature store did not answer in time") from error
    except (
        OSError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.InterfaceError,
    ) as error:
        raise StoreUnavailable(f"the feature store cannot be reached: {error}") from error
    except asyncpg.UndefinedTableError as error:
        raise StoreUnavailable("the feature store has no tables; run: python -m db upgrade") from error
    except asyncpg.PostgresError as error:
        raise StoreError(f"the feature store refused: {error}") from error
