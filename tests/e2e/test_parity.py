"""What a model says offline and what it says over HTTP is the same, for each kind of network."""

from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from hexbite.networks import NETWORKS
from tests.e2e.conftest import Line, run, serve


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "ranknet" else pytest.mark.slow) for kind in sorted(NETWORKS)]
)
def test_scores_over_http_are_those_of_the_command(line: Line, kind: str, tmp_path: Path) -> None:
    tag = line.tag
    if kind != "ranknet":  # which the line was trained as
        options = ["--data", str(line.data), "--model", kind, "--epochs", "1"]
        tag = run("training", "train", *options, environment=line.environment).split()[-1]
    users = pl.read_parquet(line.data / "user_features.parquet")["user_id"].head(20).to_list()
    places = pl.read_parquet(line.data / "restaurant_features.parquet")["restaurant_id"].to_list()
    where = {"latitude": 13.87, "longitude": 100.58, "max_dist": 20_000, "size": 1_000}
    seen = []
    with serve({**line.environment, "HEXBITE_MODEL": tag}) as url, httpx.Client(base_url=url) as client:
        for number, user in enumerate(users):
            # No candidates, few and many: the three ways of a request.
            asked = [None, places[:50], places[:2_000]][number % 3]
            answer = client.post(f"/recommend/{user}", json=where | {"candidate_restaurant_ids": asked})
            assert answer.status_code == 200
            assert answer.headers["x-hexbite-model"] == tag
            found = answer.json()["restaurants"]
            seen += [(user, one["id"], one["score"], one["displacement"]) for one in found]
    pairs, scored = tmp_path / "pairs.parquet", tmp_path / "scored.parquet"
    names = ["user_id", "restaurant_id", "seen", "displacement"]
    frame = pl.DataFrame(seen, schema=names, orient="row")
    assert len(frame) > 3_000
    frame.write_parquet(pairs)
    options = ["--data", str(line.data), "--pairs", str(pairs), "--out", str(scored), "--model", tag]
    run("training", "score", *options, environment=line.environment)
    both = frame.join(pl.read_parquet(scored), on=["user_id", "restaurant_id"], how="left")
    assert both["score"].null_count() == 0
    assert np.abs(both["score"].to_numpy() - both["seen"].to_numpy()).max() < 1e-5
    assert both["score"].n_unique() > 1_000
