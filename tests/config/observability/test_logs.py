"""What becomes of a line that cannot be written."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.stack import ROOT

CODE = """
import structlog
from config.observability import logs

logs.configure(level="INFO", form="json")
log = structlog.get_logger("test")
{before}
log.info("one")
log.warning("two")
try:
    raise KeyError
except KeyError:
    log.exception("three")
print("went on")
"""


@pytest.mark.parametrize("before", ["", "import sys; sys.stderr.close()"], ids=["full", "closed"])
def test_it_is_lost_and_nothing_else(before):
    with Path("/dev/full").open("w") as full:
        child = subprocess.run(
            [sys.executable, "-c", CODE.format(before=before)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )

    assert child.stdout == b"went on\n"
