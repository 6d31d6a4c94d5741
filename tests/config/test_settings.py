"""The environment: what is required, what it says when it is missing, and that it is documented."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.checks import check_identity, check_proxies
from config.environment import Environment
from config.stack import ROOT, dotenv_file, site
from config.stack.process import StackError

REQUIRED = {
    "SECRET_KEY": "long enough for a test of the settings",
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "MONGODB_URI": "mongodb://127.0.0.1:1/x",
}
# Read by config/run.py and config/stack; or by docker compose alone.
ELSEWHERE = {"PORT", "HOST", "SHUTDOWN_NOTICE_SECONDS", "PROMETHEUS_MULTIPROC_DIR"}
STACK = {f"STACK_{name}_BIN" for name in ("PG", "REDIS", "MONGOD", "ETCD", "HAPROXY")}
COMPOSE = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "MONGODB_ROOT_PASSWORD", "MONGODB_PASSWORD"}
COMPOSE |= {"POSTGRES_SUPERUSER_PASSWORD", "REDIS_OPERATOR_PASSWORD"}


def evaluate(expression: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Load the settings in a process of their own, and print the expression."""
    variables = {"PATH": os.environ["PATH"], "PYTHON_DOTENV_DISABLED": "1"} | REQUIRED | environment
    return subprocess.run(
        [sys.executable, "-c", f"from config import settings as s; print({expression})"],
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def read_by_settings() -> dict[str, str]:
    """Each variable that settings.py reads, with its default as written."""
    text = (ROOT / "config" / "settings.py").read_text()
    defaults = dict(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"(?:,\s+default=([^),\n]+))?', text))
    defaults |= dict.fromkeys(re.findall(r'_required\(\s*"([A-Z_]+)"', text), "")
    return defaults


def documented() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def numbers() -> set[str]:
    text = (ROOT / "config" / "settings.py").read_text()
    return set(re.findall(r'env\.(?:whole|number)\(\s*"([A-Z_]+)"', text))


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    """manage.py check with these variables."""
    variables = {"PATH": os.environ["PATH"], "PYTHON_DOTENV_DISABLED": "1"} | REQUIRED | environment
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


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


class TestBounds:
    """Every number and every flag: what cannot work is one line at start that names the variable."""

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("WEB_WORKERS", "abc", "must be a whole number from 1 to 1000"),
            ("WEB_WORKERS", "2.5", "must be a whole number from 1 to 1000"),
            ("WEB_THREADS", "0", "must be a whole number from 1 to 1000"),
            ("REDIS_TIMEOUT_MS", "-1", "must be a whole number from 1 to 2147483647"),
            ("POSTGRES_POOL_ACQUIRE_SECONDS", "nan", "must be a number from 0.01 to"),
            ("POSTGRES_STATEMENT_TIMEOUT_MS", "2500", "from 1 to 2499"),
            ("TRACE_SHARE", "1.5", "must be a number from 0 to 1"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "must be an http:// or https:// URL"),
            ("CACHE_LEASE_MS", "0", "must be a whole number from 1 to"),
            ("CACHE_TTL_NOTE_SECONDS", "1" * 5000, "must be a whole number from 1 to"),
            ("DEBUG", "maybe", "must be true or false"),
            ("HTTPS", "ture", "must be true or false"),
            ("POSTGRES_POOL_MIN", "21", "must not exceed POSTGRES_POOL_MAX=20"),
            ("MONGODB_POOL_MIN", "21", "must not exceed MONGODB_POOL_MAX=20"),
            ("LOG_FORMAT", "xml", "unknown level or format"),
            ("PROFILE_BACKEND", "redis", "must be mongo or postgres"),
            ("DATABASE_URL", "mysql://h/d", "is not the URL of a PostgreSQL server"),
            ("DATABASE_REPLICA_URL", "mysql://h/d", "is not the URL of a PostgreSQL server"),
            ("DATABASE_REPLICA_URL", "postgresql://h/other", "names the database 'other'"),
            (
                "DATABASE_REPLICA_URL",
                "postgresql://h/x?target_session_attrs=read-write",
                "target_session_attrs=read-write finds no standby",
            ),
            ("DATABASE_REPLICA_URL", "postgresql://h/x?port=no", "invalid"),
            ("DATABASE_DIRECT_URL", "mysql://h/d", "is not the URL of a PostgreSQL server"),
            ("REPLICA_LAG_MAX_SECONDS", "0", "must be a number from 0.001 to"),
            ("REDIS_URL", "http://h/0", "cannot be read"),
            ("MONGODB_URI", "mongodb://h", "names no database"),
            ("RATE_LIMIT_READ", "many", "must be a number of requests per time, such as"),
            ("RATE_LIMIT_WRITE", "0/second", "must be a number of requests per time, such as"),
            ("RATE_LIMIT_SEARCH", "1/second; 9/minute", "must be a number of requests per time"),
        ],
    )
    def test_what_cannot_work_is_one_line_that_names_the_variable(self, name, value, reason):
        done = check(**{name: value})

        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert name in done.stderr
        assert reason in done.stderr

    @pytest.mark.parametrize("value", ["-1", "many", "1e400", "inf"])
    def test_no_number_may_be_negative_endless_or_a_word(self, monkeypatch, value):
        monkeypatch.setenv("SIZE", value)

        for read in (Environment().whole, Environment().number):
            with pytest.raises(ImproperlyConfigured, match=f"^SIZE='{value}': must be a "):
                read("SIZE", default=1)

    def test_what_is_empty_is_not_set(self):
        empty = dict.fromkeys((*numbers(), "DEBUG", "ACTIVITY_SPOOL_DIR"), "")

        assert evaluate("s.WEB_WORKERS, s.DEBUG", **empty).stdout.strip() == "2 False"

    def test_a_dollar_stands_for_itself(self):
        key = "$ECRET_KEY and \\$ more, long enough for a test of the settings"

        assert evaluate("s.SECRET_KEY", SECRET_KEY=key).stdout == f"{key}\n"


