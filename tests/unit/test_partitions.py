"""A data folder whose train rows lie in folders that tell columns; and context that no request could tell."""

from pathlib import Path

import polars as pl
import pytest

from data.folder.verdict import judge, look

IDS = ["0012", "12", "a b:0", "ü"]
FOLDERS = ["0012", "12", "a%20b%3A0", "%C3%BC"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pl.DataFrame({"user_id": IDS, "u": [0.0, 1.0, 2.0, 3.0]}).write_parquet(tmp_path / "user_features.parquet")
    places = {"restaurant_id": [-1, 7], "latitude": [13.7, 13.8], "longitude": [100.5, 100.6], "r": [0.0, 1.0]}
    pl.DataFrame(places).with_columns(time_zone=pl.lit("Asia/Bangkok")).write_parquet(
        tmp_path / "restaurant_features.parquet"
    )
    return tmp_path


def write(folder: Path, below: str, **columns: list[object]) -> None:
    place = folder / "train" / below
    place.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(place / "part-0.parquet")


def problems(folder: Path) -> list[str]:
    return [str(problem) for problem in judge(look(folder)).problems]


def test_ids_and_numbers_that_folders_tell_are_what_they_were(folder: Path) -> None:
    for name in FOLDERS:
        write(folder, f"user_id={name}/restaurant_id=-1/distance_m=150.5", click=[0, 1])
        write(folder, f"user_id={name}/restaurant_id=7/distance_m=80", click=[0, 1])
    verdict = judge(look(folder))
    assert [str(problem) for problem in verdict.problems] == []
    reader = verdict.clicks["train"]
    read = [reader.read(part) for part in reader.parts]
    assert sorted({int(rows.user[0]) for rows, _, _ in read}) == [0, 1, 2, 3]
    assert {float(rows.context[0, 0]) for rows, _, _ in read} == {150.5, 80.0}


def test_hives_name_for_null_is_null(folder: Path) -> None:
    write(folder, "user_id=__HIVE_DEFAULT_PARTITION__", restaurant_id=[7, 7], click=[0, 1])
    write(folder, "user_id=12", restaurant_id=[7, 7], click=[0, 1])
    (told,) = problems(folder)
    assert "column user_id: null (2 rows)" in told
    assert judge(look(folder), unknown="skip").problems == []


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("weekday", 7, "outside 0..6"),
        ("hour", 24, "outside 0..23"),
        ("hour", -1, "0..23"),
        ("distance_m", -5, "0..inf"),
    ],
)
def test_context_that_no_request_could_tell_is_a_problem(folder: Path, column: str, value: int, told: str) -> None:
    context = {"distance_m": [5.0, 6.0], "hour": [0, 23], "weekday": [0, 6]}
    write(folder, "", user_id=["12", "12"], restaurant_id=[7, 7], click=[0, 1], **context)
    assert problems(folder) == []
    write(folder, "", user_id=["12", "12"], restaurant_id=[7, 7], click=[0, 1], **(context | {column: [value, 1]}))
    (said,) = problems(folder)
    assert f"column {column}: {told}" in said or told in said


def test_places_that_are_true_and_false_are_no_degrees(folder: Path) -> None:
    write(folder, "", user_id=["12", "12"], restaurant_id=[7, 7], click=[0, 1])
    path = folder / "restaurant_features.parquet"
    pl.read_parquet(path).with_columns(latitude=pl.lit(value=True)).write_parquet(path)
    assert any("column latitude: must hold degrees" in said for said in problems(folder))
