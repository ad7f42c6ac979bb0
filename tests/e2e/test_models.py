"""Models change while the service runs, share its users, and look over each other's shoulder."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import numpy as np
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hexbite.artifact import Artifact
from hexbite.ranker import Scorer, logits_to_scores
from tests.databases import new_database
from tests.e2e.conftest import ROOT, Line, environment_of, run, serve
from tests.e2e.homes import folder_of, log_of, with_own_home

HERE = {"latitude": 13.87, "longitude": 100.58, "size": 30}
SHARE = 0.3
USERS = 1_000
SOME = range(0, 400, 20)


class Models(NamedTuple):
    """Three models in one store: two of the same features, and one of fewer, whose rows are not loaded at first.

    ``store`` holds the rows of the first two, and takes those of the third beside them; ``line`` keeps without.
    """

    line: Line
    store: Line
    old: str
    new: str
    narrow: str
    narrow_data: Path


@pytest.fixture(scope="module")
def models(line: Line, server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Models:
    line = with_own_home(line, tmp_path_factory.mktemp("home"))
    narrow = tmp_path_factory.mktemp("narrow")
    schema = json.loads((line.data / "schema.json").read_text())
    schema["user"], schema["restaurant"] = schema["user"][:12], schema["restaurant"][1:]
    (narrow / "schema.json").write_text(json.dumps(schema))
    pl.read_parquet(line.data / "user_features.parquet").select(
        "user_id", *(feature["name"] for feature in schema["user"])
    ).write_parquet(narrow / "user_features.parquet")
    pl.read_parquet(line.data / "restaurant_features.parquet").drop("f00").write_parquet(
        narrow / "restaurant_features.parquet"
    )
    for part in ("train", "test"):
        (narrow / part).symlink_to(line.data / part)
    dsn = new_database(server_dsn, "hexbite_models")
    store = replace(line, dsn=dsn, environment={**line.environment, "DATABASE_URL": dsn})

    def train(data: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "training", "train", "--data", str(data), "--epochs", "1", *options]
        return subprocess.Popen(command, cwd=ROOT, env=line.environment, stdout=subprocess.PIPE, text=True)

    trained = [train(line.data, "--seed", "2", "--name", "other"), train(narrow, "--name", "narrow")]
    run("db", "upgrade", environment=store.environment)
    run("db", "load", str(line.data), environment=store.environment)
    new, narrowed = (training.communicate(timeout=120)[0].split()[-1] for training in trained)
    return Models(line, store, line.tag, new, narrowed, narrow)


def ask(url: str, user: int = 7, **fields: Any) -> httpx.Response:
    answer = httpx.post(f"{url}/recommend/{user}", json=HERE | fields, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def command(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def one_line(refused: subprocess.CompletedProcess[str]) -> str:
    """What a command says where it refuses: one line, for a person."""
    assert refused.returncode != 0
    said = (refused.stdout + refused.stderr).strip()
    assert "\n" not in said, said
    return said


class Load:
    """Somebody who asks all the time, over one connection: whether each was answered, and by which model, in order."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._end = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.spoke: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._end.is_set():
                answer = client.post("/recommend/7", json=HERE)
                self.statuses[answer.status_code] += 1
                if not self.spoke or self.spoke[-1] != answer.headers["x-hexbite-model"]:
                    self.spoke.append(answer.headers["x-hexbite-model"])
                self._end.wait(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


class Switched(NamedTuple):
    """A service at whose end stands the old model, and what was seen while it went to the new one and back."""

    url: str
    load: Load
    said: list[str]
    spoke: list[set[str]]
    answers: dict[str, list[Any]]


@pytest.fixture(scope="module")
def switched(models: Models) -> Iterator[Switched]:
    """Two workers that serve what is deployed: nothing at first, which is the newest ``hexbite``."""
    environment = models.store.environment
    workers = {"BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=2"}
    with serve({**environment, **workers}) as url:
        said, spoke, answers = [], [], {}
        with Load(url) as load:
            for tag in (models.new, models.old):
                said.append(run("bento", "deploy", tag, "--url", url, environment=environment).strip())
                spoke.append({ask(url).headers["x-hexbite-model"] for _ in range(20)})
                answers[tag] = [ask(url, user).json() for user in SOME]
            time.sleep(0.2)
        yield Switched(url, load, said, spoke, answers)


def test_under_load_a_deployed_model_takes_over_and_goes_back_and_no_answer_is_lost(
    models: Models, switched: Switched
) -> None:
    assert switched.said[0].endswith(f"deployed {models.new}")
    assert switched.said[1].endswith(f"deployed {models.old}, before {models.new}")
    assert switched.spoke == [{models.new}, {models.old}]
    assert switched.answers[models.new] != switched.answers[models.old]
    assert switched.load.statuses.keys() == {200}
    assert switched.load.statuses[200] > 50
    assert switched.load.spoke == [models.old, models.new, models.old]


def test_what_cannot_be_served_is_not_deployed_and_nothing_changes(models: Models, switched: Switched) -> None:
    environment = models.store.environment
    with Load(switched.url) as load:
        for tag, why in (
            ("hexbite:nosuchversion", "the model store has no 'hexbite:nosuchversion'"),
            (models.narrow, "python -m db load DIR"),
        ):
            refused = command("bento", "deploy", tag, "--url", switched.url, environment=environment)
            assert why in one_line(refused)
            assert refused.returncode == 1
        assert run("bento", "deployed", environment=environment).strip() == models.old
    assert load.statuses.keys() == {200}
    assert load.spoke == [models.old]
    assert [ask(switched.url, user).json() for user in SOME] == switched.answers[models.old]


def test_a_model_of_other_features_answers_on_rows_of_its_own_beside_those_of_the_old_one(
    models: Models, switched: Switched
) -> None:
    environment = models.store.environment
    run("db", "load", str(models.narrow_data), environment=environment)
    assert [ask(switched.url, user).json() for user in SOME] == switched.answers[models.old]
    with Load(switched.url) as load:
        run("bento", "deploy", models.narrow, "--url", switched.url, environment=environment)
        time.sleep(0.2)
    assert load.statuses.keys() == {200}
    assert load.spoke == [models.old, models.narrow]
    artifact = Artifact.load(folder_of(models.store, models.narrow))
    schema = artifact.schema
    explained = ask(switched.url, explain=True).json()
    user = explained["meta"]["user_features"]
    assert tuple(user) == schema.names("user")
    assert len(schema.user) == 12
    for restaurant in explained["restaurants"]:
        assert tuple(restaurant["features"]["restaurant"]) == schema.names("restaurant")
    rows = [
        [*r["features"]["restaurant"].values(), *r["features"]["context"].values()] for r in explained["restaurants"]
    ]
    known, near = (np.array(part, dtype=np.float32) for part in (list(user.values()), rows))
    expected = logits_to_scores(Scorer(artifact.ranker, len(user)).logits(known, near))
    assert [restaurant["score"] for restaurant in explained["restaurants"]] == pytest.approx(expected, abs=1e-9)


def test_a_share_of_users_is_answered_by_another_model_as_it_would_alone_whoever_looks_on(
    models: Models, switched: Switched
) -> None:
    settings = {
        "HEXBITE_MODEL": models.old,
        "HEXBITE_SPLIT_MODEL": models.new,
        "HEXBITE_SPLIT_SHARE": str(SHARE),
        "HEXBITE_SHADOW_MODEL": models.narrow,
    }
    small = HERE | {"size": 1, "max_dist": 500}

    def who_speaks(client: httpx.Client, users: int) -> list[str]:
        """The model of each user; some users' answers must be those of that model where it served alone."""
        for number, user in enumerate(SOME):
            answer = client.post(f"/recommend/{user}", json=HERE)
            assert answer.json() == switched.answers[answer.headers["x-hexbite-model"]][number]
        answers = [client.post(f"/recommend/{user}", json=small) for user in range(users)]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.headers["x-hexbite-model"] for answer in answers]

    # A shadow whose rows are not there makes the service not ready, and changes no answer.
    with (
        serve({**models.line.environment, **settings}, ready=False) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        assert client.get("/readyz").status_code == 503
        spoke = who_speaks(client, USERS)
        log = log_of(models.line, url).read_text()
    assert "not ready: the store has no features of the model's schema" in log
    assert "python -m db load DIR" in log
    assert set(spoke) == {models.old, models.new}
    assert abs(spoke.count(models.new) / USERS - SHARE) < 0.06  # four standard deviations

    # Started again, where they are: the same users, and a shadow that is heard of in the metrics alone.
    run("db", "load", str(models.narrow_data), environment=models.store.environment)
    with (
        serve({**models.store.environment, **settings}) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        assert who_speaks(client, USERS // 5) == spoke[: USERS // 5]
        assert len({client.post("/recommend/7", json=HERE).content for _ in range(5)}) == 1
        for _ in range(20):  # one at a time is scored
            client.post("/recommend/7", json=HERE)
            time.sleep(0.02)
        counts = shadow_counts(url)
    assert counts["hexbite_shadow_total failed"] == 0
    scored = counts["hexbite_shadow_total scored"]
    assert scored > 10
    assert counts["hexbite_shadow_overlap_count"] == pytest.approx(scored, abs=1)
    assert scored <= counts["hexbite_shadow_score_difference_count"] <= 30 * (scored + 1)
    assert 0 < counts["hexbite_shadow_overlap_sum"] <= scored + 1
    assert counts["hexbite_shadow_score_difference_sum"] > 0


def shadow_counts(url: str) -> dict[str, float]:
    counts = {f"hexbite_shadow_total {outcome}": 0.0 for outcome in ("scored", "failed", "dropped")}
    for metric in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in metric.samples:
            if sample.name.startswith("hexbite_shadow") and "le" not in sample.labels:
                counts[" ".join((sample.name, *sample.labels.values()))] = sample.value
    return counts


def test_a_start_without_a_model_or_with_half_a_split_ends_with_a_line_that_says_what_to_do(
    models: Models, tmp_path: Path
) -> None:
    serve_ = ("bentoml", "serve", "--port", "0")
    said = one_line(command(*serve_, environment=environment_of(models.line.dsn, tmp_path)))
    assert "'hexbite:latest'" in said and "python -m training train" in said
    environment = {**models.line.environment, "HEXBITE_SPLIT_MODEL": models.new}
    said = one_line(command(*serve_, environment=environment))
    assert "HEXBITE_SPLIT_MODEL and HEXBITE_SPLIT_SHARE are set together or not at all" in said
