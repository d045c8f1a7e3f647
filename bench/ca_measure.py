"""What all comparisons share: a server for a while, its CPU time, and counting events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.ca_client import ClientProcess
from bench.ca_servers import Load, start
from tests.softioc import ServerProcess

Figures = dict[str, float]
SETTLE = 1.5
"""Seconds after subscribing in which nothing is counted."""


def patience(channels: int) -> float:
    """Seconds that connecting may take; plain caproto needs one for a thousand channels."""
    return 5.0 + channels / 500


def cpu(server: ServerProcess) -> float:
    """Seconds of CPU that a server's threads have taken."""
    taken = 0
    for path in Path(f"/proc/{server.pid}/task").glob("*/schedstat"):
        taken += int(path.read_text(encoding="ascii").split()[0])
    return taken / 1e9


@contextmanager
def serving(kind: str, load: Load) -> Iterator[ServerProcess]:
    """Run a server for a while."""
    server = start(kind, load)
    try:
        yield server
    finally:
        server.stop()


def counted(server: ServerProcess, client: ClientProcess, seconds: float) -> dict[str, Any]:
    """Count events and what they cost the server."""
    before = cpu(server)
    result = client.ask("count", seconds=seconds)
    spent = cpu(server) - before
    per_event = spent / max(result["events"], 1) * 1e6
    return {
        "us_per_event": per_event,
        "cpu_share": spent / result["seconds"],
        "events_per_s": result["events"] / result["seconds"],
        "delay": result["delay"],
    }
