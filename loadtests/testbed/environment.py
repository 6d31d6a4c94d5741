"""Where a measurement ran: machine, versions, revision; no host names and no paths."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from config.stack import ROOT

_CODE: Final = ("--", ".", ":!docs")  # the files that a run writes itself do not count as changes
_PACKAGES: Final = {  # what each is called beside the servers, of which one is redis, too
    "django": "Django",
    "psycopg": "psycopg",
    "pymongo": "pymongo",
    "redis": "redis-py",
    "granian": "granian",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What figures depend on besides the code."""

    cores: int
    memory_gib: float
    processor: str
    system: str
    versions: Mapping[str, str]
    revision: str | None  # of git; None outside a repository
    modified: bool  # whether files differ from the revision


def describe_environment(servers: Mapping[str, str]) -> Environment:
    """Describe this machine and process; servers: the version of each server."""
    revision, modified = _revision()
    return Environment(
        cores=_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        processor=_processor(),
        system=f"{_distribution()}, {platform.system()} {platform.release()} {platform.machine()}",
        versions={
            "Python": platform.python_version(),
            **{_PACKAGES[name]: importlib.metadata.version(name) for name in _PACKAGES},
            **servers,
        },
        revision=revision,
        modified=modified,
    )


def _cores() -> int:
    """Return on how many this process may run."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _processor() -> str:
    if sys.platform != "linux":
        return platform.machine()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _revision() -> tuple[str | None, bool]:
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        return revision, bool(_git("status", "--porcelain", "--untracked-files=no", *_CODE))
    except (OSError, subprocess.CalledProcessError):
        return None, False


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607  # whichever git is there
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
