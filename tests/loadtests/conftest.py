"""One site for all tests of the load tests: to start it takes longer than most of them."""

import pytest

from loadtests.testbed.site import INSTRUMENTED, running_site


@pytest.fixture(scope="package")
def site():
    with running_site("smoke", notes=500, application=INSTRUMENTED) as running:
        yield running
    states = {server.state for server in running.stack.status()}
    running.stack.reset()
    assert states == {"stopped"}
