"""What the prefilter is measured beside: PostGIS and Redis out of Debian's packages, on the same restaurants.

Both are read as fast as they can be from Python: the answer's columns are decoded in bulk, and Redis, whose clients
parse value by value, is spoken to in its own protocol, with members and values of one length each.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import asyncpg
import numpy as np
import numpy.typing as npt
import psycopg

from data.folder.tables import Batch
from db.access.copying import HEADER, TRAILER
from db.embedded import _SETTINGS
from db.loading.encode import batch_to_records
from db.reading.online import _ARRAY_HEADER_BYTES, _ELEMENT
from hexbite.features import Matrix
from hexbite.geo import Degrees, Ids, Metres, degrees_to_cells, distances_m

CENTRE: Final = (13.75, 100.5)
DENSITY_PER_KM2: Final = 25.0
FEATURES: Final = 10

_METRES_PER_DEGREE: Final = 111_195.08
_START_S: Final = 30
_CHUNK: Final = 10_000

# Redis's Earth is 0.028% larger than ours, and it keeps positions to a third of a metre.
_REDIS_SLACK: Final = 1.001
_REDIS_SLACK_M: Final = 1.0


class Query(NamedTuple):
    """A circle: its centre in degrees and its radius in metres."""

    lat_deg: float
    lng_deg: float
    radius_m: float


class Found(NamedTuple):
    """The restaurants of a circle as the ranker wants them, native and in no order; ``features`` ``(N, 10)``."""

    ids: Ids
    lats_deg: Degrees
    lngs_deg: Degrees
    features: Matrix
    distance_m: Metres


class World(NamedTuple):
    """Restaurants in a square around the centre, in the order of their cells, and its side in metres."""

    ids: Ids
    lats_deg: Degrees
    lngs_deg: Degrees
    cells: Ids
    features: Matrix
    side_m: float

    @classmethod
    def draw(cls, count: int) -> Self:
        """So many at the one density, with permuted ids."""
        draw = np.random.default_rng(count)
        side_m = 1_000.0 * float(np.sqrt(count / DENSITY_PER_KM2))
        lats, lngs = offsets_to_degrees(*draw.uniform(-side_m / 2, side_m / 2, (2, count)))
        cells = degrees_to_cells(lats, lngs)
        by_cell = np.argsort(cells)
        features = draw.normal(size=(count, FEATURES)).astype(np.float32)
        return cls(draw.permutation(count), lats[by_cell], lngs[by_cell], cells[by_cell], features, side_m)

    def copy(self, cursor: psycopg.Cursor[Any], statement: str) -> None:
        """Through a COPY in binary of ``(id, latitude, longitude, cell, features, event_ts)``."""
        with cursor.copy(statement) as stream:
            stream.write(HEADER)
            for start in range(0, len(self.ids), _CHUNK):
                ids, lats, lngs, cells, features = (column[start : start + _CHUNK] for column in self[:5])
                stream.write(batch_to_records(Batch(ids, features, np.zeros_like(ids), lats, lngs), cells))
            stream.write(TRAILER)


def offsets_to_degrees(north_m: Metres, east_m: Metres) -> tuple[Degrees, Degrees]:
    """Latitudes and longitudes of points so far from the centre."""
    east_degree_m = _METRES_PER_DEGREE * np.cos(np.radians(CENTRE[0]))
    return CENTRE[0] + north_m / _METRES_PER_DEGREE, CENTRE[1] + east_m / east_degree_m


@contextmanager
def debian_postgis(folder: Path) -> Iterator[str | None]:
    """The address of a PostGIS server of its own, set as the embedded one is; None where Debian's is not installed."""
    extensions = sorted(Path("/usr/share/postgresql").glob("*/extension/postgis.control"))
    binaries = [Path("/usr/lib/postgresql") / path.parents[1].name / "bin" for path in extensions]
    if not binaries or not (binaries[-1] / "postgres").exists():
        yield None
        return
    data = folder / "data"
    if os.geteuid() == 0:
        # Postgres does not run as root; Debian's package has made a user for it.
        shutil.chown(folder, "postgres", "postgres")
    options = ["--username=hexbite", "--auth=trust", "--encoding=UTF8", "--no-locale", "-D", str(data)]
    initdb = [*_as_postgres(), str(binaries[-1] / "initdb"), *options]
    subprocess.run(initdb, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with (data / "postgresql.conf").open("a") as configuration:
        settings = _SETTINGS | {"unix_socket_directories": f"'{folder}'"}
        configuration.writelines(f"{name} = {value}\n" for name, value in settings.items())
    with _running([*_as_postgres(), str(binaries[-1] / "postgres"), "-D", str(data)], folder):
        dsn = f"postgresql://hexbite@/postgres?host={folder}&port={_SETTINGS['port']}"
        _wait_for(lambda: psycopg.connect(dsn).close(), psycopg.OperationalError)
        yield dsn


def _as_postgres() -> list[str]:
    identity = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return ["setpriv", *identity, "--"] if os.geteuid() == 0 else []


@contextmanager
def debian_redis(folder: Path) -> Iterator[Path | None]:
    """The socket of a Redis server of its own, which keeps nothing on disk; None where it is not installed."""
    if shutil.which("redis-server") is None:
        yield None
        return
    path = folder / "redis.socket"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    with _running(["redis-server", *options], folder):
        _wait_for(lambda: _connect(path).close(), OSError)
        yield path


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    """A server in the background; Ctrl-C is for the benchmark, which then stops the server in order."""
    with (folder / "server.log").open("wb") as log:
        program = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        program.send_signal(signal.SIGINT)
        program.wait(_START_S)


def _wait_for(attempt: Any, refused: type[Exception]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return attempt()
        except refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def within(query: Query, ids: Ids, lats_deg: Degrees, lngs_deg: Degrees, features: Matrix) -> Found:
    """The exact re-check: what lies in the circle by our own measure."""
    distance_m = distances_m(query.lat_deg, query.lng_deg, lats_deg, lngs_deg)
    kept = np.flatnonzero(distance_m <= query.radius_m)
    return Found(ids[kept], lats_deg[kept], lngs_deg[kept], features[kept], distance_m[kept])


class PostGIS:
    """A table of geographies with a GiST index, asked by ST_DWithin on the sphere."""

    _LOAD: Final = """
        CREATE TABLE restaurants AS
        SELECT restaurant_id, latitude, longitude, features,
               ST_MakePoint(longitude, latitude)::geography(Point) AS place
          FROM staged ORDER BY h3_cell;
        DROP TABLE staged;
        ALTER TABLE restaurants ADD PRIMARY KEY (restaurant_id);
        CREATE INDEX ON restaurants USING gist (place);
    """
    _READ: Final = """
        SELECT restaurant_id, latitude, longitude, array_send(features)
          FROM restaurants
         WHERE ST_DWithin(place, ST_MakePoint($2, $1)::geography, $3, use_spheroid => false)
    """
    _ARRAY: Final = np.dtype([("header", f"V{_ARRAY_HEADER_BYTES}"), ("elements", _ELEMENT, (FEATURES,))])

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def load(cls, dsn: str, world: World) -> Self:
        """Into an empty database, in the order of cells: neighbours lie on the same pages."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION postgis")
            connection.execute(
                "CREATE UNLOGGED TABLE staged (restaurant_id bigint, latitude float8, longitude float8, h3_cell bigint,"
                " features real[], event_ts timestamptz)"
            )
            world.copy(connection.cursor(), "COPY staged FROM STDIN (FORMAT binary)")
            connection.execute(cls._LOAD)
            connection.execute("VACUUM (ANALYZE) restaurants")
        return cls(await asyncpg.connect(dsn, max_cached_statement_lifetime=0))

    async def find(self, query: Query) -> Found:
        rows = await self._connection.fetch(self._READ, *query)
        ids, lats, lngs, arrays = zip(*rows, strict=True) if rows else ((), (), (), ())
        features = np.frombuffer(b"".join(arrays), dtype=self._ARRAY)["elements"]["value"].astype(np.float32)
        return within(query, np.array(ids, dtype=np.int64), np.array(lats), np.array(lngs), features)

    async def close(self) -> None:
        await self._connection.close()


class Redis:
    """A sorted set of positions, and each restaurant's record under a key of its own: eight bytes, the id.

    An array of strings is sent as it is received: what GEOSEARCH answers becomes MGET's arguments unread.
    """

    _KEY: Final = b"places"
    _MEMBER: Final = np.dtype([("length", "S4"), ("id", ">i8"), ("end", "S2")])
    _RECORD: Final = np.dtype([("lat_deg", ">f8"), ("lng_deg", ">f8"), ("features", ">f4", (FEATURES,))])
    _VALUE: Final = np.dtype([("length", "S5"), ("record", _RECORD), ("end", "S2")])

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def load(cls, path: Path, database: int, world: World) -> Self:
        """Into one of the server's databases."""
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
        redis = cls(reader, writer)
        await redis._ask(_command(b"SELECT", b"%d" % database))
        records = np.zeros(len(world.ids), dtype=cls._RECORD)
        records["lat_deg"], records["lng_deg"], records["features"] = world.lats_deg, world.lngs_deg, world.features
        for start in range(0, len(records), _CHUNK):
            part = slice(start, start + _CHUNK)
            keys = _cut(world.ids[part].astype(">i8"))
            places = zip(world.lngs_deg[part].tolist(), world.lats_deg[part].tolist(), keys, strict=True)
            added = [word for lng, lat, key in places for word in (b"%r" % lng, b"%r" % lat, key)]
            await redis._ask(_command(b"GEOADD", cls._KEY, *added))
            kept = [word for pair in zip(keys, _cut(records[part]), strict=True) for word in pair]
            await redis._ask(_command(b"MSET", *kept))
        return redis

    async def find(self, query: Query) -> Found:
        lat, lng, radius_m = query
        wide = radius_m * _REDIS_SLACK + _REDIS_SLACK_M
        circle = b"FROMLONLAT %r %r BYRADIUS %r m" % (lng, lat, wide)
        count = await self._ask(_command(b"GEOSEARCH", self._KEY, *circle.split()))
        if not count:
            nothing = np.zeros(0)
            return Found(np.zeros(0, np.int64), nothing, nothing, np.zeros((0, FEATURES), np.float32), nothing)
        members = await self._reader.readexactly(count * self._MEMBER.itemsize)
        await self._ask(b"*%d\r\n$4\r\nMGET\r\n" % (count + 1) + members)
        values = await self._reader.readexactly(count * self._VALUE.itemsize)
        records = np.frombuffer(values, dtype=self._VALUE)["record"]
        ids = np.frombuffer(members, dtype=self._MEMBER)["id"].astype(np.int64)
        lats, lngs = records["lat_deg"].astype(np.float64), records["lng_deg"].astype(np.float64)
        return within(query, ids, lats, lngs, records["features"].astype(np.float32))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def _ask(self, command: bytes) -> int:
        """The number in the reply's first line: of strings to come, or of what was added; 0 for OK."""
        self._writer.write(command)
        await self._writer.drain()
        line = await self._reader.readline()
        if line[:1] not in b"*:+":
            raise SystemExit(f"Redis refused: {line.decode().strip()}")
        return 0 if line[:1] == b"+" else int(line[1:])


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _cut(values: npt.NDArray[Any]) -> list[bytes]:
    """Each element's bytes."""
    whole, length = values.tobytes(), values.itemsize
    return [whole[start : start + length] for start in range(0, len(whole), length)]


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection
