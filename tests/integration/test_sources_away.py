"""Tables that lie elsewhere: a store of objects, a web server, a Postgres database."""

import gzip
import io
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import polars as pl
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from data.sources import Source, scan
from hexbite.errors import DataError, SettingsError


def rows(scratch: Path, **said: Any) -> list[dict[str, Any]]:
    return scan(Source(**said), base=scratch, scratch=scratch, ragged=Counter()).collect().to_dicts()


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


class Bucket:
    """A bucket of a store of objects, and how the map says where it is."""

    def __init__(self, endpoint: str) -> None:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        self.name = f"bucket-{uuid.uuid4().hex}"
        self.client.create_bucket(Bucket=self.name)
        self.storage = keys | {"aws_endpoint_url": endpoint, "aws_region": "us-east-1", "aws_allow_http": "true"}

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def rows(self, scratch: Path, path: str, **said: Any) -> list[dict[str, Any]]:
        return rows(scratch, path=f"s3://{self.name}/{path}", **{"storage": self.storage} | said)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Bucket:
    return Bucket(endpoint)


CSV = b'id,name\n007,"a\nb"\n8,\n'
CSV_ROWS = [{"id": "007", "name": "a\nb"}, {"id": "8", "name": None}]
JSONL = b'{"id": 1}\n{"id": 2, "at": {"lat": 1.5}}\n'
JSONL_ROWS = [{"id": 1, "at.lat": None}, {"id": 2, "at.lat": 1.5}]


