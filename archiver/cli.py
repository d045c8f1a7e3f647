"""What the commands ``labioc archive`` and ``labioc history`` do, given plain settings."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from archiver.bridge import Bridge, StatusSink
from archiver.config import ArchiverConfig, PvSpec, ServerConfig
from archiver.history import HistoryError, Sample, histories, known_in, plot
from archiver.history.formats import as_lines, write_csv
from archiver.history.moments import local, moments, zone
from archiver.history.occurrences import event_lines, occurrences_in_influxdb, occurrences_in_log
from archiver.history.verify import verify
from archiver.influx.downsample import backfill
from archiver.influx.setup import SetupError, set_up
from archiver.log.files import LogInUse
from archiver.points.catalogue import Catalogue
from archiver.status import as_text, fetch_status
from labioc_pages.page import NotRunning

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


def run_bridge(config: ArchiverConfig, pvs: Iterable[PvSpec], sink: StatusSink | None = None) -> int:
    """Run the bridge until SIGINT or SIGTERM; returns the exit status. Raises OSError when it cannot be started.

    ``sink`` gets the state of the bridge once a second.
    """
    try:
        asyncio.run(_run(config, list(pvs), sink))
    except (LogInUse, ValueError) as error:
        return _failed(str(error))
    return 0


def show_status(directory: Path) -> int:
    """Print how the bridge on a log is, and each of its PVs."""
    try:
        print(as_text(fetch_status(directory)))
    except NotRunning as error:
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


def backfill_servers(servers: Iterable[ServerConfig], since: str, until: str) -> int:
    """Compute the windows of each server again, between two moments as ``parse_moment`` reads them."""
    try:
        begin, end = moments(since, until, time.time_ns())
        for server in servers:
            for done in backfill(server, begin, end):
                print(done, flush=True)
    except (SetupError, ValueError) as error:
        return _failed(str(error))
    return 0


def verify_servers(directory: Path, servers: Iterable[ServerConfig], since: str, until: str) -> int:
    """Compare the log in a folder with each server, and print what differs."""
    status = 0
    try:
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
    except (HistoryError, ValueError) as error:
        return _failed(str(error))
    return status


def show_events(directory: Path, server: ServerConfig | None, since: str, until: str) -> int:
    """Print the events of a site, from the log in a folder, or from a server when there is one."""
    try:
        begin, end = moments(since, until, time.time_ns())
        known_in(directory)
        if server is not None:
            found = occurrences_in_influxdb(server, begin, end)
        else:
            found = occurrences_in_log(directory, begin, end)
    except (HistoryError, ValueError) as error:
        return _failed(str(error))
    for line in event_lines(found):
        print(line)
    return 0


def show_history(request: HistoryRequest, directory: Path, server: ServerConfig | None, known: Catalogue | None) -> int:
    """Print, export or draw the history of PVs, from the log in a folder, or from a server when there is one.

    ``known`` says what the PVs are; None: what the bridge has left beside its log.
    """
    try:
        since, until = moments(request.since, request.until, time.time_ns())
        catalogue = known or known_in(directory)
        found = histories(directory, server, catalogue, request.pvs, since, until)
        _show(request, found, catalogue, since, until)
    except (HistoryError, plot.PlotError, ValueError) as error:
        return _failed(str(error))
    return 0


def _show(request: HistoryRequest, found: Mapping[str, list[Sample]], known: Catalogue, since: int, until: int) -> None:
    names = ", ".join(found)
    if request.csv is not None:
        with request.csv.open("w", encoding="utf-8", newline="") as file:
            count = write_csv(found, known.pvs, file)
        print(f"{count} samples of {names} in {request.csv}", file=sys.stderr)
    if request.plot:
        _draw(request.plot, found, known, since, until)
    if request.csv is None and (not request.plot or _texts(found)):
        shown = found if not request.plot else _texts(found)
        for line in as_lines(shown, known.pvs, since):
            print(line)
        for name, samples in shown.items():
            if not samples:
                print(f"no events of {name} until {local(until)[:19]}", file=sys.stderr)


def _draw(path: str, found: Mapping[str, list[Sample]], known: Catalogue, since: int, until: int) -> None:
    """Draw what can be drawn: texts have no axis, and are listed."""
    drawn = {name: samples for name, samples in found.items() if name not in _texts(found)}
    if not drawn:
        return
    if path == TERMINAL:
        for name, samples in drawn.items():
            unit = f" [{known.pvs[name].unit}]" if known.pvs[name].unit else ""
            title = f"{name}{unit}   {local(since)[:16]} to {local(until)[:16]}, {zone(until)}"
            print(plot.terminal(title, plot.segments(samples, since, until)))
    else:
        plot.figure(Path(path), drawn, known.pvs, since, until)
        print(f"plot of {', '.join(drawn)} in {path}", file=sys.stderr)


def _texts(found: Mapping[str, list[Sample]]) -> dict[str, list[Sample]]:
    """Return the histories that are texts."""
    return {
        name: samples for name, samples in found.items() if any(isinstance(sample.value, str) for sample in samples)
    }


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


def _failed(reason: str) -> int:
    print(f"labioc: {reason}", file=sys.stderr)
    return 1
