"""DATABASE_URL is read once: whatever Django understands works everywhere, or is refused at start."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from config.postgres.server import connection_parameters
from config.postgres.url import database_from_url
from config.stack import ROOT, process

# Through the pool, past it, and by libpq's programs.
_USE = """
from django.test import Client
from config.backup.postgres import _parameters
from config.postgres import outages, server
from psycopg import conninfo
outages._probe()
print(
    Client().get("/api/v1/notes?cache=false").status_code,
    Client().get("/health").json()["postgres"]["status"],
    server.capacity().max_connections,
    bool(conninfo.make_conninfo(**_parameters("postgres"))),
)
"""


def everything_encoded(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def variants(url: str, name: str) -> dict[str, str]:
    parts = urlsplit(url)
    user, password, port = parts.username, parts.password, parts.port
    account = f"{everything_encoded(user)}:{everything_encoded(password)}"
    return {
        "django": f"psql://{user}:{password}@127.0.0.1:{port}/{name}?conn_max_age=60&autocommit=0",
        "encoded": f"postgis://{account}@localhost:{port}/{everything_encoded(name)}?sslmode=prefer",
        "hosts": f"pgsql://{account}@127.0.0.1:{process.free_port()},127.0.0.1:{port}/{name}",
        "query": f"postgres:///?host=127.0.0.1&port={port}&user={user}&password={password}&dbname={name}",
    }


class TestDatabaseFromUrl:
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("variant", ["django", "encoded", "hosts", "query"])
    def test_what_django_understands_works_in_every_place(self, stack, variant):
        url = variants(stack.urls()["DATABASE_URL"], connection.settings_dict["NAME"])[variant]

        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", _USE],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": url, "SERVES_REQUESTS": "true"},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout.splitlines()[-1:] == ["200 ok 100 True"], done.stderr

    @pytest.mark.parametrize(
        ("url", "host", "port", "name"),
        [
            ("postgresql://u:p@%2Fvar%2FRun%2Fpg/db", "/var/Run/pg", "", "db"),
            ("postgresql://u:p@/db?host=/var/run/pg", "/var/run/pg", "", "db"),
            ("postgres:////var/run/pg/db", "/var/run/pg", "", "db"),
            ("postgresql://u:p@[::1]:5433/d%20b", "::1", "5433", "d b"),
            ("postgresql://u:p@[fe80::1%25eth0]/db", "fe80::1%eth0", "", "db"),
            ("postgresql://u:p@[::1]:1,[::2]:2/db", "::1,::2", "1,2", "db"),
            ("postgresql://u:p@h1,h2:5433,h3/db", "h1,h2,h3", ",5433,", "db"),
            ("postgresql://u:p@[::1],[::2]:2?dbname=db", "::1,::2", ",2", "db"),
            ("postgresql://u:p@%2Frun%2Fa:1,%2Frun%2Fb/db", "/run/a,/run/b", "1,", "db"),
            ("postgresql://u:p%2C@h1,h2/db", "h1,h2", "", "db"),
            ("POSTGRESQL://u:p@h/db", "h", "", "db"),
        ],
    )
    def test_reads_sockets_and_addresses(self, url, host, port, name):
        database = database_from_url(url)

        assert (database["HOST"], database["PORT"], database["NAME"]) == (host, port, name)

    @pytest.mark.parametrize(
        ("place", "kind"),
        [
            ("h1,h2/d", "primary"),
            ("h1,h2/d?target_session_attrs=read-write", "read-write"),
            ("/d?host=h1,h2", "primary"),
            ("/d?hostaddr=127.0.0.1,127.0.0.2", "primary"),
            ("h/d?target_session_attrs=any", "any"),
            ("h/d", None),
        ],
    )
    def test_of_several_hosts_it_is_the_primary(self, place, kind):
        options = database_from_url(f"postgresql://u@{place}")["OPTIONS"]

        assert options.get("target_session_attrs") == kind

    def test_a_password_may_hold_anything(self):
        assert database_from_url("postgres://u:%40%2F%3A%23%25%20@h/d")["PASSWORD"] == "@/:#% "

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("mysql://u:hunter2@h/d", "is not the URL of a PostgreSQL server"),
            ("u:hunter2@h/d", "is not the URL of a PostgreSQL server"),
            ("postgresql+psycopg://u:hunter2@h/d", "is not the URL of a PostgreSQL server"),
            ("postgresql://u:hunter2@h", "names no database"),
            ("postgresql://u:hunter2@h:abc/d", "cannot be read"),
            ("postgresql://u:hunter2@h:99999/d", "cannot be read"),
            ("postgresql://u:hunter2@h1:abc,h2:1/d", "cannot be read"),
            ("postgresql://u:hunter2@::1,::2/d", "cannot be read"),
            ("postgresql://u:hunter2@h1,h2:99999/d", "cannot be read"),
            ("postgresql://u:hunter2/x@h/d", "cannot be read"),
            ("postgresql://u:hunter2@[::1/d", "cannot be read"),
            ("postgresql://u:hunter2@h/d?colour=red", 'invalid connection option "colour"'),
            ("postgresql://u:hunter2@h/d?sslmode=bogus", 'invalid sslmode value: "bogus"'),
            ("postgresql://u:hunter2@h/d?port=1,2", "could not match 2 port numbers to 1 hosts"),
            ("postgresql://u:hunter2@h/d?pool=true", 'invalid connection option "pool"'),
            ("postgresql://u:hunter2@h/d?target_session_attrs=standby", "which lags"),
            ("postgresql://u:hunter2@h1,h2/d?target_session_attrs=any", "which lags"),
            (
                "postgresql://u:hunter2@h/d?target_session_attrs=bogus",
                "invalid target_session_attrs",
            ),
            ("postgresql://u:hunter2@h/d%00", "contains a NUL"),
            (f"postgresql://u:hunter2@h/{'x' * 64}", "longer than 63 bytes"),
            (f"postgresql://u:hunter2@/d?host=/{'x' * 93}", "longer than 107 bytes"),
        ],
    )
    def test_refuses_what_cannot_work_in_one_line_without_the_password(self, url, reason):
        with pytest.raises(ImproperlyConfigured) as refusal:
            database_from_url(url)

        message = str(refusal.value)
        assert message.startswith("DATABASE_URL")
        assert reason in message
        assert "hunter2" not in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        "query", ["gssencmode=require", "sslmode=verify-full&sslrootcert=system", "keepalives=0"]
    )
    def test_accepts_what_only_the_server_can_judge(self, query):
        name, _, value = query.partition("&")[0].partition("=")

        assert str(database_from_url(f"postgresql://u@h/d?{query}")["OPTIONS"][name]) == value


class TestConnectionParameters:
    def test_are_those_of_the_database_in_use(self):
        parameters = connection_parameters()

        assert parameters["dbname"] == connection.settings_dict["NAME"]
        assert not {"context", "cursor_factory", "pool"} & set(parameters)
