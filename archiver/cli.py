"""What the commands ``labioc archive`` and ``labioc history`` do, given plain settings."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from archiver.bridge import Bridge, StatusSink
from archiver.config import ArchiverConfig, PvSpec, ServerConfig
from archiver.history import HistoryError, Sample, histories, known_in, plot
from archiver.history.formats import as_lines, write_csv
from archiver.history.moments import local, moments, zone
from archiver.history.occurrences import event_lines, occurrences_in_influxdb, occurrences_in_log
from archiver.history.verify import verify
from archiver.influx.setup import SetupError, backfill, set_up
from archiver.log.files import LogInUse
from archiver.points.catalogue import Catalogue
from archiver.status import as_text, fetch_status
from labioc_pages.page import NotRunning

P = ParamSpec("P")

TERMINAL = "terminal"
"""What ``--plot`` is given to draw with characters."""

_SETTLED_NS = 10_000_000_000
"""What is younger is not verified: it may be on its way."""


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Which PVs are to be shown (names or wildcards), from when to when (``1h``, or a date), and as what."""

    pvs: tuple[str, ...]
    since: str = "1h"
    until: str = ""
    csv: Path | None = None
    plot: str = ""


def _reported(command: Callable[P, int]) -> Callable[P, int]:
    """Let a command print what goes wrong, and return 1, where it would raise it."""

    @wraps(command)
    def reporting(*args: P.args, **options: P.kwargs) -> int:
        try:
            return command(*args, **options)
        except (HistoryError, SetupError, LogInUse, NotRunning, plot.PlotError, ValueError) as error:
            print(f"labioc: {error}", file=sys.stderr)
            return 1

    return reporting


@_reported
def run_bridge(config: ArchiverConfig, pvs: Iterable[PvSpec], sink: StatusSink | None = None) -> int:
    """Run the bridge until SIGINT or SIGTERM; returns the exit status. Raises OSError when it cannot be started.

    ``sink`` gets the state of the bridge once a second.
    """
    asyncio.run(_run(config, list(pvs), sink))
    return 0


@_reported
def show_status(directory: Path) -> int:
    """Print how the bridge on a log is, and each of its PVs."""
    print(as_text(fetch_status(directory)))
    return 0


def set_up_servers(servers: Iterable[ServerConfig]) -> int:
    """Create what is missing on each server, and say what was done."""
    return max(map(_set_up, servers), default=0)


@_reported
def _set_up(server: ServerConfig) -> int:
    print("\n".join(set_up(server)))
    return 0


@_reported
def backfill_servers(servers: Iterable[ServerConfig], since: str, until: str) -> int:
    """Compute the windows of each server again, between two moments as ``parse_moment`` reads them."""
    begin, end = moments(since, until, time.time_ns())
    for server in servers:
        for done in backfill(server, begin, end):
            print(done, flush=True)
    return 0


@_reported
def verify_servers(directory: Path, servers: Iterable[ServerConfig], since: str, until: str) -> int:
    """Compare the log in a folder with each server, and print what differs."""
    status = 0
    begin, end = moments(since, until, time.time_ns() - _SETTLED_NS)
    for server in servers:
        result = verify(directory, server, begin, end)
        print(
            f"{server.name}: {result.compared} values of the log from {local(begin)[:19]} to {local(end)[:19]}"
            f" compared, {result.missing} missing, {result.differing} differing, {result.extra} extra points"
        )
        for example in result.examples:
            print(f"  {example}")
        status = status or int(bool(result.missing or result.differing))
    return status


@_reported
def show_events(directory: Path, server: ServerConfig | None, since: str, until: str) -> int:
    """Print the events of a site, from the log in a folder, or from a server when there is one."""
    begin, end = moments(since, until, time.time_ns())
    known_in(directory)
    found = occurrences_in_influxdb(server, begin, end) if server else occurrences_in_log(directory, begin, end)
    for line in event_lines(found):
        print(line)
    return 0


@_reported
def show_history(request: HistoryRequest, directory: Path, server: ServerConfig | None, known: Catalogue | None) -> int:
    """Print, export or draw the history of PVs, from the log in a folder, or from a server when there is one.

    ``known`` says what the PVs are; None: what the bridge has left beside its log.
    """
    since, until = moments(request.since, request.until, time.time_ns())
    catalogue = known or known_in(directory)
    found = histories(directory, server, catalogue, request.pvs, since, until)
    if request.csv is not None:
        with request.csv.open("w", encoding="utf-8", newline="") as file:
            count = write_csv(found, catalogue.pvs, file)
        print(f"{count} samples of {', '.join(found)} in {request.csv}", file=sys.stderr)
    listed = found
    if request.plot:  # texts have no axis, and are listed
        listed = {name: samples for name, samples in found.items() if any(isinstance(s.value, str) for s in samples)}
        _draw(request.plot, {name: found[name] for name in found if name not in listed}, catalogue, since, until)
    if request.csv is None and (listed or not request.plot):
        for line in as_lines(listed, catalogue.pvs, since):
            print(line)
        for name, samples in listed.items():
            if not samples:
                print(f"no events of {name} until {local(until)[:19]}", file=sys.stderr)
    return 0


def _draw(path: str, drawn: Mapping[str, list[Sample]], known: Catalogue, since: int, until: int) -> None:
    if path == TERMINAL:
        for name, samples in drawn.items():
            unit = f" [{known.pvs[name].unit}]" if known.pvs[name].unit else ""
            title = f"{name}{unit}   {local(since)[:16]} to {local(until)[:16]}, {zone(until)}"
            print(plot.terminal(title, plot.segments(samples, since, until)))
    elif drawn:
        plot.figure(Path(path), drawn, known.pvs, since, until)
        print(f"plot of {', '.join(drawn)} in {path}", file=sys.stderr)


async def _run(config: ArchiverConfig, pvs: list[PvSpec], sink: StatusSink | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    bridge = Bridge(config, pvs, sink=sink)
    try:
        await bridge.start()
        gc.collect()
        gc.freeze()  # what is there now lives as long as the bridge: walking over it each second would cost a fifth
        await stop.wait()
    finally:
        await bridge.stop()
