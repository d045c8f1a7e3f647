"""What the commands ``labioc archive`` and ``labioc history`` do, given plain settings."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archiver.bridge import Bridge
from archiver.config import ArchiverConfig, PvSpec, ServerConfig
from archiver.history import plot
from archiver.history.samples import (
    HistoryError,
    Sample,
    as_lines,
    from_influxdb,
    from_log,
    iso,
    parse_moment,
    write_csv,
)
from archiver.influx.http import NoAnswer
from archiver.influx.setup import SetupError, set_up
from archiver.log.segments import LogInUse
from archiver.points.catalogue import Catalogue, load
from archiver.status.page import fetch_status
from archiver.status.snapshot import as_text

TERMINAL = "terminal"
"""What ``--plot`` is given to draw with characters."""


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """What is to be shown of a PV: from when to when (``1h``, or a date), and as what."""

    pv: str
    since: str = "1h"
    until: str = ""
    csv: Path | None = None
    plot: str = ""


def run_bridge(config: ArchiverConfig, pvs: Iterable[PvSpec]) -> int:
    """Run the bridge until SIGINT or SIGTERM; returns the exit status. Raises OSError when it cannot be started."""
    try:
        asyncio.run(_run(config, list(pvs)))
    except (LogInUse, ValueError) as error:
        return _failed(str(error))
    return 0


def show_status(directory: Path) -> int:
    """Print how the bridge on a log is, and each of its PVs."""
    try:
        print(as_text(fetch_status(directory)))
    except NoAnswer as error:
        return _failed(str(error))
    return 0


def set_up_servers(servers: Iterable[ServerConfig]) -> int:
    """Create what is missing on each server, and say what was done."""
    status = 0
    for server in servers:
        try:
            print("\n".join(set_up(server)))
        except SetupError as error:
            status = _failed(str(error))
    return status


def show_history(request: HistoryRequest, directory: Path, server: ServerConfig | None, known: Catalogue | None) -> int:
    """Print, export or draw the history of a PV, from the log in a folder, or from a server when there is one.

    ``known`` says what the PVs are; None: what the bridge has left beside its log.
    """
    try:
        now = time.time_ns()
        since = parse_moment(request.since, now)
        until = parse_moment(request.until, now) if request.until else now
        catalogue = known or _catalogue(directory)
        if server is not None:
            samples = from_influxdb(server, catalogue, request.pv, since, until)
        else:
            samples = from_log(directory, catalogue, request.pv, since, until)
    except (HistoryError, ValueError) as error:
        return _failed(str(error))
    _show(request, samples, since, until)
    return 0


def _show(request: HistoryRequest, samples: list[Sample], since: int, until: int) -> None:
    if request.csv is not None:
        with request.csv.open("w", encoding="utf-8", newline="") as file:
            write_csv(samples, file)
        print(f"{len(samples)} samples of {request.pv} in {request.csv}", file=sys.stderr)
    if request.plot:
        parts = plot.segments(samples, since, until)
        if request.plot == TERMINAL:
            print(plot.terminal(request.pv, parts))
        else:
            Path(request.plot).write_bytes(plot.png(f"{request.pv}   {iso(since)[:16]} - {iso(until)[:16]}", parts))
            print(f"plot of {request.pv} in {request.plot}", file=sys.stderr)
    if request.csv is None and not request.plot:
        for line in as_lines(samples):
            print(line)
        if not samples:
            print(f"no events of {request.pv} since {iso(since)}", file=sys.stderr)


def _catalogue(directory: Path) -> Catalogue:
    try:
        return load(directory)
    except FileNotFoundError:
        raise HistoryError(f"nothing has been archived in {directory}") from None


async def _run(config: ArchiverConfig, pvs: list[PvSpec]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    bridge = Bridge(config, pvs)
    try:
        await bridge.start()
        await stop.wait()
    finally:
        await bridge.stop()


def _failed(reason: str) -> int:
    print(f"labioc: {reason}", file=sys.stderr)
    return 1
