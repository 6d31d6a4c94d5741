"""MongoDB from its wheel: a replica set of one, so that transactions and change streams work."""

import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from config import output_file
from config.stack import process
from config.stack.process import StackError
from config.stack.server import Binary, Server, binary_from

_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
# Read and write any database (tests make their own), indexes and profiler, server metrics.
_APPLICATION_ROLES = ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"]


class MongoDB(Server):
    """One mongod with authentication, a key file, and a bounded cache."""

    name = "mongodb"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def marker(self) -> str:
        return str(self.data)

    @property
    def url(self) -> str:
        return self._url("trilith", self.passwords["mongodb"])

    @property
    def operator_url(self) -> str:
        return self._url("root", self.passwords["mongodb_root"])

    def _url(self, user: str, password: str) -> str:
        place = f"127.0.0.1:{self.port}/trilith?authSource=admin&replicaSet=rs0"
        return f"mongodb://{user}:{password}@{place}"

    def binary(self) -> Binary:
        return binary_from("STACK_MONGOD_BIN", "mongodb")

    def prepare(self, binary: Binary) -> None:
        _refuse_missing_libraries(binary.path)
        self.data.mkdir(exist_ok=True)
        key = self.folder / "keyfile"
        if not key.exists() or not key.read_text():
            output_file.write(key, secrets.token_hex(48), mode=0o600)

    def command(self, binary: Binary) -> Sequence[str | Path]:
        return [
            *(binary.path, "--dbpath", self.data, "--port", str(self.port)),
            *("--bind_ip", "127.0.0.1", "--nounixsocket"),
            *("--replSet", "rs0", "--auth", "--keyFile", self.folder / "keyfile"),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"),
            *(
                "--networkMessageCompressors",
                "snappy,zstd",
            ),  # zlib has a vulnerability in this version
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "ttlMonitorSleepSecs=5"),
        ]

    def answers(self) -> bool:
        try:
            with self._client() as client:
                client.admin.command("hello")
        except PyMongoError:
            return False
        return True

    def settle(self) -> None:
        """Initiate the replica set, create both users, and update the port of the set."""
        with self._client() as stranger:
            _command(
                stranger,
                "replSetInitiate",
                self._set(version=1),
                but=(_ALREADY_INITIALIZED, _UNAUTHORIZED),
            )
            if not self._knows_root():
                self._await_primary(stranger)
                _command(
                    stranger,
                    "createUser",
                    "root",
                    pwd=self.passwords["mongodb_root"],
                    roles=["root"],
                )
        with self._client(root=True) as root:
            current = self._configuration(root)
            if current["members"][0]["host"] != f"127.0.0.1:{self.port}":
                root.admin.command(
                    "replSetReconfig", self._set(version=current["version"] + 1), force=True
                )
            self._await_primary(root)
            if not root.admin.command("usersInfo", "trilith")["users"]:
                root.admin.command(
                    "createUser", "trilith", pwd=self.passwords["mongodb"], roles=_APPLICATION_ROLES
                )

    def version(self) -> str:
        with self._client() as client:
            return f"MongoDB {client.server_info()['version']}"

    def _set(self, version: int) -> dict[str, Any]:
        member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
        return {"_id": "rs0", "version": version, "members": [member]}

    def _client(self, *, root: bool = False) -> pymongo.MongoClient[dict[str, Any]]:
        who: dict[str, Any] = {}
        if root:
            who = {"username": "root", "password": self.passwords["mongodb_root"]}
        return pymongo.MongoClient(
            f"mongodb://127.0.0.1:{self.port}/?directConnection=true",
            serverSelectionTimeoutMS=2000,
            socketTimeoutMS=10_000,
            **who,
        )

    def _knows_root(self) -> bool:
        try:
            with self._client(root=True) as root:
                root.admin.command("ping")
        except OperationFailure as exc:
            if exc.code == _AUTHENTICATION_FAILED:
                return False
            raise
        return True

    def _configuration(self, root: pymongo.MongoClient[dict[str, Any]]) -> dict[str, Any]:
        """
        Return the set's configuration, which a mongod that has just started is still reading.

        After a change of ports it checks whether the old one is itself, and waits 30 s
        where whoever listens there takes the question and says nothing.
        """
        found: list[dict[str, Any]] = []

        def read() -> bool:
            try:
                found.append(root.admin.command("replSetGetConfig")["config"])
            except OperationFailure as exc:
                if exc.code != _NOT_YET_INITIALIZED:
                    raise
            return bool(found)

        if not process.wait_until(read, 60):
            raise StackError(f"mongodb does not find its configuration (log: {self.log})")
        return found[0]

    def _await_primary(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        def is_primary() -> bool:
            return bool(client.admin.command("hello").get("isWritablePrimary"))

        if not process.wait_until(is_primary, 20):
            raise StackError(f"mongodb does not become the primary of its set (log: {self.log})")


def _command(
    client: pymongo.MongoClient[dict[str, Any]],
    name: str,
    value: Any,
    *,
    but: Sequence[int] = (),
    **options: Any,
) -> None:
    """Run a command on admin; ignore the error codes in but: it was done before."""
    try:
        client.admin.command(name, value, **options)
    except OperationFailure as exc:
        if exc.code not in but:
            raise


def _refuse_missing_libraries(path: Path) -> None:
    ldd = shutil.which("ldd")
    if ldd is None:
        return
    output = subprocess.run([ldd, path], check=False, capture_output=True, text=True).stdout
    missing = [line.split()[0] for line in output.splitlines() if "not found" in line]
    if missing:
        raise StackError(
            f"mongod lacks {', '.join(missing)}: apt-get install libcurl4 libssl3 liblzma5, "
            f"or name another mongod in STACK_MONGOD_BIN"
        )
