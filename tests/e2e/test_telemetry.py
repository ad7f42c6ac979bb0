"""What the service tells of itself: logs, spans, metrics."""

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import REGISTRY, Metric
from prometheus_client.parser import text_string_to_metric_families

import bento.telemetry.metrics  # noqa: F401 - registers what the service counts
from bento.contract.errors import MISCONFIGURED, OVERLOADED, TABLE
from hexbite.artifact import Artifact
from tests.e2e.conftest import Line, serve
from tests.e2e.homes import folder_of, log_of, with_own_home

HERE = {"latitude": 13.87, "longitude": 100.58, "size": 5}
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STALE_USER = 11
WORKERS = 2

# What a client can put where it might end up in a label, a span or a log line that it does not belong in.
MARKER = "zqxj"


class Collector:
    """A collector of OpenTelemetry's spans over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {one.key: one.value.string_value for one in resource.resource.attributes}
                    collector.services.add(named["service.name"])
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace_id]


class Told(NamedTuple):
    """A service, and the three ways in which it speaks."""

    url: str
    log: Path
    collector: Collector

    def lines(self) -> list[dict[str, Any]]:
        """Every line of the log, each of which must be a JSON object."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def lines_of(self, request_id: str) -> list[dict[str, Any]]:
        """What the log says of one request, its access line last: that is written when the answer has left."""
        found: list[dict[str, Any]] = []

        def is_whole() -> bool:
            found[:] = [line for line in self.lines() if line.get("request_id") == request_id]
            return bool(found) and found[-1]["logger"] == "bentoml.hexbite.access"

        until(is_whole)
        return found


