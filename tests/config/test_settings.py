"""The environment: what is required, what it says when it is missing, and that it is documented."""

import os
import re
import subprocess
import sys

import pytest

from config.stack import ROOT

REQUIRED = {
    "SECRET_KEY": "long enough for a test of the settings",
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "MONGODB_URI": "mongodb://127.0.0.1:1/x",
}
# Read by config/run.py and config/stack; or by docker compose alone.
ELSEWHERE = {"PORT", "PROMETHEUS_MULTIPROC_DIR"}
STACK = {"STACK_PG_BIN", "STACK_REDIS_BIN", "STACK_MONGOD_BIN"}
COMPOSE = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "MONGODB_ROOT_PASSWORD", "MONGODB_PASSWORD"}


def evaluate(expression: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Load the settings in a process of their own, and print the expression."""
    given = {"PATH": os.environ["PATH"], "PYTHON_DOTENV_DISABLED": "1"} | REQUIRED | environment
    return subprocess.run(
        [sys.executable, "-c", f"from config import settings as s; print({expression})"],
        cwd=ROOT,
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def read_by_settings() -> dict[str, str]:
    """Each variable that settings.py reads, with its default as written."""
    text = (ROOT / "config" / "settings.py").read_text()
    found = dict(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"(?:, default=([^)\n]+?))?\s*\)', text))
    found |= dict.fromkeys(re.findall(r'_required\(\s*"([A-Z_]+)"', text), "")
    return found


def documented() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


class TestRequired:
    @pytest.mark.parametrize("name", REQUIRED)
    def test_what_is_missing_is_named_with_what_to_do(self, name):
        done = evaluate("1", **{name: None})

        last = done.stderr.strip().splitlines()[-1]
        assert f"{name} is not set." in last
        assert "python -" in last

    def test_development_needs_no_secret_key(self):
        assert evaluate("s.DEBUG", SECRET_KEY=None, DEBUG="true").stdout.strip() == "True"

    def test_production_is_the_default(self):
        assert evaluate("s.DEBUG, s.LOG_FORMAT").stdout.strip() == "False json"

    def test_a_bad_log_level_is_named(self):
        assert "LOG_LEVEL='LOUD'" in evaluate("1", LOG_LEVEL="LOUD").stderr


class TestPool:
    def test_the_site_has_pool_and_deadlines(self):
        told = evaluate("s.DATABASES['default']['OPTIONS']", SERVES_REQUESTS="true").stdout

        assert "'min_size': 5, 'max_size': 20, 'max_idle': 30, 'timeout': 2.0" in told
        assert "statement_timeout=2000" in told
        assert "DeadlineConnection" in told

    @pytest.mark.parametrize(
        ("variable", "given", "shown"),
        [
            ("POSTGRES_POOL_MIN", "3", "'min_size': 3,"),
            ("POSTGRES_POOL_MAX", "7", "'max_size': 7,"),
            ("POSTGRES_POOL_IDLE_SECONDS", "11", "'max_idle': 11,"),
            ("POSTGRES_POOL_ACQUIRE_SECONDS", "0.5", "'timeout': 0.5,"),
            ("POSTGRES_STATEMENT_TIMEOUT_MS", "900", "statement_timeout=900"),
        ],
    )
    def test_each_part_of_it_is_a_setting(self, variable, given, shown):
        told = evaluate(
            "s.DATABASES['default']['OPTIONS']", SERVES_REQUESTS="true", **{variable: given}
        ).stdout

        assert shown in told

    def test_server_settings_of_the_url_stay_beside_the_deadline(self):
        done = evaluate(
            "s.DATABASES['default']['OPTIONS']['options']",
            SERVES_REQUESTS="true",
            DATABASE_URL="postgresql://u:p@127.0.0.1:1/x?options=-c%20search_path%3Dy",
        )

        assert done.stdout.strip() == "-c search_path=y -c statement_timeout=2000"

    def test_commands_are_patient(self):
        told = evaluate("s.DATABASES['default']['OPTIONS']").stdout

        assert "pool" not in told
        assert "statement_timeout" not in told

    def test_tls_turns_on_what_goes_with_it(self):
        told = evaluate("s.SECURE_SSL_REDIRECT, s.SESSION_COOKIE_SECURE", HTTPS="true").stdout

        assert told.strip() == "True True"


class TestEnvExample:
    def test_lists_every_variable_and_no_other(self):
        assert set(documented()) == set(read_by_settings()) | ELSEWHERE | STACK | COMPOSE

    def test_shows_the_defaults_that_the_settings_have(self):
        for name, default in read_by_settings().items():
            plain = default.replace("_", "").strip("\"'")
            if re.fullmatch(r"[\d.]+|True|False|[a-z]+", plain):
                assert documented()[name].lower() == plain.lower(), name