def test_a_parquet_file_of_a_bucket_is_read(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a/users.parquet", parquet(id=[1, 2]))
    assert bucket.rows(tmp_path, "a/users.parquet") == [{"id": 1}, {"id": 2}]


def test_the_partitions_of_a_bucket_are_columns_of_text_and_what_spark_leaves_behind_is_no_data(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("root=1/events/_SUCCESS", b"")
    bucket.put("root=1/events/day=01/part-0.snappy.parquet", parquet(id=[1]))
    bucket.put("root=1/events/day=__HIVE_DEFAULT_PARTITION__/part-0.parquet", parquet(id=[2.5], more=["x"]))
    bucket.put("root=1/events/_temporary/day=02/part-0.parquet", parquet(id=[3]))
    assert sorted(bucket.rows(tmp_path, "root=1/events/"), key=lambda row: row["id"]) == [
        {"id": 1.0, "day": "01", "more": None},
        {"id": 2.5, "day": None, "more": "x"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", CSV, CSV_ROWS),
        ("a.csv.gz", gzip.compress(CSV, mtime=0), CSV_ROWS),
        ("a.tsv", b"id\tname\n8\t\n", CSV_ROWS[1:]),
        ("a.jsonl", JSONL, JSONL_ROWS),
        ("a.ndjson.gz", gzip.compress(JSONL, mtime=0), JSONL_ROWS),
    ],
)
def test_text_of_a_bucket_is_read(
    bucket: Bucket, tmp_path: Path, name: str, content: bytes, expected: list[dict[str, Any]]
) -> None:
    bucket.put(name, content)
    assert bucket.rows(tmp_path, name) == expected


def test_all_text_files_below_an_address_are_one_table(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("events/day=1/a", CSV)
    bucket.put("events/day=2/b", b"id;more\n9;x\n")
    bucket.put("events/_SUCCESS", b"")
    found = bucket.rows(tmp_path, "events/", file_format="csv")
    assert [(row["id"], row["day"], row["more"]) for row in found] == [
        ("007", "1", None),
        ("8", "1", None),
        ("9", "2", "x"),
    ]


def test_a_key_of_the_store_may_come_from_the_environment(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", parquet(id=[1]))
    storage = bucket.storage | {"aws_secret_access_key": "$BUCKET_SECRET"}
    with pytest.raises(SettingsError, match="BUCKET_SECRET"):
        bucket.rows(tmp_path, "a.parquet", storage=storage)
    monkeypatch.setenv("BUCKET_SECRET", "secret")
    assert bucket.rows(tmp_path, "a.parquet", storage=storage) == [{"id": 1}]


@pytest.mark.parametrize("path", ["none.parquet", "none/", "none/*.parquet", "none.csv"])
def test_what_a_bucket_does_not_hold_is_said_with_its_address(bucket: Bucket, tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=f"s3://{bucket.name}/none"):
        bucket.rows(tmp_path, path)


def test_text_of_a_bucket_in_another_encoding_is_to_be_fetched_first(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.csv", CSV)
    with pytest.raises(DataError, match="fetch the file"):
        bucket.rows(tmp_path, "a.csv", encoding="cp1252")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name there
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", CSV, CSV_ROWS),
        ("export?id=5", gzip.compress(CSV, mtime=0), CSV_ROWS),
        ("a.jsonl", JSONL, JSONL_ROWS),
        ("a.jsonl.gz", gzip.compress(JSONL, mtime=0), JSONL_ROWS),
        ("a.parquet", parquet(id=[1]), [{"id": 1}]),
    ],
)
def test_a_file_of_a_web_server_is_fetched_and_its_content_tells_what_it_is(
    site: tuple[str, Path], tmp_path: Path, name: str, content: bytes, expected: list[dict[str, Any]]
) -> None:
    address, folder = site
    (folder / name.partition("?")[0]).write_bytes(content)
    assert rows(tmp_path, path=f"{address}/{name}") == expected


def test_a_web_server_that_has_no_such_file_is_quoted_without_what_signs_the_address(
    site: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"none\.csv: the server answers 404") as caught:
        rows(tmp_path, path=f"{site[0]}/none.csv?signature=secret")
    assert "secret" not in str(caught.value)


def test_a_web_server_that_does_not_answer_is_an_error_in_words(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(DataError, match="cannot be fetched"):
            rows(tmp_path, path=f"http://127.0.0.1:{nobody.getsockname()[1]}/a.csv")


def test_the_types_of_postgres_become_columns(fresh_database: str, tmp_path: Path) -> None:
    key = uuid.uuid4()
    query = f"""
        SELECT '{key}'::uuid AS a_uuid, 12345678901234567890.50::numeric AS a_numeric, 'NaN'::numeric AS no_number,
               7::int2 AS small, 1.5::float8 AS f, true AS yes, '2024-02-29'::date AS day, NULL AS nothing,
               '2024-05-01 12:00:00+02'::timestamptz AS at, '2024-05-01 12:00:00.25'::timestamp AS wall,
               '{{1,NULL,3}}'::int[] AS ints, '{{a,"b,c"}}'::text[] AS texts, '{{1.50}}'::numeric[] AS numerics,
               '{{"a": [1]}}'::jsonb AS j, 'x'::varchar(3) AS v, '12:30'::time AS clock, '1 day'::interval AS long,
               '{{}}'::int[] AS no_ints, '10.0.0.1'::inet AS host, 'happy'::mood AS mood,
               '{{sad,happy}}'::mood[] AS moods
    """
    with psycopg.connect(fresh_database) as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    assert rows(tmp_path, query=query, database=fresh_database) == [
        {
            "a_uuid": str(key),
            "a_numeric": "12345678901234567890.50",
            "no_number": "NaN",
            "small": 7,
            "f": 1.5,
            "yes": True,
            "day": date(2024, 2, 29),
            "nothing": None,
            "at": datetime(2024, 5, 1, 10, tzinfo=UTC),
            "wall": datetime.fromisoformat("2024-05-01T12:00:00.25"),
            "ints": [1, None, 3],
            "texts": ["a", "b,c"],
            "numerics": ["1.50"],
            "j": '{"a": [1]}',
            "v": "x",
            "clock": "12:30:00",
            "long": "1 day",
            "no_ints": [],
            "host": "10.0.0.1",
            "mood": "happy",
            "moods": ["sad", "happy"],
        }
    ]


def test_times_that_no_timestamp_holds_are_null_and_counted(
    fresh_database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    query = """
        SELECT * FROM (VALUES (1, 'infinity'::timestamptz, '-infinity'::date), (2, '0044-03-15 BC', '2024-01-01'),
                              (3, '2024-01-01', NULL)) AS t (n, at, day) ORDER BY n
    """
    found = rows(tmp_path, query=query, database=fresh_database)
    assert [(row["at"], row["day"]) for row in found] == [
        (None, None),
        (None, date(2024, 1, 1)),
        (datetime(2024, 1, 1, tzinfo=UTC), None),
    ]
    assert "3 times that no timestamp holds" in capfd.readouterr().err


def test_a_long_answer_comes_in_batches_and_in_order(fresh_database: str, tmp_path: Path) -> None:
    query = "SELECT n FROM generate_series(1, 120000) AS n ORDER BY n;"
    found = scan(Source(query=query, database=fresh_database), base=tmp_path, scratch=tmp_path, ragged=Counter())
    assert found.collect()["n"].equals(pl.Series("n", range(1, 120_001), pl.Int32))
    assert len(list(tmp_path.rglob("*.parquet"))) == 3


def test_an_answer_without_rows_has_its_columns(fresh_database: str, tmp_path: Path) -> None:
    found = scan(
        Source(query="SELECT 1 AS n WHERE false", database=fresh_database),
        base=tmp_path,
        scratch=tmp_path,
        ragged=Counter(),
    )
    assert dict(found.collect_schema()) == {"n": pl.Int32}
    assert found.collect().is_empty()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM no_such_table", "no_such_table"),
        ("SELECT '\\x00'::bytea AS picture", "picture: holds bytes"),
        ("SELECT 1 AS id, 2 AS id", "id more than once"),
        ("SELECT ARRAY[[1, 2], [3, 4]] AS grid", "column grid: holds what no column can hold"),
        ("SELECT 1 / n AS x FROM generate_series(-1, 1) AS n", "division by zero"),
    ],
)
def test_a_query_that_cannot_be_answered_is_an_error_in_words(
    fresh_database: str, tmp_path: Path, query: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        rows(tmp_path, query=query, database=fresh_database)


@pytest.mark.parametrize(
    "query", ["DELETE FROM t RETURNING n", "WITH gone AS (DELETE FROM t RETURNING n) SELECT * FROM gone"]
)
def test_a_query_changes_nothing(fresh_database: str, tmp_path: Path, query: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    with pytest.raises(DataError, match="refuses the query"):
        rows(tmp_path, query=query, database=fresh_database)
    with psycopg.connect(fresh_database) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_a_databases_address_may_come_from_the_environment(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE", fresh_database)
    assert rows(tmp_path, query="SELECT 1 AS n", database="$WAREHOUSE") == [{"n": 1}]
    with pytest.raises(SettingsError, match="NO_WAREHOUSE"):
        rows(tmp_path, query="SELECT 1 AS n", database="$NO_WAREHOUSE")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://somebody:topsecret@127.0.0.1:1/shop",
        "postgresql://somebody:topsecret@/shop?host=/no/such/folder",
        "postgres//somebody:topsecret@127.0.0.1/shop",
        "postgresql://somebody:topsecret@127.0.0.1/shop?no_such_parameter=topsecret",
        "host=127.0.0.1 port=1 password=topsecret dbname",
    ],
)
def test_a_database_that_cannot_be_reached_is_an_error_without_its_password(tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path, query="SELECT 1 AS n", database=address)
    assert "topsecret" not in str(caught.value)


def test_a_role_that_is_refused_is_said_without_its_password(fresh_database: str, tmp_path: Path) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS source_reader")
        connection.execute("CREATE ROLE source_reader LOGIN CONNECTION LIMIT 0 PASSWORD 'topsecret'")
    parts = urlsplit(fresh_database)
    address = parts._replace(netloc=f"source_reader:topsecret@{parts.netloc.rpartition('@')[2]}").geturl()
    with pytest.raises(DataError, match=r"cannot be asked: .*source_reader") as caught:
        rows(tmp_path, query="SELECT 1 AS n", database=address)
    assert "topsecret" not in str(caught.value)