class TestRates:
    @pytest.mark.parametrize(
        ("text", "amount", "seconds"),
        [
            ("100/second", 100, 1),
            (" 6000/minute ", 6000, 60),
            ("50 per 10 seconds", 50, 10),
            ("5/2 hours", 5, 7200),
        ],
    )
    def test_are_requests_per_time(self, monkeypatch, text, amount, seconds):
        monkeypatch.setenv("RATE", text)
        rate = Environment().rate("RATE")

        assert (rate.amount, rate.get_expiry()) == (amount, seconds)

    @pytest.mark.parametrize(
        "text", ["-1/second", "1/0 seconds", "1/fortnight", "1", "1/second,2/minute", "1e9/day"]
    )
    def test_nothing_else_is_one(self, monkeypatch, text):
        monkeypatch.setenv("RATE", text)

        with pytest.raises(ImproperlyConfigured, match=r"^RATE="):
            Environment().rate("RATE")

    def test_empty_is_none(self):
        assert evaluate("s.RATE_LIMIT_READ", RATE_LIMIT_READ="").stdout.strip() == "None"


class TestEnvFile:
    @pytest.mark.parametrize(
        ("content", "line", "reason"),
        [
            (b"# first\nPORT 8000\n", 2, "not NAME=value"),
            (b"\n\nSECRET_KEY\n", 3, "not NAME=value"),
            (b"A=1\nSECRET_KEY='never closed\nB=2\n", 2, "not NAME=value"),
            (b"A=1\n=hunter2\n", 2, "not NAME=value"),
            ("A=1\nB=Käse\n".encode("latin-1"), 2, "not UTF-8"),
            (b"A=1\nB=\0\n", 2, "not NAME=value"),
        ],
    )
    def test_a_bad_line_is_refused_by_its_number_and_not_quoted(
        self, tmp_path, monkeypatch, content, line, reason
    ):
        monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
        file = tmp_path / ".env"
        file.write_bytes(content)

        with pytest.raises(StackError) as refusal:
            dotenv_file.load(file)

        assert str(refusal.value) == f"{file}, line {line}: {reason}"

    def test_it_is_one_line_of_each_command(self, tmp_path):
        shutil.copytree(ROOT / "config", tmp_path / "config")
        shutil.copytree(ROOT / "cachelayer", tmp_path / "cachelayer")
        shutil.copy(ROOT / "manage.py", tmp_path)
        (tmp_path / ".env").write_text("PORT 8000\n")

        for command in (("manage.py", "check"), ("-m", "config.stack", "status")):
            done = subprocess.run(
                [sys.executable, *command],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], **REQUIRED},
                capture_output=True,
                text=True,
                check=False,
            )

            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert f"{tmp_path / '.env'}, line 1: not NAME=value" in done.stderr

    def test_good_lines_are_read_behind_a_byte_order_mark(self, tmp_path, monkeypatch):
        (tmp_path / ".env").write_text("export PORT=1\n\nWORD='two words' # why\n", "utf-8-sig")
        for name in ("PYTHON_DOTENV_DISABLED", "PORT", "WORD"):
            monkeypatch.setenv(name, "")  # so that each is put back afterwards
            monkeypatch.delenv(name)

        dotenv_file.load(tmp_path / ".env")

        assert (os.environ["PORT"], os.environ["WORD"]) == ("1", "two words")


