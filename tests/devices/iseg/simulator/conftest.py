"""Fixtures for tests of the simulated modules."""

import pytest

from tests.devices.iseg.simulator.host import Host


@pytest.fixture
def host():
    return Host()
