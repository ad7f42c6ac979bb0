"""Alerts, dashboard and runbooks against the metrics that there are: a query of a metric that is gone says nothing."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

import bento.telemetry.metrics as bento_metrics

ROOT: Final = Path(__file__).parents[2]
OPS: Final = ROOT / "ops"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"

#: What Prometheus adds to each sample that it scrapes.
SCRAPED: Final = {"job", "instance"}
#: Series that Prometheus writes by itself.
PROMETHEUS_OWN: Final = {"up": SCRAPED, "ALERTS": {"alertname", "alertstate", "severity", "entity", *SCRAPED}}

RULES: Final = [rule for group in yaml.safe_load((OPS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS: Final = {rule["alert"]: rule for rule in RULES if "alert" in rule}
DASHBOARD: Final = json.loads((OPS / "dashboard.json").read_text())
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; Debian has it in the package prometheus"
)


def exposed() -> dict[str, MetricWrapperBase]:
    """Sample name -> the collector of `bento.telemetry.metrics` that exposes it."""
    assert bento_metrics.__name__ == "bento.telemetry.metrics"  # imported for what it registers
    samples: dict[str, MetricWrapperBase] = {}
    for collector in list(REGISTRY._collector_to_names):
        if not isinstance(collector, MetricWrapperBase) or not collector._name.startswith("hexbite_"):
            continue
        suffixes = {Counter: ["_total"], Histogram: ["_bucket", "_sum", "_count"]}.get(type(collector), [""])
        samples |= {collector._name + suffix: collector for suffix in suffixes}
    return samples


EXPOSED: Final = exposed()


def labels_of(sample: str) -> set[str]:
    collector = EXPOSED[sample]
    labels = {*collector._labelnames, *SCRAPED}
    if isinstance(collector, Histogram) and sample.endswith("_bucket"):
        labels.add("le")
    # A gauge of each worker's own carries its process id.
    if getattr(collector, "_multiprocess_mode", "") in ("all", "liveall"):
        labels.add("pid")
    return labels


@dataclass
class Selector:
    """A metric in an expression, with what selects it and by what it is aggregated, innermost first."""

    metric: str
    matchers: dict[str, str]
    groupings: list[set[str]]


class Parsed(NamedTuple):
    selectors: list[Selector]
    matched: set[str]  # labels of on, ignoring, group_left, group_right


_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<range>\[[^]]*\])|(?P<number>\d[\w.]*)"""
    r"""|(?P<name>[A-Za-z_:][\w:]*)|(?P<sign>[=!]~|[=!<>]=|[-{}(),=<>+*/%^@])|(?P<space>\s+)"""
)
_AGGREGATIONS: Final = {"sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "quantile"}
_MATCHINGS: Final = {"on", "ignoring", "group_left", "group_right"}
_WORDS: Final = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def parse(expression: str) -> Parsed:
    """The metrics and labels of a PromQL expression; its grammar is promtool's to check."""
    tokens = list(tokenize(expression))
    selectors: list[Selector] = []
    matched: set[str] = set()
    opened: list[set[str] | None] = []  # for each parenthesis: the labels that an aggregation keeps, None for another
    at = 0

    def label_list() -> set[str]:
        nonlocal at
        assert tokens[at] == "(", expression
        end = tokens.index(")", at)
        labels = {token for token in tokens[at + 1 : end] if token != ","}
        at = end + 1
        return labels

    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token == "(":
            opened.append(None)
        elif token == ")":
            opened.pop()
        elif token in _AGGREGATIONS:
            kept: set[str] = set()
            if tokens[at] == "by":
                at += 1
                kept = label_list()
            assert tokens[at] == "(", f"write sum by (label) (...), for this test to read it: {expression}"
            at += 1
            opened.append(kept)
        elif token in _MATCHINGS:
            if at < len(tokens) and tokens[at] == "(":
                matched |= label_list()
        elif re.fullmatch(r"[A-Za-z_:][\w:]*", token) and token not in _WORDS and tokens[at : at + 1] != ["("]:
            matchers = {}
            if tokens[at : at + 1] == ["{"]:
                end = tokens.index("}", at)
                inside = [part for part in tokens[at + 1 : end] if part != ","]
                matchers = {inside[i]: inside[i + 2][1:-1] for i in range(0, len(inside), 3)}
                at = end + 1
            selectors.append(Selector(token, matchers, [kept for kept in reversed(opened) if kept is not None]))
    assert not opened, expression
    return Parsed(selectors, matched)


def tokenize(expression: str) -> Iterator[str]:
    text = expression.replace("$__rate_interval", "5m")
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None, f"cannot read {text[at:]!r} of {expression!r}"
        if match.lastgroup not in ("space", "range"):
            yield match[0]
        at = match.end()


#: Recorded series -> its labels: those that the expression's outermost aggregation keeps.
RECORDED: Final = {
    rule["record"]: set.union(set(), *(s.groupings[-1] for s in parse(rule["expr"]).selectors if s.groupings))
    for rule in RULES
    if "record" in rule
}


def known_labels(metric: str) -> set[str]:
    if metric in EXPOSED:
        return labels_of(metric)
    known = PROMETHEUS_OWN | RECORDED
    assert metric in known, f"no metric {metric}"
    return known[metric]


def result_labels(expression: str) -> set[str]:
    """Labels that a sample of the expression can have. Fails where a metric or a label of it does not exist."""
    parsed = parse(expression)
    assert parsed.selectors, expression
    result: set[str] = set()
    every: set[str] = set()
    for selector in parsed.selectors:
        labels = known_labels(selector.metric)
        every |= labels
        assert selector.matchers.keys() <= labels, f"{selector.metric} has no {selector.matchers.keys() - labels}"
        for grouping in selector.groupings:
            assert grouping <= labels, f"{selector.metric} has no {grouping - labels} left, in {expression}"
            labels = grouping
        result |= labels
    assert parsed.matched <= every, f"no label {parsed.matched - every} in {expression}"
    return result


def dashboard_queries() -> list[tuple[str, str, str]]:
    """Panel, expression, legend."""
    queries = [(p["title"], t["expr"], t.get("legendFormat", "")) for p in PANELS for t in p["targets"]]
    return queries + [(a["name"], a["expr"], a["titleFormat"]) for a in DASHBOARD["annotations"]["list"]]


def runbook_queries() -> list[tuple[str, str]]:
    """Runbook, expression: the lines of its promql blocks."""
    return [
        (page.name, line)
        for page in sorted(RUNBOOKS.glob("*.md"))
        for block in re.findall(r"^```promql\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    ]


def all_queries() -> list[str]:
    return [
        *(rule["expr"] for rule in RULES),
        *(expression for _, expression, _ in dashboard_queries()),
        *(expression for _, expression in runbook_queries()),
    ]


def test_the_reader_of_queries_sees_what_does_not_exist() -> None:
    # What it lets pass is only worth something where it refuses.
    assert result_labels('sum by (status) (rate(hexbite_recommend_seconds_count{status=~"5.."}[5m]))') == {"status"}
    for wrong in (
        "rate(hexbite_recommend_seconds_total[5m])",
        'hexbite_ready{replica="a"}',
        "sum by (reason) (rate(hexbite_recommend_seconds_count[5m]))",
        "sum by (status) (sum by (model) (rate(hexbite_recommend_seconds_count[5m])))",
        "histogram_quantile(0.5, sum by (le) (rate(hexbite_recommend_seconds_count[5m])))",
        "hexbite_ready / on (replica) hexbite_in_flight",
    ):
        with pytest.raises(AssertionError):
            result_labels(wrong)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert", rule.get("record")))
def test_a_rule_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    labels = result_labels(rule["expr"])
    told = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule.get("annotations", {}))))
    assert told <= labels, f"its annotations tell {told - labels}, which it does not have"


