"""The pages of the bridge: ``/metrics`` for Prometheus, ``/status`` for ``labioc archive SITE status``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labioc_pages.page import JSON, METRICS, Answer, StatusPages, fetch

ADDRESS_FILE = "status-address"
"""In the folder of the log: where the pages of the running bridge are served."""


def status_pages(directory: Path, status: Callable[[], dict[str, Any]], metrics: Callable[[], str]) -> StatusPages:
    """Return the pages of the bridge that writes the log in a folder."""
    return StatusPages(
        {
            "/metrics": lambda: Answer(METRICS, metrics()),
            "/status": lambda: Answer(JSON, json.dumps(status())),
        },
        directory / ADDRESS_FILE,
    )


def fetch_status(directory: Path) -> dict[str, Any]:
    """Ask the bridge that writes the log in a folder. Raises NotRunning, saying so, when none is running there."""
    _, body = fetch(directory / ADDRESS_FILE, "/status", f"bridge on {directory}")
    status: dict[str, Any] = json.loads(body)
    return status
