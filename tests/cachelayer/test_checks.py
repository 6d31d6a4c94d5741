"""What manage.py check finds: settings and namespaces that would make the cache wrong or slow."""

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachelayer import checks, namespace
from cachelayer.conf import config
from cachelayer.testing import override_config
from config.stack import ROOT
from notes import cache_keys

# Tests declare namespaces of their own.
NAMESPACES = [
    declared
    for declared in namespace.declared()
    if not declared.tags_of.__module__.startswith("tests.")
]


def ids(messages) -> list[str]:
    return [message.id for message in messages]


class TestNamespaces:
    @pytest.fixture(autouse=True)
    def _declared_for_this_test_alone(self, monkeypatch):
        monkeypatch.setattr("cachelayer.namespace._declared", {})

    @pytest.mark.parametrize("field", ["ttl_seconds", "absent_ttl_seconds"])
    @pytest.mark.parametrize("seconds", [0, -1])
    def test_no_lifetime_is_an_error(self, field, seconds):
        wrong = dataclasses.replace(cache_keys.NOTES, **{field: seconds})

        assert ids(checks.check_namespaces([wrong])) == ["cachelayer.E001"]

    def test_an_example_that_does_not_fit_is_an_error(self):
        wrong = dataclasses.replace(cache_keys.NOTES, example="notes:1")

        assert ids(checks.check_namespaces([wrong])) == ["cachelayer.E002"]

    def test_overlapping_names_are_an_error(self):
        greedy = dataclasses.replace(cache_keys.NOTES, name="greedy", member=".+")

        assert "cachelayer.E003" in ids(checks.check_namespaces([greedy, cache_keys.NOTE_LISTS]))

    def test_a_tag_that_reads_as_a_purge_is_an_error(self):
        wrong = dataclasses.replace(cache_keys.NOTES, tags_of=lambda member: (f"entry:{member}",))

        assert ids(checks.check_namespaces([wrong])) == ["cachelayer.E010"]

    def test_the_project_s_own_are_in_order(self):
        assert ids(checks.check_namespaces(NAMESPACES)) == []


class TestConnections:
    @pytest.fixture
    def caches(self, settings) -> dict:
        return copy.deepcopy(settings.CACHES)

    @pytest.mark.parametrize("alias", ["default", "sessions"])
    def test_pickle_is_an_error(self, caches, alias):
        del caches[alias]["OPTIONS"]["SERIALIZER"]

        assert ids(checks.check_connections(caches)) == ["cachelayer.E004"]

    def test_a_shared_pool_is_an_error(self, caches):
        caches["sessions"]["LOCATION"] = caches["default"]["LOCATION"]

        assert ids(checks.check_connections(caches)) == ["cachelayer.E005"]

    def test_a_pool_that_does_not_know_its_servers_is_an_error(self, caches):
        del caches["default"]["OPTIONS"]["CONNECTION_POOL_CLASS"]

        assert ids(checks.check_connections(caches)) == ["cachelayer.E013"]

    @pytest.mark.parametrize("seconds", [None, 0, 5])
    def test_a_long_timeout_is_a_warning(self, caches, seconds):
        caches["default"]["OPTIONS"]["SOCKET_TIMEOUT"] = seconds

        assert ids(checks.check_connections(caches)) == ["cachelayer.W006"]

    @pytest.mark.parametrize("retry", [None, Retry(NoBackoff(), 3)])
    def test_retried_reads_are_a_warning(self, caches, retry):
        caches["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]["retry"] = retry

        assert ids(checks.check_connections(caches)) == ["cachelayer.W007"]

    def test_what_is_no_url_is_an_error(self, caches):
        caches["default"]["LOCATION"] = "localhost:6379"

        assert ids(checks.check_urls(caches)) == ["cachelayer.E009"]


class TestDatabase:
    def test_atomic_requests_are_an_error(self):
        assert ids(checks.check_database({"default": {"ATOMIC_REQUESTS": True}})) == [
            "cachelayer.E008"
        ]

    def test_another_than_postgresql_is_an_error_that_says_why(self):
        (error,) = checks.check_vendor("sqlite")

        assert error.id == "cachelayer.E012"
        assert "sqlite: cachelayer needs PostgreSQL" in error.msg


class TestCheck:
    def test_runs_with_manage_py_check_and_finds_the_project_in_order(self):
        found = [
            message for message in run_checks(tags=["cachelayer"]) if "words" not in str(message)
        ]

        assert found == []


class TestSettings:
    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"PREFX": "a"}, "unknown field `PREFX`"),
            ({"LEASE_MS": "50"}, "Expected `int`, got `str` - at `$.LEASE_MS`"),
            ({"LEASE_MS": 0}, "`$.LEASE_MS`"),
            ({"PREFIX": ""}, "`$.PREFIX`"),
            ({"NAME": "two words"}, "`$.NAME`"),
            ({"SLOTS_DIR": 5}, "`$.SLOTS_DIR`"),
        ],
    )
    def test_a_wrong_key_or_value_is_an_error_that_names_it(self, wrong, reason):
        with override_config(**wrong):
            (error,) = checks.check_settings()

        assert error.id == "cachelayer.E011"
        assert reason in error.msg
        assert "Its keys are NAME, PREFIX, VERSION" in error.msg

    def test_each_key_has_a_default(self, settings):
        del settings.CACHELAYER

        assert ids(checks.check_settings()) == []
        assert (config().PREFIX, config().SLOTS_DIR) == ("cachelayer", ROOT / ".slots")

    @pytest.mark.parametrize("folder", ["slots", Path("slots"), "/slots"])
    def test_a_relative_folder_is_below_the_project_s(self, folder):
        with override_config(SLOTS_DIR=folder):
            assert ROOT / folder == config().SLOTS_DIR


class TestFirstUse:
    """Of the settings, by the threads of a process that has just started."""

    def test_of_many_threads_at_once(self):
        code = """if True:
            import importlib, sys, threading
            from django.conf import settings
            settings.configure(CACHELAYER={"LEASE_MS": 2, "SLOTS_DIR": "slots"})
            from cachelayer import conf
            sys.setswitchinterval(1e-6)
            for _ in range(100):
                importlib.reload(conf)
                start = threading.Barrier(6)
                threads = [threading.Thread(target=lambda: (start.wait(), conf.config())) for _ in range(6)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
        """
        child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)

        assert child.returncode == 0
