"""MongoDB, three members: any one of them may fail."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from config.stack import process
from config.stack.cluster.node import Node
from config.stack.mongodb import MongoDB
from config.stack.process import StackError
from config.stack.server import START_SECONDS, Binary


class Member(Node, MongoDB):
    """A member of the set. The first forms it, once all three answer."""

    def prepare(self, binary: Binary) -> None:
        super().prepare(binary)
        # Members know each other by the same key.
        key = hashlib.sha256(f"rs0 {self.passwords['mongodb_root']}".encode()).hexdigest()
        (self.folder / "keyfile").write_text(key)

    def command(self, binary: Binary) -> Sequence[str | Path]:
        # By default a primary waits 15 s at its end for others to be as far.
        quick = "shutdownTimeoutMillisForSignaledShutdown=500"
        return [*super().command(binary), "--setParameter", quick]

    def settle(self) -> None:
        """Form the set, where this is the first and there is none; wait for its primary."""
        if self.number == 1:
            if not process.wait_until(self._all_answer, START_SECONDS):
                raise StackError("not all members of the replica set answer")
            if not self._knows_root():
                super().settle()
                self._prefer_none()
        if not process.wait_until(self._is_formed, START_SECONDS):
            raise StackError(f"{self.name} does not become a member of the set (log: {self.log})")

    def _prefer_none(self) -> None:
        """Give all members the same priority: one that returns must not take the lead, and stop writes, again."""
        with self._client(root=True) as root:
            version = self._configuration(root)["version"] + 1
            root.admin.command("replSetReconfig", self._set(version, of_first=1), force=True)

    def _all_answer(self) -> bool:
        return all(_answers(address) for address in self.addresses("mongodb"))

    def _is_formed(self) -> bool:
        try:
            with self._client() as client:
                hello = client.admin.command("hello")
        except PyMongoError:
            return False
        return bool(hello.get("primary"))

    def _set(self, version: int, of_first: int = 2) -> dict[str, Any]:
        members = [
            # The first at first: then the users are created where the set was formed.
            {"_id": number, "host": address, "priority": 1 if number else of_first}
            for number, address in enumerate(self.addresses("mongodb"))
        ]
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        return {"_id": "rs0", "version": version, "members": members, "settings": settings}

    def role(self) -> str:
        """Return primary or replica; empty where it does not answer."""
        try:
            with self._client() as client:
                hello = client.admin.command("hello")
        except PyMongoError:
            return ""
        return "primary" if hello.get("isWritablePrimary") else "replica"


def _answers(address: str) -> bool:
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=1000
    )
    try:
        with client:
            client.admin.command("hello")
    except PyMongoError:
        return False
    return True
