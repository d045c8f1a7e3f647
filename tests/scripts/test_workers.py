"""The workers that run tests in parallel: what they must not share, and where they begin."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import pytest_collection_modifyitems
from tests.softioc import ROOT

PORTS = "from tests.softioc import free_port; print(*(free_port() for _ in range(50)))"


def test_workers_take_ports_of_their_own_below_those_of_the_system():
    found: list[set[int]] = []
    for worker in ("gw0", "gw1", "gw2"):
        environment = {**os.environ, "PYTEST_XDIST_WORKER": worker, "PYTEST_XDIST_WORKER_COUNT": "3"}
        done = subprocess.run(
            [sys.executable, "-c", PORTS],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        found.append({int(port) for port in done.stdout.split()})
    for number, ports in enumerate(found):
        assert len(ports) == 50
        assert all(20_000 + number * 2666 <= port < 20_000 + (number + 1) * 2666 for port in ports)


def test_those_that_may_take_longest_come_first_and_the_others_stay_in_order(request: pytest.FixtureRequest):
    names = ["a", "longest", "b", "long", "c"]
    items = [pytest.Function.from_parent(request.node.parent, name=name, callobj=lambda: None) for name in names]
    items[1].add_marker(pytest.mark.timeout(600))
    items[3].add_marker(pytest.mark.timeout(120))
    pytest_collection_modifyitems(items)
    assert [item.name for item in items] == ["longest", "long", "a", "b", "c"]
