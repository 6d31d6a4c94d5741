"""What ships for monitoring, by the real Prometheus: its rules, the dashboard, and alerts in an outage."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from config.stack import ROOT
from config.stack.loopback import direct
from config.stack.process import free_port, wait_until
from loadtests.testbed.site import Site, running_site

FOLDER = ROOT / "config" / "deploy" / "monitoring"
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [expr for _, expr in TARGETS]
OF_PROMETHEUS = {"up", "ALERTS"}
# tests/config/postgres/test_replica.py finds these.
OF_A_REPLICA = {"postgres_replica_lag_seconds", "postgres_replica_used"}
# Whatever else may be wrong where this site gets no processor time.
OF_A_BUSY_MACHINE = {"SiteDown", "RequestsSlow", "CacheNotTrusted"}
WORDS = {"by", "and", "or", "unless", "le", "vector"}


def program(name: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} is not on PATH: apt-get install prometheus"
    return path


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in PromQL: what is neither a function, a label, a string nor a word."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", " ", bare)
    names = set(re.findall(r"\b[a-zA-Z_][\w:]*\b(?!\s*\()", bare))
    return names - WORDS - OF_PROMETHEUS


def get(url: str) -> Any:
    with direct.open(url, timeout=10) as reply:  # of whatever status
        return reply.read().decode()


class TestRules:
    def test_are_accepted_by_promtool(self):
        assert "21 rules found" in promtool("check", "rules", "alerts.yml")

    def test_are_named_by_a_valid_configuration(self):
        assert "SUCCESS" in promtool("check", "config", "prometheus.yml")

    def test_fire_and_keep_silent_where_they_should(self):
        promtool("test", "rules", "alerts_test.yml")

    def test_each_is_tested_both_ways(self):
        tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
        cases = [case for test in tests for case in test["alert_rule_test"]]
        firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
        silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
        # One of two instances fires, and the other does not.
        both = {
            case["alertname"]
            for case in cases
            if len(case.get("exp_alerts", [])) == 1
            and "instance" in case["exp_alerts"][0]["exp_labels"]
        }

        names = {rule["alert"] for rule in ALERTS}
        assert firing == names
        assert silent | both == names

    def test_each_says_how_grave_it_is_and_what_it_means(self):
        for rule in ALERTS:
            assert rule["labels"]["severity"] in ("critical", "warning"), rule
            assert rule["annotations"]["summary"], rule

    def test_each_has_its_row_in_the_documents(self):
        rows = re.findall(
            r"^\| `(\w+)` \| (?:critical|warning)",
            (ROOT / "docs" / "operations.md").read_text(),
            re.MULTILINE,
        )

        assert rows == [rule["alert"] for rule in ALERTS]


class TestDashboard:
    def test_has_the_address_that_the_documents_name(self):
        assert DASHBOARD["uid"] == "trilith"

    def test_no_two_panels_lie_on_one_another(self):
        cells = [
            (x, y)
            for panel in DASHBOARD["panels"]
            for at in [panel["gridPos"]]
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]

        assert len(set(cells)) == len(cells)
        assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])

    def test_shows_whatever_an_alert_is_about(self):
        shown = set().union(*(metrics_in(expr) for _, expr in TARGETS))
        watched = set().union(*(metrics_in(rule["expr"]) for rule in ALERTS))

        # Of these it shows that something is wrong, by the number of alerts.
        assert watched - shown == {
            "activity_failed_total",
            "cachelayer_thread_failures_total",
            "postgres_read_only",
            "postgres_replica_used",
        }


@contextmanager
def traffic(site: Site) -> Iterator[None]:
    """Read notes without end, whatever becomes of it."""
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.05):
            with suppress(OSError):
                get(f"{site.url}/api/v1/notes?limit=2")

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        ended.set()
        reading.join()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site("monitoring", notes=100, workers=2, threads=4) as running:
        for path in ("notes?limit=2", "profiles/nobody", "activity/recent"):
            for _ in range(20):
                get(f"{running.url}/api/v1/{path}")
        with traffic(running):
            yield running


@pytest.fixture(scope="module")
def prometheus(site, tmp_path_factory) -> Iterator[str]:
    """The URL of a Prometheus as it ships, but for the intervals and the address of the site."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    # A scrape may take as long as the interval, also while a store is down and the machine is busy.
    configuration["global"] = {"scrape_interval": "3s", "evaluation_interval": "1s"}
    [job] = configuration["scrape_configs"]
    job["static_configs"][0]["targets"] = [urlsplit(site.url).netloc]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    rules = re.sub(r"for: \d+[ms]$", "for: 4s", (FOLDER / "alerts.yml").read_text(), flags=re.M)
    (folder / "alerts.yml").write_text(rules)
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={urlsplit(url).netloc}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: value_of(url, "min_over_time(up[10s])") == 1, 60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def query(url: str, expression: str) -> list[Any]:
    reply = get(f"{url}/api/v1/query?{urlencode({'query': expression})}")
    result: list[Any] = json.loads(reply)["data"]["result"]
    return result


def value_of(url: str, expression: str) -> float | None:
    with suppress(OSError, ValueError):  # it starts
        for row in query(url, expression):
            return float(row["value"][1])
    return None


def firing(url: str) -> set[str]:
    alerts = json.loads(get(f"{url}/api/v1/alerts"))["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


class TestLive:
    def test_each_metric_is_one_that_the_site_has(self, site):
        live = {
            sample.name
            for family in text_string_to_metric_families(get(f"{site.url}/metrics"))
            for sample in family.samples
        }
        named = set().union(*map(metrics_in, EXPRESSIONS))

        assert len(named) > 30
        assert named - live == OF_A_REPLICA

    @pytest.mark.parametrize(("title", "expression"), TARGETS)
    def test_each_panel_shows_something(self, prometheus, title, expression):
        if metrics_in(expression) & OF_A_REPLICA:
            assert query(prometheus, "absent(postgres_replica_lag_seconds)")
            return
        concrete = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")

        assert wait_until(lambda: query(prometheus, concrete), 60), title

    @pytest.mark.parametrize(
        ("store", "expected"),
        [
            ("redis", {"CacheBreakerOpen", "CacheNotTrusted"}),
            ("mongodb", {"MongoDBBreakerOpen"}),
            ("postgres", {"PostgreSQLBreakerOpen", "CacheNotTrusted"}),
        ],
    )
    def test_an_outage_fires_its_own_alerts_and_no_other(self, site, prometheus, store, expected):
        assert wait_until(lambda: not firing(prometheus) & expected, 120)
        seen: set[str] = set()

        def all_fire() -> bool:
            seen.update(firing(prometheus))
            return expected <= seen

        site.stack.kill(store)
        try:
            assert wait_until(all_fire, 120), seen
        finally:
            site.stack.start(store)

        assert seen - OF_A_BUSY_MACHINE <= expected
        assert wait_until(lambda: not firing(prometheus) & expected, 120), firing(prometheus)
