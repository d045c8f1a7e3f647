"""What the bridge says about itself: one snapshot a second, as JSON, as text for people and as Prometheus metrics.

Its pages are ``/metrics`` for Prometheus and ``/status`` for ``labioc archive SITE status``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from archiver.points.builder import Refused
from archiver.points.series import PvState
from labioc_pages.metrics import Metric, exposition, single
from labioc_pages.page import JSON, METRICS, Answer, StatusPages, fetch

ADDRESS_FILE = "status-address"
"""In the folder of the log: where the pages of the running bridge are served."""

Status = dict[str, Any]
"""A snapshot as JSON."""


class BridgeState(IntEnum):
    """``ARCH:STATE``: all is well; points wait in the log; points are being lost, or would be after a kill."""

    OK = 0
    SPOOLING = 1
    LOSING = 2


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server: its state in words, what it got (points) and what waits for it (``queued`` points, ``lag`` s).

    ``rate`` is how fast it takes them now, in points per second; ``conflicts`` says which fields it has with another
    type, ``refusal`` why it refused the last point that it did.
    """

    name: str
    url: str
    state: str
    reason: str
    since: float
    points: int
    refused: int
    requests: int
    failures: int
    queued: int
    lost: int
    lag: float
    rate: float = 0.0
    conflicts: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The bridge at one moment; times in Unix seconds, ``rate`` in events per second, ``lag`` in seconds.

    ``refusing``: points or events were refused within the last minute, or a server has fields of another type.
    ``cut_off``: no PV is connected although the search had time. ``message`` says what is wrong, empty when nothing is.
    """

    state: BridgeState
    time: float
    started: float
    pvs: int
    connected: int
    events: int
    points: int
    rate: float
    queue: int
    spool: int
    lost: int
    lag: float
    log_error: str = ""
    expired: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    servers: tuple[ServerStatus, ...] = ()
    refusing: bool = False
    cut_off: bool = False
    message: str = ""

    @property
    def refused_points(self) -> int:
        """Points that servers refused since the start, and events that did not become one."""
        return sum(server.refused for server in self.servers) + sum(missing(self.refused).values())

    @property
    def conflicts(self) -> int:
        """Fields that servers have with another type."""
        return sum(len(server.conflicts) for server in self.servers)

    def as_json(self, pvs: Iterable[PvState] = ()) -> Status:
        """Return what ``labioc archive SITE status`` gets."""
        return {**asdict(self), "state": self.state.name, "pv": [asdict(pv) for pv in pvs]}


def missing(refused: Mapping[str, int]) -> dict[str, int]:
    """Return by the reason how many of the events that were refused are missing; what is no number is kept INVALID."""
    return {reason: count for reason, count in refused.items() if count and reason != Refused.NOT_FINITE.value}


def status_pages(directory: Path, status: Callable[[], Status], metrics: Callable[[], str]) -> StatusPages:
    """Return the pages of the bridge that writes the log in a folder."""
    return StatusPages(
        {
            "/metrics": lambda: Answer(METRICS, metrics()),
            "/status": lambda: Answer(JSON, json.dumps(status())),
        },
        directory / ADDRESS_FILE,
    )


def fetch_status(directory: Path) -> Status:
    """Ask the bridge that writes the log in a folder. Raises NotRunning, saying so, when none is running there."""
    _, body = fetch(directory / ADDRESS_FILE, "/status", f"bridge on {directory}")
    status: Status = json.loads(body)
    return status


def prometheus(snapshot: Snapshot) -> str:
    """Write the metrics in the Prometheus text format."""
    refused = [({"reason": reason}, count) for reason, count in snapshot.refused.items()]
    bridge = [
        single("state", "gauge", "0 ok, 1 spooling, 2 losing", int(snapshot.state)),
        single("pvs", "gauge", "PVs subscribed to", snapshot.pvs),
        single("pvs_connected", "gauge", "PVs that are connected", snapshot.connected),
        single("events_total", "counter", "Events received", snapshot.events),
        single("points_total", "counter", "Points written to the log", snapshot.points),
        single("lost_points_total", "counter", "Points dropped because log or disk were full", snapshot.lost),
        single("expired_points_total", "counter", "Points that left the log after every server had them",
               snapshot.expired),
        single("log_bytes", "gauge", "Size of the log", snapshot.spool),
        single("log_writable", "gauge", "0 when the log cannot be written", int(not snapshot.log_error)),
        single("start_time_seconds", "gauge", "Unix time of the start", snapshot.started),
        Metric("refused_events_total", "counter", "Events that did not become a point", refused),
    ]  # fmt: skip
    servers: tuple[tuple[str, str, str, Callable[[ServerStatus], float]], ...] = (
        ("server_up", "gauge", "1 when the server takes points", lambda one: int(one.state == "ok")),
        ("server_points_total", "counter", "Points the server has stored", lambda one: one.points),
        ("server_refused_points_total", "counter", "Points it refused, now dead letters", lambda one: one.refused),
        ("server_requests_total", "counter", "Requests to the server", lambda one: one.requests),
        ("server_failures_total", "counter", "Requests that failed", lambda one: one.failures),
        ("server_queued_points", "gauge", "Points that wait for the server", lambda one: one.queued),
        ("server_lost_points_total", "counter", "Points dropped before the server had them", lambda one: one.lost),
        ("server_field_conflicts", "gauge", "Fields it has with another type", lambda one: len(one.conflicts)),
        ("server_lag_seconds", "gauge", "Age of the oldest point that waits", lambda one: one.lag),
    )
    of_servers = [
        Metric(name, kind, text, [({"server": one.name}, get(one)) for one in snapshot.servers])
        for name, kind, text, get in servers
    ]
    return exposition("labioc_archiver", [*bridge, *of_servers])


def as_text(status: Status) -> str:
    """Write for people what ``Snapshot.as_json`` made, read back."""
    lines = [
        f"State      {status['state']}"
        + (f" (the log cannot be written: {status['log_error']})" if status["log_error"] else ""),
        f"PVs        {status['connected']} of {status['pvs']} connected, {status['rate']:.1f} events/s",
        f"Points     {status['points']} since {_moment(status['started'])}, {status['lost']} lost,"
        f" {sum(status['refused'].values())} events refused",
        f"Log        {status['spool'] / 1e6:.1f} MB",
        *([f"Message    {status['message']}"] if status["message"] else []),
    ]
    lines += [f"Refused    {count} {reason}" for reason, count in sorted(status["refused"].items()) if count]
    for server in status["servers"]:
        lines.append(
            f"Server     {server['name']}: {server['state']}, {server['points']} points stored,"
            f" {server['refused']} refused, {server['lost']} lost"
        )
        if server["reason"]:
            lines.append(f"           since {_moment(server['since'])}: {server['reason']}")
        lines += [f"           {conflict}" for conflict in server["conflicts"]]
        if server["queued"]:
            lines.append(
                f"           {server['queued']} points wait, the oldest for {server['lag']:.0f} s{_left(server)}"
            )
    if status["pv"]:
        rows = [("PV", "connected", "last event", "events", "points", "refused"), *map(_row, status["pv"])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    return "\n".join(lines)


def _left(server: Status) -> str:
    return f", about {server['queued'] / server['rate']:.0f} s to go" if server["rate"] > 0 else ""


def _row(pv: Status) -> tuple[str, ...]:
    last = _moment(pv["last_ns"] / 1e9) if pv["last_ns"] else "-"
    return pv["pv"], "yes" if pv["connected"] else "NO", last, str(pv["events"]), str(pv["points"]), str(pv["refused"])


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
