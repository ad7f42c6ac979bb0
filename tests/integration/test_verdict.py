"""One verdict on a data folder: what describe passes is loaded and trained, and what it refuses all refuse alike."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from data.describe import describe
from db.loading.load import load
from hexbite.errors import FolderError
from hexbite.ids import texts_to_ids
from hexbite.zones import zone_to_number
from tests.integration.folders import (
    REQUESTS,
    RESTAURANTS,
    TEST,
    TRAIN,
    USERS,
    Change,
    both,
    change,
    drop,
    first,
    move,
    put,
    rename,
    repeat,
    schema,
    split,
    texts,
    write_folder,
)
from training.reading.clicks import ClickFiles
from training.reading.survey import Split, survey
from training.reading.tables import read_tables

ROOT = Path(__file__).parents[2]
HUGE = 2**63
NEW_YEAR = datetime(2024, 1, 1)  # noqa: DTZ001 - as files tell it, without a zone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


def train(folder: Path, **options: Any) -> int:
    """As training begins, up to the first step; rows that it will learn from."""
    tables = read_tables(folder, defer_train=True, **options)
    found = survey(Split(ClickFiles(folder, "train", tables, options.get("unknown", "error")), 0.1, 0, 0))
    return found.rows + len(found.validation)


def verdicts(folder: Path, dsn: str, **options: Any) -> list[list[str]]:
    """The problems of the folder as describe, a load, training, and evaluation tell them."""
    told = [[str(problem) for problem in describe(folder, **options).problems]]
    for use in (
        lambda: load(dsn, folder, **options),
        lambda: train(folder, **options),
        lambda: read_tables(folder, **options),
    ):
        try:
            use()
        except FolderError as error:
            told.append([str(problem) for problem in error.problems])
        else:
            told.append([])
    return told


def stored(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("feature_schemas", "users", "restaurants")
        ]


def nulls(rows: int, column: str) -> pl.Expr:
    return first(rows, None, column)


SOUND: dict[str, Change] = {
    "as it is": lambda folder: None,
    "what Spark leaves": both(
        put("train/_SUCCESS", b""),
        put("train/.a.parquet.crc", b"PAR1"),
        put("train/_metadata", b"PAR1"),
        put("_SUCCESS", b""),
        put("train/_temporary/0/part.parquet", b"half"),
        put("train/.hidden/part.parquet", b"half"),
    ),
    "notes beside": both(
        put("README.md", b"x"), put("train/notes.txt", b"x"), put("train/a.csv", b"x"), put("a.csv", b"")
    ),
    "plain folders": move("train/b.parquet", "train/more/b.parquet"),
    "hive folders": move("train/b.parquet", "train/day=2024-01-01/part-0.parquet"),
    "a context column by folders": both(
        change("t*/*.parquet", weekday=pl.lit(3)),
        change(RESTAURANTS, time_zone=pl.lit("Asia/Bangkok")),
        drop("train/b.parquet", "weekday"),
        move("train/b.parquet", "train/weekday=4/b.parquet"),
    ),
    "users in parts": split(USERS),
    "all in parts": both(split(USERS), split(RESTAURANTS, at="year=2024/{}.parquet"), split(REQUESTS)),
    "an empty part of other types": lambda folder: (
        pl.DataFrame({"user_id": [None], "z": ["x"]}).clear().write_parquet(folder / "train/empty.parquet")
    ),
    "narrow ids in one file": change("train/b.parquet", user_id=pl.col("user_id").cast(pl.Int16)),
    "integers in one file, floats in another": change(
        "train/b.parquet", distance_m=pl.col("distance_m").cast(pl.Int64)
    ),
    "what was shown": change(TRAIN, list=pl.lit("l"), position=pl.lit(1), time=pl.lit(NEW_YEAR)),
    "no test, no requests": lambda folder: [(folder / TEST).unlink(), (folder / REQUESTS).unlink()],
    "no request in the file": lambda folder: (
        pl.read_parquet(folder / REQUESTS).clear().write_parquet(folder / REQUESTS)
    ),
    "boolean labels": change("t*/*.parquet", click=pl.col("click") == 1),
    "float labels": change("t*/*.parquet", click=pl.col("click").cast(pl.Float32)),
    "a boolean feature": change(USERS, b=pl.col("b") > 9),
    "a decimal feature": change(USERS, b=pl.col("b").cast(pl.Decimal(38, 2))),
    "a half": change(USERS, b=pl.col("b").cast(pl.Float16)),
    "128 bits": change(USERS, b=pl.col("b").cast(pl.Int128)),
    "unsigned ids": change("*/*.parquet", user_id=pl.col("user_id").cast(pl.UInt64)),
    "dates": change(USERS, event_ts=pl.lit(NEW_YEAR).cast(pl.Date)),
    "moments without a zone": change(USERS, event_ts=pl.lit(NEW_YEAR).cast(pl.Datetime("ns"))),
    "moments somewhere": change(USERS, event_ts=pl.lit(NEW_YEAR).dt.replace_time_zone("Asia/Bangkok")),
    "event times of nulls": change(USERS, event_ts=pl.lit(None)),
    "nulls without a type and a fill": both(
        schema(user=[{"name": "a", "fill": 0.5}, {"name": "b"}]), change(USERS, a=pl.lit(None))
    ),
    "a schema with a byte order mark": both(
        schema(),
        lambda folder: (folder / "schema.json").write_bytes(b"\xef\xbb\xbf" + (folder / "schema.json").read_bytes()),
    ),
    "columns that the schema does not want": both(
        schema(), change(USERS, name=pl.lit("x"), latitude=pl.lit(1)), change(TRAIN, dwell_s=pl.lit("x"))
    ),
    "text ids": texts(),
    "text ids by dictionary": both(texts(), change(TRAIN, user_id=pl.col("user_id").cast(pl.Categorical))),
    "text ids as the schema says": both(texts(), schema(ids={"user": "text", "restaurant": "text"})),
    "local time": both(
        change(RESTAURANTS, time_zone=pl.lit("Asia/Bangkok").cast(pl.Categorical)),
        change("t*/*.parquet", hour=pl.lit(7), weekday=pl.lit(6)),
    ),
    "candidates without a type": change(REQUESTS, candidate_restaurant_ids=pl.lit(None)),
    "one bad user among 200": change(USERS, a=first(1, float("nan"), "a")),
    "an id that occurs twice": repeat(USERS, 2),
    "two thousand features": change(USERS, **{f"f{number}": pl.lit(0.5) for number in range(2_000)}),
    "a very long name": rename(USERS, a="a" * 3_000),
}


@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_what_describe_passes_is_loaded_and_trained(migrated_database: str, folder: Path, make: Change) -> None:
    make(folder)
    assert verdicts(folder, migrated_database) == [[], [], [], []]
    assert len(stored(migrated_database)[2]) == 200
    assert train(folder) > 490


def beyond(column: str, name: str) -> tuple[Change, str]:
    return change(name, **{column: pl.lit(HUGE, pl.UInt64)}), f"column {column}: beyond signed 64 bits"


REFUSED: dict[str, tuple[Change, str]] = {
    "damaged train": (lambda f: (f / TRAIN).write_bytes((f / TRAIN).read_bytes()[:-9]), "may be damaged or cut off"),
    "train of another kind": (put(TRAIN, b"PAR1"), f"{TRAIN}: cannot be read as parquet"),
    "damaged test": (put(TEST, b""), f"{TEST}: cannot be read as parquet"),
    "damaged part": (
        both(split(USERS), put(f"{USERS}/part-1.parquet", b"")),
        f"{USERS}/part-1.parquet: cannot be read",
    ),
    "a link to nothing": (lambda f: (f / "train/c.parquet").symlink_to("nowhere"), "train/c.parquet: no such file"),
    "only csv": (
        both(move(TRAIN, "x/a"), move("train/b.parquet", "x/b"), put("train/a.csv", b"x")),
        "train/a.csv: is not read; wanted is parquet, as train/*.parquet",
    ),
    "parquet by another name": (move("train/b.parquet", "train/000000_0"), "train/000000_0: is not read"),
    "users as csv": (move(USERS, "user_features.csv"), "user_features.csv: is not read; wanted is parquet, as user_"),
    "train as a file": (
        both(move("train", "x"), move("x/a.parquet", "train.parquet")),
        "train.parquet: is not read; wanted is parquet, as train/*.parquet",
    ),
    "no row": (lambda f: pl.read_parquet(f / USERS).clear().write_parquet(f / USERS), f"{USERS}: holds no rows"),
    "no row in any part": (
        lambda f: [pl.read_parquet(path).clear().write_parquet(path) for path in (f / "train").iterdir()],
        "train: holds no rows",
    ),
    "a later column": (
        change("train/b.parquet", hour=pl.lit(1)),
        f"{TRAIN}, column hour: no such column; train/b.parquet",
    ),
    "an earlier column": (
        drop("train/b.parquet", "distance_m"),
        "train/b.parquet, column distance_m: no such column; ",
    ),
    "a later column of a table": (
        both(split(USERS), change(f"{USERS}/part-2.parquet", z=pl.lit(1))),
        f"{USERS}/part-0.parquet, column z: no such column; {USERS}/part-2.parquet has it",
    ),
    "another kind in a part": (
        both(split(USERS), change(f"{USERS}/part-2.parquet", a=pl.lit("x"))),
        f"{USERS}/part-2.parquet, column a: must hold numbers, not String",
    ),
    "a missing wanted column": (
        both(schema(), drop("train/b.parquet", "distance_m")),
        "column distance_m: no such column",
    ),
    "reserved": (change(USERS, latitude=pl.lit(1)), "column latitude: a name with a meaning of its own; rename it"),
    "reserved, of restaurants": (
        change(RESTAURANTS, click=pl.lit(1)),
        "column click: a name with a meaning of its own",
    ),
    "no identifier": (rename(USERS, a="a b"), "column a b: feature name 'a b' is not an identifier"),
    "no request can tell": (change("train/*.parquet", dwell_s=pl.lit(1)), "column dwell_s: no request can tell it"),
    "no request can tell, by schema": (
        both(schema(context=[{"name": "position"}]), change("t*/*.parquet", position=pl.lit(1))),
        "schema.json, column position: no request can tell it",
    ),
    "no time zone": (change("t*/*.parquet", hour=pl.lit(1)), f"{RESTAURANTS}, column time_zone: no such column"),
    "no such zone": (
        both(change("t*/*.parquet", hour=pl.lit(1)), change(RESTAURANTS, time_zone=pl.lit("Asia/Atlantis"))),
        "column time_zone: no time zone of the IANA database, such as Asia/Bangkok (200 rows)",
    ),
    "nulls without a fill": (change(USERS, a=pl.lit(None)), "column a: null without a fill (200 rows)"),
    "text labels": (
        change("train/*.parquet", click=pl.col("click").cast(pl.String)),
        "column click: must hold numbers",
    ),
    "other labels": (change(TRAIN, click=pl.lit(0.5)), "column click: neither 0 nor 1 (300 rows)"),
    "one label": (change("train/*.parquet", click=pl.lit(1)), "train: all 500 rows say click 1; nothing to learn"),
    "text times": (change(USERS, event_ts=pl.lit("2024-01-01")), "column event_ts: must be a timestamp, not String"),
    "a wide number": (change(USERS, a=pl.lit(1e300)), "column a: beyond float32 (200 rows)"),
    "NaN": (change(USERS, a=first(3, float("nan"), "a")), "column a: NaN (3 rows)"),
    "infinities": (change(RESTAURANTS, c=first(3, float("-inf"), "c")), "column c: infinite (3 rows)"),
    "wide ids": beyond("user_id", USERS),
    "wide ids of clicks": beyond("restaurant_id", TRAIN),
    "float ids": (
        change(USERS, user_id=pl.col("user_id").cast(pl.Float64)),
        "column user_id: must hold integers, not Fl",
    ),
    "float ids of clicks": (change(TRAIN, user_id=pl.col("user_id").cast(pl.Float64)), "as int64"),
    "text ids in clicks alone": (change(TRAIN, user_id=pl.lit("u")), f"{TRAIN}, column user_id: must hold integers"),
    "integers in clicks alone": (texts(but=TRAIN), f"{TRAIN}, column user_id: must hold text, not Int64"),
    "text where the schema says integers": (
        both(texts(), schema()),
        f"{USERS}, column user_id: must hold integers, not",
    ),
    "integers where it says text": (
        schema(ids={"user": "text"}),
        f"{USERS}, column user_id: must hold text, not Int64",
    ),
    "text ids that can be none": (
        both(texts(), change(USERS, user_id=first(3, "", "user_id"))),
        "column user_id: is empty (3 rows)",
    ),
    "null ids in clicks": (change(TRAIN, user_id=nulls(2, "user_id")), "column user_id: null (2 rows)"),
    "unknown ids": (change(TRAIN, user_id=first(2, 999, "user_id")), "column user_id: ids without a feature row; add"),
    "exchanged": (
        rename(RESTAURANTS, latitude="longitude", longitude="latitude"),
        f"{RESTAURANTS}, column latitude: latitude and longitude look exchanged (200 rows)",
    ),
    "exchanged requests": (rename(REQUESTS, latitude="longitude", longitude="latitude"), "look exchanged (5 rows)"),
    "out of range": (
        change(RESTAURANTS, latitude=first(9, 91.0, "latitude")),
        "column latitude: outside -90..90 (9 rows)",
    ),
    "too many twice": (
        change(USERS, user_id=first(9, 100, "user_id")),
        "occurs more than once, another row of it stays (9",
    ),
    "requests": (change(REQUESTS, size=pl.lit(0)), f"{REQUESTS}, column size: outside 1..1,000 (5 rows)"),
    "visits of no restaurant": (change(REQUESTS, visited_restaurant_id=pl.lit(999)), "ids without a feature row"),
    "a schema that is none": (put("schema.json", b"{"), "schema.json: "),
    "a schema of NaN": (
        schema(user=[{"name": "a", "fill": float("nan")}]),
        "schema.json: feature a: its fill must be a",
    ),
    "a huge fill": (
        schema(user=[{"name": "a", "fill": 10**400}]),
        "schema.json: feature a: its fill is beyond float32",
    ),
    "kinds of ids that are none": (schema(ids={"user": ["text"]}), 'schema.json: "ids" says of user and restaurant'),
    "a schema that is a link to nothing": (
        lambda f: (f / "schema.json").symlink_to("nowhere"),
        "schema.json: cannot be read: no such file",
    ),
    "dictionary as a number": (
        change(USERS, a=pl.lit("x").cast(pl.Categorical)),
        "column a: must hold numbers, not Cat",
    ),
    "candidates of another kind": (
        change(REQUESTS, candidate_restaurant_ids=pl.lit(["r"])),
        f"{REQUESTS}, column candidate_restaurant_ids: must hold lists of integers, not List(String)",
    ),
    "an empty group": (schema(user=[]), "schema.json: the user group is empty"),
    "no feature": (drop(USERS, "a", "b"), f"{USERS}: holds no feature"),
    "no restaurants": (move(RESTAURANTS, "x/y"), f"{RESTAURANTS}: no such file"),
}


@pytest.mark.parametrize(("spoil", "said"), REFUSED.values(), ids=REFUSED)
def test_what_describe_refuses_all_refuse_in_the_same_words(
    migrated_database: str, folder: Path, spoil: Change, said: str
) -> None:
    load(migrated_database, folder)
    before = stored(migrated_database)
    spoil(folder)
    described, *others = verdicts(folder, migrated_database)
    assert any(said in problem for problem in described), described
    assert others == [described] * 3
    assert stored(migrated_database) == before


def test_rows_below_the_share_are_left_out_by_all_and_told(migrated_database: str, folder: Path) -> None:
    both(repeat(USERS, 1), change(USERS, a=first(1, float("nan"), "a")))(folder)
    # User 0 has a row that can be used, the second; user 5 has none.
    change(USERS, b=pl.when(pl.col("user_id") == 5).then(None).otherwise(pl.col("b")))(folder)
    described = describe(folder)
    assert described.problems == []
    text = "\n".join(described.lines)
    assert "rejected    2 of 201 rows" in text
    assert f"{USERS} row 5, id 5: b: null without a fill" in text
    loaded = load(migrated_database, folder)
    assert [(row.row, row.id) for row in loaded["users"].rejections] == [(0, 0), (5, 5)]
    tables = read_tables(folder)
    assert tables.users.ids.tolist() == [id_ for id_ in range(200) if id_ != 5]
    assert [row[1] for row in stored(migrated_database)[1]] == tables.users.ids.tolist()
    # Nobody has to say --unknown skip for clicks of a user whose row was left out.
    of_user = pl.read_parquet(folder / "train" / "*.parquet").filter(pl.col("user_id") == 5).height
    assert of_user
    assert train(folder) == 500 - of_user


@pytest.mark.parametrize(("share", "is_refused"), [(0.0, True), (0.0049, True), (0.005, False), (1.0, False)])
def test_the_share_of_rows_that_may_be_left_out_is_a_bound(
    migrated_database: str, folder: Path, share: float, is_refused: bool
) -> None:
    change(USERS, a=first(1, float("nan"), "a"))(folder)
    told = verdicts(folder, migrated_database, max_rejected=share)
    assert told == [told[0]] * 4
    assert bool(told[0]) == is_refused
    if is_refused:
        assert f"{USERS}: 1 of 200 rows cannot be used, more than the share of {share:g}" in told[0][1]


def test_a_table_of_which_no_row_is_left_is_refused_whatever_the_share(migrated_database: str, folder: Path) -> None:
    change(USERS, a=pl.lit(float("nan")))(folder)
    told = verdicts(folder, migrated_database, max_rejected=1.0)
    assert told == [[f"{USERS}, column a: NaN (200 rows)", f"{USERS}: 200 of 200 rows cannot be used"]] * 4


def test_clicks_of_ids_without_a_row_or_of_none_are_skipped_where_that_is_asked_for(
    migrated_database: str, folder: Path
) -> None:
    both(change(TRAIN, user_id=nulls(2, "user_id")), change(TEST, restaurant_id=first(3, 999, "restaurant_id")))(folder)
    assert all(verdicts(folder, migrated_database))
    assert verdicts(folder, migrated_database, unknown="skip") == [[]] * 4
    assert train(folder, unknown="skip") == 498
    change("train/*.parquet", user_id=pl.lit(999))(folder)
    told = verdicts(folder, migrated_database, unknown="skip")
    assert told == [["train: no row to use: every user or restaurant is without a feature row"]] * 4


def test_problems_of_every_file_are_told_at_once_and_a_message_lists_the_first(folder: Path) -> None:
    for number in range(30):
        path = folder / f"train/c{number:02}.parquet"
        pl.read_parquet(folder / TRAIN).with_columns(click=pl.lit(2)).write_parquet(path)
    (folder / "train/c05.parquet").write_bytes(b"PAR1")
    with pytest.raises(FolderError) as refused:
        train(folder)
    assert [problem.file for problem in refused.value.problems].count("train/c29.parquet") == 1
    assert len(refused.value.problems) == 30
    assert refused.value.problems == describe(folder).problems
    *_, last = str(refused.value).splitlines()
    assert last == f"  and 10 more; python -m data describe {folder} lists all"


def test_files_are_read_in_the_order_of_their_relative_paths(folder: Path) -> None:
    move("train/b.parquet", "train/day=1/z.parquet")(folder)
    move("train/a.parquet", "train/day=2/a.parquet")(folder)
    frame = pl.read_parquet(folder / TEST)
    frame.write_parquet(folder / "train/0.parquet")
    files = ClickFiles(folder, "train", read_tables(folder))
    assert [file.name for file in files.files] == ["train/0.parquet", "train/day=1/z.parquet", "train/day=2/a.parquet"]
    assert sum(part.rows for part in files.parts) == 600


def test_text_ids_stand_beside_their_hashes_and_are_told_where_rows_are_rejected(
    migrated_database: str, folder: Path, tmp_path: Path
) -> None:
    both(texts(), change(RESTAURANTS, latitude=first(1, 99.0, "latitude")))(folder)
    assert train(folder) < 500
    rejected = tmp_path / "rejected.csv"
    finished = command(migrated_database, "db", "load", str(folder), "--rejected", str(rejected))
    assert finished.returncode == 0, finished.stderr
    assert f"restaurants,{RESTAURANTS},0,x0,latitude: outside -90..90" in rejected.read_text()
    _, users, restaurants = stored(migrated_database)
    assert {row[-1] for row in users} == {f"x{number}" for number in range(200)}
    assert {row[1]: row[-1] for row in users} == {int(texts_to_ids([row[-1]])[0]): row[-1] for row in users}
    # Behind the key stands what is counted.
    assert {row[-2] for row in restaurants} == {f"x{number}" for number in range(1, 200)}
    # A second load of the same finds nothing to change, and a third one other features under the same ids.
    assert load(migrated_database, folder)["users"].unchanged == 200
    change(USERS, a=pl.col("a") + 1)(folder)
    assert load(migrated_database, folder, mode="upsert")["users"].updated == 200


def test_two_texts_with_one_hash_are_refused_by_name_in_a_folder_and_against_the_store(
    migrated_database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts()(folder)

    def colliding(names: Sequence[str]) -> Any:
        return texts_to_ids(["x1" if name in ("x2", "new") else name for name in names])

    load(migrated_database, folder)
    before = stored(migrated_database)
    monkeypatch.setattr("data.folder.columns.texts_to_ids", colliding)
    told = verdicts(folder, migrated_database)
    assert told == [told[0]] * 4
    assert f"{USERS}, column user_id: 'x1' and 'x2' share one 64-bit hash; one of them needs another id" in told[0]
    for name in (USERS, "t*/*.parquet"):
        change(name, user_id=pl.col("user_id").replace("x1", "new"))(folder)
        frame = {path: pl.read_parquet(path).filter(pl.col("user_id") != "x2") for path in folder.glob(name)}
        for path, kept in frame.items():
            kept.write_parquet(path)
    for path in folder.glob("**/*.parquet"):
        frame_ = pl.read_parquet(path)
        if "restaurant_id" in frame_.columns:
            frame_.filter(pl.col("restaurant_id") != "x2").write_parquet(path)
    assert describe(folder).problems == []
    with pytest.raises(FolderError, match="'new' and 'x1', which is stored, share one 64-bit hash"):
        load(migrated_database, folder)
    assert stored(migrated_database) == before


def test_the_number_of_a_zone_stands_behind_the_features_in_the_store_and_not_in_training(
    migrated_database: str, folder: Path
) -> None:
    zones = pl.when(pl.col("restaurant_id") == 7).then(None).otherwise(pl.lit("Asia/Bangkok"))
    both(change(RESTAURANTS, time_zone=zones), change("t*/*.parquet", hour=pl.lit(7)))(folder)
    loaded = load(migrated_database, folder)
    assert [row.reason for row in loaded["restaurants"].rejections] == ["time_zone: null"]
    (registered,), _, restaurants = stored(migrated_database)
    assert registered[3] == ["c", "time_zone"]
    assert {row[5][-1] for row in restaurants} == {zone_to_number("Asia/Bangkok")}
    tables = read_tables(folder)
    assert tables.restaurants.features.shape == (199, 1)
    assert tables.schema.names("context") == ("distance_m", "hour")


def command(dsn: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"DATABASE_URL": dsn, "BENTOML_DO_NOT_TRACK": "True"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_commands_print_the_same_lines_end_with_status_1_and_train_nothing(
    migrated_database: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "models"))
    good = command(migrated_database, "training", "train", "--data", f"{folder}/", "--epochs", "1")
    assert good.returncode == 0, good.stderr
    tag = good.stdout.split()[-1]
    evaluated = command(migrated_database, "training", "evaluate", "--data", f"{folder}/", "--model", tag)
    assert evaluated.returncode == 0, evaluated.stderr
    both(change(TRAIN, click=pl.lit(2)), change(USERS, a=pl.lit(float("nan"))))(folder)
    pl.read_parquet(folder / TEST).write_parquet(tmp_path / "pairs.parquet")
    score = ("--pairs", str(tmp_path / "pairs.parquet"), "--out", str(tmp_path / "out.parquet"))
    described = command(migrated_database, "data", "describe", str(folder))
    lines = described.stdout[described.stdout.index("problems") :].splitlines()
    assert described.returncode == 1
    assert len(lines) == 4
    for arguments in (
        ("db", "load", str(folder)),
        ("training", "train", "--data", str(folder)),
        ("training", "evaluate", "--data", str(folder), "--model", tag),
        ("training", "score", "--data", str(folder), "--model", tag, *score),
    ):
        finished = command(migrated_database, *arguments)
        assert finished.returncode == 1
        assert finished.stderr.splitlines()[-3:] == lines[1:]
        assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out.parquet").exists()
