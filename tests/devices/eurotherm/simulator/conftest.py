"""Fixtures for tests of the simulated furnace controllers."""

import pytest

from devices.eurotherm.simulator.model import EurothermModel


@pytest.fixture
def model():
    return EurothermModel()