class TestPool:
    def test_the_site_has_pool_and_deadlines(self):
        output = evaluate("s.DATABASES['default']['OPTIONS']", SERVES_REQUESTS="true").stdout

        assert "'min_size': 5, 'max_size': 20, 'max_idle': 30, 'timeout': 2.0" in output
        assert "statement_timeout=2000" in output
        assert "DeadlineConnection" in output

    @pytest.mark.parametrize(
        ("variable", "value", "shown"),
        [
            ("POSTGRES_POOL_MIN", "3", "'min_size': 3,"),
            ("POSTGRES_POOL_MAX", "7", "'max_size': 7,"),
            ("POSTGRES_POOL_IDLE_SECONDS", "11", "'max_idle': 11,"),
            ("POSTGRES_POOL_ACQUIRE_SECONDS", "0.5", "'timeout': 0.5,"),
            ("POSTGRES_STATEMENT_TIMEOUT_MS", "900", "statement_timeout=900"),
        ],
    )
    def test_each_part_of_it_is_a_setting(self, variable, value, shown):
        output = evaluate(
            "s.DATABASES['default']['OPTIONS']", SERVES_REQUESTS="true", **{variable: value}
        ).stdout

        assert shown in output

    def test_server_settings_of_the_url_stay_beside_the_deadline(self):
        done = evaluate(
            "s.DATABASES['default']['OPTIONS']['options']",
            SERVES_REQUESTS="true",
            DATABASE_URL="postgresql://u:p@127.0.0.1:1/x?options=-c%20search_path%3Dy",
        )

        assert done.stdout.strip() == "-c search_path=y -c statement_timeout=2000"

    def test_commands_are_patient(self):
        output = evaluate("s.DATABASES['default']['OPTIONS']").stdout

        assert "pool" not in output
        assert "statement_timeout" not in output

    def test_tls_turns_on_what_goes_with_it(self):
        output = evaluate("s.SECURE_SSL_REDIRECT, s.SESSION_COOKIE_SECURE", HTTPS="true").stdout

        assert output.strip() == "True True"


class TestEnvExample:
    def test_lists_every_variable_and_no_other(self):
        assert set(documented()) == set(read_by_settings()) | ELSEWHERE | STACK | COMPOSE

    def test_shows_the_defaults_that_the_settings_have(self):
        for name, default in read_by_settings().items():
            constant = getattr(site, default.removeprefix("site."), default)
            plain = str(constant).replace("_", "").strip("\"'")
            if re.fullmatch(r"[\d.]+|True|False|[a-z]+", plain):
                assert documented()[name].lower() == plain.lower(), name


class TestIdentity:
    @pytest.mark.parametrize(
        ("variables", "named"),
        [
            (
                {"AUTHENTICATION": "oauth"},
                "AUTHENTICATION='oauth': must be stub or jwt or session.",
            ),
            ({"READS": "mine"}, "READS='mine': must be open or owner."),
            ({"AUTHENTICATION": "jwt"}, "JWT_ISSUER is not set."),
            (
                {"AUTHENTICATION": "jwt", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_KEY": "x"},
                "JWT_KEY: no public key in PEM",
            ),
        ],
    )
    def test_that_cannot_work_is_one_line_at_the_start(self, variables, named):
        done = check(**variables)

        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert named in done.stderr

    def test_without_jwt_its_settings_do_not_matter_and_its_library_is_not_loaded(self):
        loaded = evaluate("s.JWT, 'jwt' in __import__('sys').modules", JWT_KEY="x").stdout

        assert loaded.strip() == "None False"

    @pytest.mark.parametrize(("authentication", "is_warned"), [("stub", True), ("session", False)])
    def test_the_deploy_check_warns_of_the_stub(self, settings, authentication, is_warned):
        settings.AUTHENTICATION = authentication

        assert [warning.id for warning in check_identity(None)] == ["config.W004"] * is_warned


class TestProxies:
    @pytest.mark.parametrize(("https", "proxies"), [(True, 0), (True, 1), (False, 0)])
    def test_that_are_not_counted_where_tls_ends_are_warned_of(self, settings, https, proxies):
        settings.HTTPS, settings.TRUSTED_PROXIES = https, proxies

        warnings = [warning.id for warning in check_proxies(None)]

        assert warnings == ["config.W005"] * (https and not proxies)
