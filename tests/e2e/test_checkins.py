"""The main job on real input: New York's check-ins, from the file to people around Times Square."""

import json
from pathlib import Path

import httpx
import polars as pl
import pytest

from tests.databases import new_database
from tests.e2e.conftest import environment_of, run, serve

TIMES_SQUARE = {"latitude": 40.758, "longitude": -73.9855, "max_dist": 2_000.0}


@pytest.fixture(scope="module")
def gowalla(shared: Path) -> Path:
    folder = shared / "real" / "gowalla_nyc"
    if not folder.exists():
        pytest.skip(f"{folder} is absent: the test on real check-ins needs it")
    return folder


@pytest.mark.slow
def test_real_visits_are_ranked_better_than_by_popularity_or_by_distance(
    gowalla: Path, server_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "nyc"
    environment = environment_of(new_database(server_dsn, "hexbite_checkins"), tmp_path)
    files = [str(gowalla / "checkins.tsv.gz"), str(data), "--venues", str(gowalla / "venues.tsv.gz")]
    # Half the places left alone and half the later visits: the same verdict in half the time.
    run("data", "checkins", *files, "--negatives", "10", "--split", "0.9", environment=environment)
    run("data", "describe", str(data), environment=environment)
    run("db", "upgrade", environment=environment)
    run("db", "load", str(data), environment=environment)
    split = json.loads((data / "source.json").read_text())["split"]
    run("db", "events", str(data / "events"), "--before", split, environment=environment)
    run("training", "train", "--data", str(data), environment=environment)
    report = tmp_path / "evaluation.json"
    printed = run("training", "evaluate", "--data", str(data), "--json", str(report), environment=environment)
    with capsys.disabled():
        print(f"\n{printed}")
    figures = json.loads(report.read_text())
    model, popular, nearest = (figures["ranking"][name] for name in ("model", "most_visited", "nearest"))
    for metric in ("hit@10", "ndcg@10"):
        assert model[metric]["low"] > popular[metric]["high"]
        assert model[metric]["low"] > nearest[metric]["high"]
    assert model["hit@10"]["value"] >= 0.40
    assert figures["clicks"]["auc"]["model"]["low"] > figures["clicks"]["auc"]["nearest"]["high"]

    people = pl.read_parquet(data / "user_features.parquet")["user_id"].to_list()[:50]
    with serve(environment) as url, httpx.Client(base_url=url, timeout=30) as client:
        answers = {}
        for user_id in people:
            answer = client.post(f"/recommend/{user_id}", json=TIMES_SQUARE | {"at": split})
            assert answer.status_code == 200, answer.text
            answers[user_id] = [restaurant["id"] for restaurant in answer.json()["restaurants"]]
            assert len(answers[user_id]) == 20
        # What people did reaches the ranking: not everybody gets the same twenty.
        assert len({tuple(ids) for ids in answers.values()}) > len(people) // 2
        explained = client.post(f"/recommend/{people[0]}", json=TIMES_SQUARE | {"explain": True}).json()
        assert explained["meta"]["counts"]["in_range"] > 1_000
        for restaurant in explained["restaurants"]:
            distance_m = restaurant["features"]["context"]["distance_m"]
            assert distance_m == pytest.approx(restaurant["displacement"], rel=1e-6)
