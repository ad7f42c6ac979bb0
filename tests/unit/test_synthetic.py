"""The drawn world: its shape, its seed, and a ceiling that is true."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.synthetic import BOX, RESTAURANT_WIDTH, USER_WIDTH, Sizes, write_world
from hexbite.errors import DataError

SIZES = Sizes(users=500, restaurants=1_200, clicks=40_000, test_clicks=6_000, requests=100)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_world(tmp_path / name, SIZES, seed=seed, files=3)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    ours, others = digests(tmp_path / "a"), digests(tmp_path / "c")
    assert set(ours) == set(others)
    assert [name for name in ours if ours[name] == others[name]] == ["schema.json"]


def test_files_have_the_columns_and_ranges_of_the_task(tmp_path: Path) -> None:
    write_world(tmp_path / "w", SIZES, seed=1, files=3)
    users = pl.read_parquet(tmp_path / "w" / "user_features.parquet")
    restaurants = pl.read_parquet(tmp_path / "w" / "restaurant_features.parquet")
    assert users.columns == ["user_id", *(f"f{i:02}" for i in range(USER_WIDTH))]
    assert restaurants.columns == [
        "restaurant_id",
        "latitude",
        "longitude",
        *(f"f{i:02}" for i in range(RESTAURANT_WIDTH)),
    ]
    south, north, west, east = BOX
    assert restaurants["latitude"].is_between(south, north).all()
    assert restaurants["longitude"].is_between(west, east).all()
    clicks = pl.read_parquet(tmp_path / "w" / "train" / "*.parquet")
    assert clicks.schema == {"user_id": pl.Int64, "restaurant_id": pl.Int64, "click": pl.Int64}
    assert len(clicks) == 40_000
    assert len(list((tmp_path / "w" / "train").glob("train_??.parquet"))) == 3
    assert clicks["user_id"].is_between(0, 499).all()
    requests = pl.read_parquet(tmp_path / "w" / "requests.parquet")
    assert requests["user_id"].n_unique() == 100
    assert requests["candidate_restaurant_ids"].list.n_unique().unique().to_list() == [1_000]
    assert set(requests["size"]) <= set(range(100, 1_001, 100))
    assert set(requests["max_dist"]) <= set(range(5_000, 10_001, 1_000))
    assert requests["sort_dist"].sum() == 50


def test_the_ceiling_is_what_the_true_score_reaches(tmp_path: Path) -> None:
    world = write_world(tmp_path / "w", SIZES, seed=2)
    tables = {
        name: pl.read_parquet(tmp_path / "w" / f"{name}_features.parquet")
        .select(f"f{i:02}" for i in range(RESTAURANT_WIDTH))
        .to_numpy()
        for name in ("user", "restaurant")
    }
    test = pl.read_parquet(tmp_path / "w" / "test" / "*.parquet")
    scores = (tables["user"][test["user_id"]].astype(float) * tables["restaurant"][test["restaurant_id"]]).sum(axis=1)
    clicks = test["click"].to_numpy() == 1
    assert world["ceiling"]["accuracy"] == pytest.approx(((scores > 0) == clicks).mean(), abs=1e-3)
    wins = (scores[clicks][:, None] > scores[~clicks][None, :]).mean()
    assert world["ceiling"]["auc"] == pytest.approx(wins, abs=1e-3)
    assert world["ceiling"]["click_rate"] == pytest.approx(clicks.mean())


def test_a_file_depends_on_the_seed_and_its_place_alone(tmp_path: Path) -> None:
    write_world(tmp_path / "short", SIZES, seed=5, files=4)
    longer = Sizes(users=500, restaurants=1_200, clicks=50_000, test_clicks=6_000, requests=100)
    write_world(tmp_path / "long", longer, seed=5, files=5)
    ours, others = digests(tmp_path / "short"), digests(tmp_path / "long")
    for name in ("train/train_00.parquet", "train/train_03.parquet", "user_features.parquet"):
        assert ours[name] == others[name]


def test_a_folder_that_these_commands_did_not_write_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"):
        write_world(tmp_path / "w", SIZES, seed=1)
    assert (tmp_path / "w" / "thesis.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_an_interrupted_run_leaves_the_old_world_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_world(tmp_path / "w", SIZES, seed=1)
    before = digests(tmp_path / "w")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data.synthetic._write_clicks", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_world(tmp_path / "w", SIZES, seed=2)
    assert digests(tmp_path / "w") == before
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_sizes_out_of_range_are_refused(tmp_path: Path) -> None:
    for sizes in (Sizes(users=0), Sizes(restaurants=-1), Sizes(clicks=0)):
        with pytest.raises(DataError, match="must be 1 or more"):
            write_world(tmp_path / "w", sizes, seed=1)
    with pytest.raises(DataError, match="files must be"):
        write_world(tmp_path / "w", Sizes(clicks=5), seed=1, files=6)
    assert not (tmp_path / "w").exists()


def test_requests_are_of_the_right_mix_for_few_users_and_restaurants(tmp_path: Path) -> None:
    world = write_world(tmp_path / "w", Sizes(5, 7, 50, 50, 100), seed=1)
    requests = pl.read_parquet(tmp_path / "w" / "requests.parquet")
    assert world["sizes"]["requests"] == len(requests) == 5
    assert requests["candidate_restaurant_ids"].list.len().to_list() == [7] * 5
    assert np.all(requests["user_id"].sort().to_numpy() == np.arange(5))
