"""REDIS_URL and MONGODB_URI in every form: used as they are, or refused in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from pymongo.errors import ConfigurationError
from redis.sentinel import SentinelManagedSSLConnection

from config.mongodb import client as mongodb_client
from config.stack import ROOT, process
from config.stack.redis import Redis
from config.store_urls import checked_mongodb_uri, checked_redis_url, redis_cache, with_own_pool
from tests.sentinels import ACCOUNT, SERVICE, sentinel_of

_USE = """
from django.core.cache import caches
from cachelayer import client
client.ping()
for name in ("default", "sessions"):
    caches[name].set("key", name, 60)
    print(caches[name].get("key"))
"""


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory) -> Iterator[Path]:
    """The socket of a Redis with one database and no port."""
    folder = tmp_path_factory.mktemp("r")
    path = folder / "s"
    options = ("--port", "0", "--databases", "1", "--save", "", "--dir", str(folder))
    server = subprocess.Popen(
        [Redis(folder, 0, {}).binary().path, *options, "--unixsocket", path],
        stdout=subprocess.DEVNULL,
    )
    assert process.wait_until(path.exists, 30)
    yield path
    server.terminate()
    server.wait(30)


def used(url: str) -> subprocess.CompletedProcess[str]:
    """Return what came of the use of both caches by this REDIS_URL."""
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", _USE],
        cwd=ROOT,
        env=os.environ | {"REDIS_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def sentinel_port(tmp_path_factory, stack) -> Iterator[int]:
    with sentinel_of(stack, tmp_path_factory.mktemp("sentinel")) as port:
        yield port


class TestCheckedRedisUrl:
    def test_a_socket_and_the_only_database_work_for_cache_and_sessions(self, socket_path):
        done = used(f"unix://{socket_path}")

        assert done.stdout.splitlines() == ["default", "sessions"], done.stderr

    def test_a_sentinel_with_an_account_of_its_own_works_for_cache_and_sessions(
        self, stack, sentinel_port
    ):
        account = urlsplit(stack.urls()["REDIS_URL"]).netloc.rpartition("@")[0]
        hosts = f"127.0.0.1:{process.free_port()},[::1]:{sentinel_port}"

        done = used(f"redis+sentinel://{account}@{hosts}/{SERVICE}/0?{ACCOUNT}")

        assert done.stdout.splitlines() == ["default", "sessions"], done.stderr

    @pytest.mark.parametrize(
        ("url", "database"),
        [
            ("redis://h", 0),
            ("redis://h/", 0),
            ("redis://h/15", 15),
            ("redis://h/1?db=3", 3),
            ("redis://u:p%40%2F@[::1]:6380/2", 2),
            ("rediss://h/4?ssl_cert_reqs=none", 4),
            ("unix://u:p@/run/redis.sock?db=5", 5),
        ],
    )
    def test_sessions_have_a_pool_of_their_own_on_the_same_database(self, url, database):
        beside = with_own_pool(checked_redis_url("REDIS_URL", url), max_connections=20)

        pools = [redis.ConnectionPool.from_url(each) for each in (url, beside)]
        assert beside != url
        assert pools[1].max_connections == 20
        first, second = [pool.make_connection() for pool in pools]
        assert first.db == second.db == database
        assert (first.password, type(first)) == (second.password, type(second))

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://u:hunter2@h/0", "cannot be read"),
            ("redis://u:hunter2@h:abc/0", "cannot be read"),
            ("redis://u:hunter2/x@h/0", "cannot be read"),
            ("redis://u:hunter2@h1,h2/0", "names several hosts"),
            ("redis://u:hunter2@h1:1,h2:2/0", "names several hosts"),
            ("redis://u:hunter2@h/0?protocol=2", "protocol is the site's own"),
            ("redis://u:hunter2@h/0?decode_responses=true", "decode_responses is the site's own"),
            ("redis+sentinel://u:hunter2@h/x/0?protocol=3", "protocol is the site's own"),
            ("redis://u:hunter2@h/abc", "the database is not a number"),
            ("redis://u:hunter2@h/-1", "the database is not a number"),
            ("redis://u:hunter2@h/0?db=-1", "the database is not a number"),
            ("redis://u:hunter2@h/0?db=x", "cannot be read"),
            ("redis://u:hunter2@h/0?colour=red", "a parameter that redis-py does not know"),
            ("unix://", "the path of a socket has 1 to 107 bytes"),
            (f"unix:///{'x' * 107}", "the path of a socket has 1 to 107 bytes"),
            ("redis+sentinel://u:hunter2@h:abc/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@h1:1,:2/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@h:99999/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@[::1/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@::1/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@h1, h2/trilith/0", "cannot be read"),
            ("redis+sentinel://u:hunter2@h:26379", "names no service"),
            ("redis+sentinel://u:hunter2@h:26379/tri lith/0", "names no service"),
            ("redis+sentinel://u:hunter2@h:26379/trilith/x", "the database is not a number"),
            (
                "redis+cluster://u:hunter2@h1:6379,h2:6379,h3:6379/0",
                "Use Sentinel: write redis+sen",
            ),
            ("rediss+cluster://u:hunter2@h1:6379", "names a Redis Cluster, which is not supported"),
            (
                "redis+sentinel://u:hunter2@h/trilith/0?colour=red",
                "a parameter that redis-py does not know",
            ),
        ],
    )
    def test_refuses_what_cannot_work_in_one_line_without_the_password(self, url, reason):
        with pytest.raises(ImproperlyConfigured) as refusal:
            checked_redis_url("REDIS_URL", url)

        message = str(refusal.value)
        assert message.startswith("REDIS_URL")
        assert reason in message
        assert "hunter2" not in message
        assert "\n" not in message


class TestRedisCache:
    def test_behind_sentinel_names_its_hosts_and_the_primary_alone(self):
        url = "redis+sentinel://u:p%40%2F@h1:1,h2/trilith/3"

        cache = redis_cache(checked_redis_url("REDIS_URL", url), timeout_seconds=0.1)

        timeouts = {"socket_connect_timeout": 0.1, "socket_timeout": 0.1}
        assert cache.location == "redis://trilith/3?is_master=1"
        # Each Sentinel is tried once: by itself redis-py would wait for each several times.
        assert cache.options["SENTINEL_KWARGS"].pop("retry").get_retries() == 0
        assert cache.options == {
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [("h1", 1), ("h2", 26_379)],
            "SENTINEL_KWARGS": timeouts,
            "USERNAME": "u",
            "PASSWORD": "p@/",
            **{name.upper(): value for name, value in timeouts.items()},
        }

    def test_behind_sentinel_takes_addresses_accounts_and_names_as_they_are(self):
        url = "redis+sentinel://u:p@[::1]:1,[fe80::1],h/MyPrimary?sentinel_username=w&sentinel_password=%40%26"

        cache = redis_cache(checked_redis_url("REDIS_URL", url), timeout_seconds=0.1)

        assert cache.location == "redis://MyPrimary/0?is_master=1"
        assert cache.pool == {"service_name": "MyPrimary"}  # django-redis has it in lower case
        assert cache.options["SENTINELS"] == [("::1", 1), ("fe80::1", 26_379), ("h", 26_379)]
        assert cache.options["SENTINEL_KWARGS"]["username"] == "w"
        assert cache.options["SENTINEL_KWARGS"]["password"] == "@&"

    def test_behind_sentinel_with_tls_it_is_for_sentinels_and_servers(self):
        url = "rediss+sentinel://u:p@h/trilith/0?ssl_ca_certs=/ca.pem&ssl_check_hostname=false"

        cache = redis_cache(checked_redis_url("REDIS_URL", url), timeout_seconds=0.1)

        assert cache.location.startswith("rediss://trilith/0?ssl_ca_certs=%2Fca.pem")
        assert cache.pool["connection_class"] is SentinelManagedSSLConnection
        of_tls = {"ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
        assert of_tls.items() <= cache.options["SENTINEL_KWARGS"].items()

    def test_sessions_have_a_pool_of_their_own_there_too(self):
        beside = with_own_pool("redis+sentinel://u:p@h/trilith/0", max_connections=20)

        location = redis_cache(checked_redis_url("X", beside), timeout_seconds=0.1).location

        assert location == "redis://trilith/0?max_connections=20&is_master=1"

    def test_of_a_single_server_is_its_url(self):
        cache = redis_cache("redis://u:p@h/0", timeout_seconds=0.1)

        assert cache.location == "redis://u:p@h/0"
        assert set(cache.options) == {"SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"}


class TestCheckedMongodbUri:
    @pytest.mark.parametrize(
        "uri",
        [
            "mongodb://u:p%40%2F@h1:1,h2:2/trilith?replicaSet=rs0&authSource=admin",
            "mongodb://[::1]:27017/trilith",
            "mongodb://%2Frun%2Fmongodb.sock/trilith",
            "mongodb+srv://u:p@cluster.example.org/trilith?retryWrites=true",
            "mongodb+srv://u:p@c0.a1b2c.example.net/trilith?w=majority&appName=C0&srvMaxHosts=2",
            "mongodb://h/trilith?readPreference=primary&w=2",
            "mongodb://h/trilith?tls=true&readConcernLevel=majority&compressors=zlib",
        ],
    )
    def test_accepts_hosts_sockets_and_srv(self, uri):
        assert checked_mongodb_uri(uri) == uri

    @pytest.mark.parametrize(
        ("uri", "reason"),
        [
            ("mongodb://u:hunter2@h", "names no database"),
            ("mongodb://u:hunter2@h/?replicaSet=rs0", "names no database"),
            ("mongodb+srv://u:hunter2@h/", "names no database"),
            ("mongodb://u:hunter2/x@h/trilith", "cannot be read"),
            ("mongodb://u:hunter2@h:abc/trilith", "cannot be read"),
            (
                "mongodb://u:hunter2@h/trilith?colour=red",
                "an option that MongoDB's driver does not",
            ),
            ("mongodb://u:hunter2@h/trilith?tls=yes", "a value that it refuses"),
            ("mongodb+srv://u:hunter2@a.b.c/trilith?authsourc=admin", "an option that MongoDB's"),
            (
                "mongodb://u:hunter2@h/trilith?tls=true&tlsCAFile=/nonexistent.pem",
                "No such file or directory: /nonexistent.pem",
            ),
            ("mongodb+srv://u:hunter2/x@a.b.c/trilith", "cannot be read"),
            ("mongodb+srv://u:hunter2@a.b.c:27017/trilith", "cannot be read"),
            ("mongodb+srv://u:hunter2@a.b.c,d.e.f/trilith", "cannot be read"),
            ("mongodb://", "cannot be read"),
            ("mongodb://u:hunter2@h/trilith?readPreference=secondaryPreferred", "which lags"),
            ("mongodb://u:hunter2@h/trilith?w=1&retryWrites=true", "write w=majority"),
            ("postgresql://u:hunter2@h/trilith", "is not the URL of a MongoDB server"),
        ],
    )
    def test_refuses_what_cannot_work_in_one_line_without_the_password(self, uri, reason):
        with pytest.raises(ImproperlyConfigured) as refusal:
            checked_mongodb_uri(uri)

        message = str(refusal.value)
        assert message.startswith("MONGODB_URI")
        assert reason in message
        assert "hunter2" not in message
        assert "\n" not in message

    def test_a_name_that_the_dns_does_not_know_is_one_line(self, monkeypatch):
        def resolve(**options: object) -> None:
            raise ConfigurationError("The DNS query name does not exist: _mongodb._tcp.h.\nmore")

        monkeypatch.setattr(mongodb_client.mongoengine, "connect", resolve)

        with pytest.raises(ImproperlyConfigured, match=r"^MONGODB_URI: The DNS .* exist: \S+$"):
            mongodb_client.connect()