@pytest.mark.parametrize(("panel", "expression", "legend"), dashboard_queries())
def test_a_panel_asks_for_metrics_and_labels_that_exist(panel: str, expression: str, legend: str) -> None:
    assert set(re.findall(r"{{(\w+)}}", legend)) <= result_labels(expression)


@pytest.mark.parametrize(("runbook", "expression"), runbook_queries())
def test_a_runbook_asks_for_metrics_and_labels_that_exist(runbook: str, expression: str) -> None:
    result_labels(expression)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {s.metric for _, expression, _ in dashboard_queries() for s in parse(expression).selectors}
    shown |= {s.metric for r in RULES if r.get("record") in shown for s in parse(r["expr"]).selectors}
    assert {c._name for c in EXPOSED.values()} == {EXPOSED[name]._name for name in shown & EXPOSED.keys()}


def test_a_matched_value_is_one_that_the_code_writes() -> None:
    written = {
        node.value
        for folder in ("bento", "db")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for selector in (s for expression in all_queries() for s in parse(expression).selectors):
        if selector.metric not in EXPOSED:
            continue
        for label, pattern in selector.matchers.items():
            values = set(pattern.split("|"))
            if label == "le":
                collector = EXPOSED[selector.metric]
                assert isinstance(collector, Histogram)
                bounds = map(floatToGoString, collector._upper_bounds)  # how a bound is written
                assert values <= set(bounds), selector
            elif label not in {"instance", "status"}:
                assert values <= written, f"{selector.metric}: nothing writes {label} {values - written}"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_all_that_who_is_paged_needs(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    page = re.sub(r"(?<!^)([A-Z])", r"-\1", name.removeprefix("Hexbite")).lower()
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{page}.md"
    text = (RUNBOOKS / f"{page}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert f"**{alert['labels']['severity']}.**" in text


def test_a_runbook_has_an_alert() -> None:
    pages = {f"docs/runbooks/{page.name}" for page in RUNBOOKS.glob("*.md")}
    assert pages == {alert["annotations"]["runbook_url"] for alert in ALERTS.values()}


def test_a_runbook_names_only_targets_that_make_has() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = "\n".join(page.read_text() for page in RUNBOOKS.glob("*.md"))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", pages, re.MULTILINE))
    assert named
    assert named <= targets


def test_every_alert_is_seen_firing_and_seen_silent() -> None:
    tests = yaml.safe_load((OPS / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == ALERTS.keys()
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == ALERTS.keys()


def test_panels_can_be_read_and_need_nothing_from_elsewhere() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        title = panel["title"]
        assert panel["description"], title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"]), title
        assert panel["type"] in ("table", "heatmap") or panel["fieldConfig"]["defaults"]["unit"], title
    assert "://" not in json.dumps(DASHBOARD)
    for one, other in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)


def test_grafana_finds_prometheus_and_prometheus_its_rules() -> None:
    config = yaml.safe_load((OPS / "prometheus.yml").read_text())
    assert all((OPS / file).exists() for file in config["rule_files"])
    jobs = {scrape["job_name"] for scrape in config["scrape_configs"]}
    asked = {s.matchers["job"] for query in all_queries() for s in parse(query).selectors if "job" in s.matchers}
    assert asked <= jobs
    provisioning = OPS / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "hexbite.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def promtool(*arguments: str | Path) -> None:
    finished = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@needs_promtool
def test_promtool_accepts_rules_and_configuration() -> None:
    promtool("check", "rules", OPS / "alerts.yml")
    promtool("check", "config", OPS / "prometheus.yml")


@needs_promtool
@pytest.mark.slow
def test_alerts_fire_and_stay_silent_as_promtool_computes_them() -> None:
    promtool("test", "rules", OPS / "alerts_test.yml")


@needs_promtool
def test_promtool_accepts_the_queries_of_dashboard_and_runbooks(tmp_path: Path) -> None:
    queries = [expression for _, expression, _ in dashboard_queries()]
    queries += [expression for _, expression in runbook_queries()]
    rules = [
        {"record": f"query:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", file)
