"""What the workers that run tests in parallel must not share."""

from __future__ import annotations

import os
import subprocess
import sys

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
