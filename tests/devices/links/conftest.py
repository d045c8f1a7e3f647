"""Fixtures for tests of the links."""

from __future__ import annotations

import pytest

from devices.links import can_bus
from tests.devices.links.can_bench import Adapter


@pytest.fixture
def adapters(monkeypatch):
    """Replace python-can's factory; returns the list of adapters made and a way to change the next ones."""
    made: list[Adapter] = []

    def make(**options):
        adapter = Adapter(options["channel"])
        for name, value in make.changes.items():
            setattr(adapter, name, value)
        made.append(adapter)
        return adapter

    make.changes = {}
    made_by = make
    monkeypatch.setattr(can_bus.can, "Bus", make)
    return made, made_by.changes
