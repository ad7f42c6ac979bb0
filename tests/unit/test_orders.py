"""The drawn order log: what a map is tried on."""

from pathlib import Path

import polars as pl
import pytest

from data.orders import LIST_LENGTH, Sizes, write_orders


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    write_orders(folder, Sizes(customers=200, merchants=150, days=3, lists_a_day=100), seed=1)
    return folder


def _events(shop: Path) -> pl.DataFrame:
    return pl.read_parquet(shop / "events", glob=True, hive_partitioning=True)


def test_every_event_is_of_a_customer_and_a_merchant_that_have_a_row(shop: Path) -> None:
    events = _events(shop)
    customers = pl.read_csv(shop / "customers.csv", separator=";")
    merchants = pl.read_ndjson(shop / "merchants.jsonl")
    assert events.join(customers, on="customer_id", how="anti").is_empty()
    assert events.join(merchants, on="merchant_id", how="anti").is_empty()
    assert customers["customer_id"].n_unique() == 200
    assert merchants["merchant_id"].n_unique() == 150


def test_a_list_shows_a_merchant_once_and_what_is_chosen_was_shown_before(shop: Path) -> None:
    events = _events(shop)
    shown = events.filter(event="impression")
    assert shown.select("request_id", "merchant_id").is_unique().all()
    assert shown.group_by("request_id").len()["len"].max() == LIST_LENGTH
    assert shown["rank"].min() == 1
    chosen = events.filter(pl.col("event") != "impression")
    assert chosen["rank"].null_count() == len(chosen) > 50
    found = chosen.join(shown, on=["request_id", "merchant_id"], suffix="_shown")
    assert len(found) == len(chosen)
    assert (found["ts"] > found["ts_shown"]).all()
    ordered = events.filter(event="order")
    assert ordered["request_id"].is_unique().all()
    assert ordered.join(events.filter(event="click"), on=["request_id", "merchant_id"], how="anti").is_empty()


def test_places_further_up_are_chosen_more_often(shop: Path) -> None:
    events = _events(shop)
    clicks = events.filter(event="click").join(
        events.filter(event="impression"), on=["request_id", "merchant_id"], suffix="_shown"
    )
    assert (clicks["rank_shown"] <= LIST_LENGTH // 2).mean() > 0.55


def test_a_seed_gives_the_same_files_and_another_gives_others(shop: Path, tmp_path: Path) -> None:
    sizes = Sizes(customers=200, merchants=150, days=3, lists_a_day=100)
    write_orders(tmp_path / "again", sizes, seed=1)
    write_orders(tmp_path / "other", sizes, seed=2)
    for path in shop.rglob("*.*"):
        if path.is_file():
            same = (tmp_path / "again" / path.relative_to(shop)).read_bytes()
            assert path.read_bytes() == same, path
    assert not _events(shop).equals(_events(tmp_path / "other"))


def test_a_city_with_fewer_merchants_than_squares_has_shorter_lists(tmp_path: Path) -> None:
    write_orders(tmp_path / "town", Sizes(customers=20, merchants=30, days=1, lists_a_day=50), seed=0)
    shown = _events(tmp_path / "town").filter(event="impression")
    assert shown.select("request_id", "merchant_id").is_unique().all()
    assert 0 < shown.group_by("request_id").len()["len"].max() < LIST_LENGTH