def ask(url: str, user: object = 3, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx.post(f"{url}/recommend/{user}", json=HERE, headers=named, timeout=30)
    assert answer.status_code == status, answer.text
    return answer


def until(whether: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not whether():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def metrics_of(url: str) -> dict[str, Metric]:
    text = httpx.get(f"{url}/metrics", timeout=30).text
    return {metric.name: metric for metric in text_string_to_metric_families(text)}


def value(url: str, sample: str, **labels: str) -> float:
    """The sum of a sample over all that have these labels among theirs."""
    found = [
        one.value
        for metric in metrics_of(url).values()
        for one in metric.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    return sum(found)


@contextmanager
def unreadable(dsn: str) -> Iterator[None]:
    """While reading a user fails in the server: every request is an error of ours that nobody has foreseen."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE users RENAME TO users_kept;"
            "CREATE VIEW users AS SELECT * FROM users_kept WHERE 1 / (user_id - user_id) = 0;"
            "GRANT SELECT ON users TO hexbite_reader"
        )
        try:
            yield
        finally:
            connection.execute("DROP VIEW users; ALTER TABLE users_kept RENAME TO users")


@pytest.fixture(scope="module")
def line(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return with_own_home(line, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def told(line: Line) -> Iterator[Told]:
    """Two workers that tell everything in JSON, to a collector that is there; a shadow; one user whose row is old."""
    collector = Collector()
    settings = {
        "HEXBITE_LOG_FORMAT": "json",
        "HEXBITE_ACCESS_LOG": "true",
        "HEXBITE_SHADOW_MODEL": line.tag,
        "HEXBITE_MAX_FEATURE_AGE_S": "86400",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "BENTOML_CONFIG_OPTIONS": f"services.hexbite.workers={WORKERS}",
    }
    with psycopg.connect(line.dsn, autocommit=True) as connection:
        connection.execute("UPDATE users SET event_ts = now() - interval '9 days' WHERE user_id = %s", (STALE_USER,))
        try:
            with serve({**line.environment, **settings}) as url:
                until(lambda: value(url, "hexbite_model_info", role="primary") == WORKERS)
                yield Told(url, log_of(line, url), collector)
        finally:
            connection.execute("UPDATE users SET event_ts = now() WHERE user_id = %s", (STALE_USER,))
    collector.close()


def test_every_line_of_a_json_log_is_json_whoever_wrote_it(told: Told) -> None:
    ask(told.url)
    httpx.get(f"{told.url}/")
    lines = told.lines()
    for line in lines:
        assert {"time", "level", "logger", "pid", "message"} <= set(line)
    # The framework's part of supervisor and workers, and ours.
    assert {"bentoml.serve", "bentoml.hexbite", "bentoml.hexbite.access"} <= {line["logger"] for line in lines}
    assert len({line["pid"] for line in lines}) >= 1 + WORKERS


def test_the_request_id_of_an_answer_is_in_its_access_line_with_what_it_took(told: Told, line: Line) -> None:
    mine = ask(told.url, x_request_id="abc.1:2-3").headers["x-request-id"]
    assert mine == "abc.1:2-3"
    made = ask(told.url).headers["x-request-id"]
    refused = ask(told.url, "x7", 400).headers["x-request-id"]
    for request_id, status in ((mine, 200), (made, 200), (refused, 400)):
        (said,) = told.lines_of(request_id)
        assert said["logger"] == "bentoml.hexbite.access"
        assert said["status"] == status
        assert said["model"] == line.tag
        assert 0 < said["seconds"] < 5
        assert f"request {request_id}" in said["message"]


def test_an_access_line_names_no_user_and_nothing_else_that_a_client_wrote(told: Told) -> None:
    answer = ask(told.url, 3, x_request_id=f"no id {MARKER}", user_agent=MARKER, referer=MARKER)
    ask(told.url, f"u{MARKER}", 400)
    httpx.get(f"{told.url}/{MARKER}", params={MARKER: MARKER})
    assert told.lines_of(answer.headers["x-request-id"])
    assert MARKER not in told.log.read_text()


def test_an_error_of_ours_is_logged_with_its_traceback_under_the_answers_request_id(told: Told, line: Line) -> None:
    with unreadable(line.dsn):
        answer = ask(told.url, 3, 500)
    assert answer.json()["error"]["code"] == "internal"
    assert "division" not in answer.text
    said = told.lines_of(answer.headers["x-request-id"])
    assert [one["logger"] for one in said] == ["bentoml.hexbite", "bentoml.hexbite.access"]
    assert said[0]["level"] == "ERROR"
    assert "division by zero" in said[0]["exc_info"]
    assert said[1]["status"] == 500
    ask(told.url)


def test_an_answers_spans_are_its_stages_below_the_callers_span(told: Told, line: Line) -> None:
    answer = ask(told.url, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
    until(lambda: told.collector.trace(TRACE_ID))
    spans = told.collector.trace(TRACE_ID)
    assert [span.name for span in spans] == ["cover", "sql", "distance", "score", "order", "POST /recommend"]
    *stages, request = spans
    assert request.parent_span_id.hex() == SPAN_ID
    assert request.kind == Span.SPAN_KIND_SERVER
    attributes = {one.key: one.value.string_value or one.value.int_value for one in request.attributes}
    assert attributes == {
        "http.response.status_code": 200,
        "http.route": "/recommend",
        "hexbite.model": line.tag,
    }
    for stage in stages:
        assert stage.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= request.end_time_unix_nano
    for earlier, later in pairwise(stages):
        assert abs(later.start_time_unix_nano - earlier.end_time_unix_nano) <= 1
    assert abs(request.end_time_unix_nano / 1e9 - time.time()) < 60
    assert told.collector.services == {"hexbite"}
    (said,) = told.lines_of(answer.headers["x-request-id"])
    assert said["trace_id"] == TRACE_ID


def test_a_call_without_a_trace_begins_one_and_a_trace_that_is_not_sampled_is_left_alone(told: Told) -> None:
    alone = ask(told.url).headers["x-request-id"]
    broken = ask(told.url, traceparent="00-zz-zz-01").headers["x-request-id"]
    trace_ids = {told.lines_of(request_id)[0]["trace_id"] for request_id in (alone, broken)}
    assert len(trace_ids) == 2
    until(lambda: all(told.collector.trace(trace_id) for trace_id in trace_ids))
    for trace_id in trace_ids:
        assert told.collector.trace(trace_id)[-1].parent_span_id == b""
    unsampled = ask(told.url, traceparent=f"00-{'ab' * 16}-{SPAN_ID}-00").headers["x-request-id"]
    assert "trace_id" not in told.lines_of(unsampled)[0]
    later = ask(told.url).headers["x-request-id"]
    until(lambda: told.collector.trace(told.lines_of(later)[0]["trace_id"]))
    assert not told.collector.trace("ab" * 16)


def test_every_metric_of_the_service_shows(told: Told) -> None:
    ask(told.url, STALE_USER)
    ask(told.url, "x7", 400)
    httpx.post(f"{told.url}/recommend/3", json=HERE | {"candidate_restaurant_ids": [1, 2, 3]})
    assert httpx.post(f"{told.url}/events", json={"events": []}).status_code == 400
    until(lambda: value(told.url, "hexbite_shadow_total", outcome="scored") > 0)
    until(lambda: value(told.url, "hexbite_connections", state="most") == WORKERS * 8)
    defined = {metric.name: metric for metric in REGISTRY.collect() if metric.name.startswith("hexbite_")}
    assert len(defined) >= 17
    shown = metrics_of(told.url)
    assert {name for name in shown if name.startswith("hexbite_")} == set(defined)
    for name, metric in defined.items():
        assert (shown[name].type, shown[name].documentation) == (metric.type, metric.documentation)
        assert shown[name].samples, name


def test_a_shadow_that_is_the_same_model_agrees_whatever_the_order_of_the_answer(told: Told) -> None:
    before = value(told.url, "hexbite_shadow_overlap_count"), value(told.url, "hexbite_shadow_overlap_sum")
    for user in range(30):
        body = HERE | {"size": 200, "max_dist": 50_000, "sort_dist": user % 2 == 0}
        assert httpx.post(f"{told.url}/recommend/{user}", json=body, timeout=30).status_code == 200
        time.sleep(0.02)
    compared = value(told.url, "hexbite_shadow_overlap_count") - before[0]
    assert compared > 10
    until(lambda: value(told.url, "hexbite_shadow_overlap_count") == value(told.url, "hexbite_shadow_overlap_sum"))


def test_no_label_of_a_metric_and_no_span_takes_a_value_from_a_client(told: Told, line: Line) -> None:
    headers = {"x-request-id": MARKER, "user-agent": MARKER, "host": MARKER, "authorization": MARKER, MARKER: MARKER}
    body = HERE | {MARKER: MARKER}
    with httpx.Client(base_url=told.url, headers=headers, timeout=30) as client:
        client.post(f"/recommend/u{MARKER}", json=body)
        client.post("/recommend/987654321", json=HERE)
        client.post(f"/recommend/3/{MARKER}", json=body, params={MARKER: MARKER})
        client.post("/recommend/3", json=body)
        client.post("/recommend/3", content=MARKER, headers={"content-type": MARKER})
        one = {"event_id": MARKER, "user_id": 987654321, "restaurant_id": 1, "event": MARKER, "request_id": MARKER}
        assert client.post("/events", json={"events": [one | {"event_ts": "2001-01-01T00:00:00Z"}]}).json()["refused"]
        client.post("/events", json={"events": [one], MARKER: MARKER})
        client.post(f"/events/{MARKER}", json={"events": [one]})
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            client.request(method, "/recommend/3", headers={"tracestate": f"{MARKER}=1"})
            client.request(method, f"/{MARKER}")
            client.request(method, "/metrics")
    ended = ask(told.url).headers["x-request-id"]
    shown = httpx.get(f"{told.url}/metrics").text
    assert MARKER not in shown and "987654321" not in shown
    artifact = Artifact.load(folder_of(line, line.tag))
    known = {
        "status": {"200", *map(str, TABLE)},
        "model": {line.tag},
        "fingerprint": {artifact.schema.fingerprint},
        "role": {"primary", "shadow"},
        "stage": {"cover", "store", "distance", "score", "order"},
        "reason": {refusal.code for refusal in (*TABLE.values(), OVERLOADED, MISCONFIGURED)},
        "entity": {"user", "restaurant"},
        "lacks": {"time_zone", "restaurant_key"},
        "state": {"open", "lent", "most"},
        "outcome": {
            *("scored", "dropped", "failed"),
            *("taken", "known", "too_late", "in_the_future", "before_retention"),
        },
    }
    for metric in metrics_of(told.url).values():
        for sample in metric.samples:
            for name, label in sample.labels.items():
                assert name == "le" or label in known[name], sample
    until(lambda: told.collector.trace(told.lines_of(ended)[0]["trace_id"]))
    assert MARKER not in "".join(str(span.attributes) + span.name for span in told.collector.spans)


def test_what_two_workers_count_adds_up_whichever_of_them_tells(told: Told) -> None:
    before = value(told.url, "hexbite_recommend_seconds_count", status="200")
    asked = 60
    answers = [ask(told.url, user) for user in range(asked)]  # a connection each
    pids = {told.lines_of(answer.headers["x-request-id"])[0]["pid"] for answer in answers}
    assert len(pids) == WORKERS
    told_by = [value(told.url, "hexbite_recommend_seconds_count", status="200") - before for _ in range(10)]
    assert told_by == [asked] * 10


def pids_of(told: Told) -> list[int]:
    """The workers that are alive."""
    ready = {line["pid"] for line in told.lines() if line["message"].startswith("ready: model")}
    return [pid for pid in ready if psutil.pid_exists(pid)]


def folder_of_the_run(told: Told) -> Path:
    return Path(psutil.Process(pids_of(told)[0]).environ()["PROMETHEUS_MULTIPROC_DIR"])


def clean(folder: Path, *, is_whole: bool = True) -> None:
    """As who cleans the folder of temporary files does, whoever writes in it meanwhile."""
    if is_whole:
        while folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
    else:
        for file in folder.iterdir():
            file.unlink(missing_ok=True)


def counted(told: Told) -> set[float]:
    """How many answers, by whichever worker tells."""
    return {value(told.url, "hexbite_recommend_seconds_count") for _ in range(10)}


@pytest.mark.parametrize("is_whole", [False, True], ids=["its files", "whole"])
def test_what_was_counted_outlives_the_folder_that_it_is_counted_in(told: Told, is_whole: bool) -> None:
    folder = folder_of_the_run(told)
    (before,) = counted(told)
    for _ in range(2):  # once more, after they were brought back
        clean(folder, is_whole=is_whole)
        assert counted(told) == {before}
        assert value(told.url, "hexbite_connections", state="most") == WORKERS * 8
        for user in range(20):
            ask(told.url, user)
        before += 20
        assert counted(told) == {before}
    until(lambda: (folder / "models.json").exists())


def test_who_starts_in_place_of_a_dead_worker_finds_what_was_settled_in_a_folder_that_was_cleaned(told: Told) -> None:
    clean(folder_of_the_run(told))
    dead, *_ = pids_of(told)
    os.kill(dead, signal.SIGKILL)
    until(lambda: len(set(pids_of(told)) - {dead}) == WORKERS)
    assert httpx.get(f"{told.url}/readyz").status_code == 200
    (before,) = counted(told)
    for user in range(20):
        ask(told.url, user)
    assert counted(told) == {before + 20}


def test_what_cannot_be_told_is_an_error_in_the_one_form(told: Told) -> None:
    broken = folder_of_the_run(told) / "counter_0.db"
    broken.write_bytes(b"\x40" + bytes(7) + b"\x7f" * 56)
    try:
        refused = httpx.get(f"{told.url}/metrics")
    finally:
        broken.unlink()
    assert refused.status_code == 500
    assert refused.json()["error"]["code"] == "internal"
    assert refused.headers["x-request-id"]
    assert httpx.get(f"{told.url}/metrics").status_code == 200


def test_a_killed_workers_gauges_vanish_when_its_successor_is_there(told: Told) -> None:
    def most() -> float:
        return value(told.url, "hexbite_connections", state="most")

    until(lambda: most() == WORKERS * 8)
    counted = value(told.url, "hexbite_recommend_seconds_count")
    ready = [line["pid"] for line in told.lines() if line["message"].startswith("ready: model")]
    os.kill(ready[-1], signal.SIGKILL)

    def successors() -> set[int]:
        return {line["pid"] for line in told.lines() if line["message"].startswith("ready: model")} - set(ready)

    until(successors)
    time.sleep(1.5)  # until it has told its own
    assert most() == WORKERS * 8
    assert value(told.url, "hexbite_model_info", role="primary") == WORKERS
    assert value(told.url, "hexbite_model_info", role="shadow") == WORKERS
    assert 0 < value(told.url, "hexbite_in_flight_limit") <= WORKERS * 64
    assert value(told.url, "hexbite_ready") == 1
    assert value(told.url, "hexbite_recommend_seconds_count") >= counted  # what it counted is not lost


def test_the_service_answers_as_before_when_the_collector_goes_away(told: Told) -> None:
    told.collector.close()
    started = time.monotonic()
    for user in range(30):
        ask(told.url, user)
    time.sleep(1)  # until it has noticed
    assert ask(told.url).elapsed.total_seconds() < 1
    assert time.monotonic() - started < 20
    test_every_line_of_a_json_log_is_json_whoever_wrote_it(told)


class Ended(NamedTuple):
    """What a service in text form left when it ended right after two answers, and what it counted beside `told`."""

    log: str
    answered: httpx.Response
    failed: httpx.Response
    collector: Collector
    counted: float
    counted_beside: float


@pytest.fixture(scope="module")
def ended(line: Line, told: Told) -> Ended:
    collector = Collector()
    settings = {
        "HEXBITE_ACCESS_LOG": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_SERVICE_NAME": "lunch",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
    }
    with serve({**line.environment, **settings}) as url:
        answered = ask(url, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
        with unreadable(line.dsn):
            failed = ask(url, 3, 500)
        counted, beside = (value(each, "hexbite_recommend_seconds_count") for each in (url, told.url))
    collector.close()
    return Ended(log_of(line, url).read_text(), answered, failed, collector, counted, beside)


def test_the_text_form_carries_the_request_id_in_access_lines_and_errors(ended: Ended) -> None:
    lines = ended.log.splitlines()
    (access,) = [line for line in lines if ended.answered.headers["x-request-id"] in line]
    assert re.search(r"\[INFO\] .* POST /recommend 200 in [0-9.]+ ms, hexbite:\w+, request \w+$", access)
    error, access = (line for line in lines if ended.failed.headers["x-request-id"] in line)
    assert "[ERROR]" in error
    assert "POST /recommend 500" in access
    assert "Traceback" in ended.log


def test_the_spans_of_the_last_answers_before_the_end_arrive_too(ended: Ended) -> None:
    assert ended.collector.trace(TRACE_ID)
    assert ended.collector.services == {"lunch"}
    (failed,) = (span for span in ended.collector.spans if span.status.code)
    assert failed.name == "POST /recommend"


def test_two_services_of_one_home_count_each_for_itself(ended: Ended) -> None:
    assert ended.counted == 2
    assert ended.counted_beside > 20
