"""How labioc's costs grow with the number of records and of clients, and what a burst does to the event loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from bench.ca_client import ClientProcess
from bench.ca_measure import SETTLE, Figures, counted, cpu, patience, serving
from bench.ca_servers import Load, names

RECORDS = ((100, 0.1), (1_000, 0.1), (5_000, 1.0), (20_000, 1.0), (40_000, 1.0))
CLIENTS = (1, 2, 5, 10, 20, 50)
SHARED = 400
"""PVs that all the clients subscribe to, at 1 Hz; fifty clients in one process can just follow that."""

SEARCHES = 50_000
"""Names of others asked for in a second, as on the network of a large site."""


def with_fields(records: int) -> Figures:
    """Start and memory of plain caproto with ``record="ai"``, which is what has all the fields of a record."""
    begun = time.perf_counter()
    with serving("caproto ai", Load(total=records)) as server:
        return {"records": records, "start s": time.perf_counter() - begun, "RSS MB": server.rss / 1e6}


def growth(quick: bool) -> dict[str, Any]:
    """CPU per event by number of records, per delivery by number of clients, a burst, and searches for others."""
    seconds = 2.0 if quick else 4.0
    records = RECORDS[:3] if quick else RECORDS
    clients = CLIENTS[:3] if quick else CLIENTS
    return {
        "records": [[count, _by_records(count, period, seconds)] for count, period in records],
        "clients": _by_clients(clients, seconds),
        "burst": _burst(seconds),
        "quiet": _disturbed(seconds, 0),
        "searches": _disturbed(seconds, SEARCHES),
    }


def _by_records(count: int, period: float, seconds: float) -> float:
    """Microseconds per event, the idle server's own work taken off."""
    load = Load(total=count, published=count, period=period)
    with serving("labioc", load) as server, ClientProcess(server.address) as client:
        client.ask("connect", names=names(count), deadline=patience(count))
        client.ask("subscribe")
        time.sleep(SETTLE)
        result = counted(server, client, seconds)
    return float((result["cpu_share"] - _idle()) / result["events_per_s"] * 1e6)


def _idle() -> float:
    with serving("labioc", Load(total=100)) as server:
        time.sleep(0.5)
        before, begun = cpu(server), time.perf_counter()
        time.sleep(1.0)
        return (cpu(server) - before) / (time.perf_counter() - begun)


def _by_clients(numbers: tuple[int, ...], seconds: float) -> list[list[float]]:
    """Microseconds per delivered event of PVs at 1 Hz, the idle server's own work taken off."""
    course, idle = [], _idle()
    load = Load(total=SHARED, published=SHARED)
    with serving("labioc", load) as server, ClientProcess(server.address) as client:
        for number in range(1, numbers[-1] + 1):
            client.ask("connect", names=names(SHARED), deadline=patience(SHARED))
            client.ask("subscribe")
            if number in numbers:
                time.sleep(SETTLE)
                result = counted(server, client, 2 * seconds)
                course.append([number, (result["cpu_share"] - idle) / result["events_per_s"] * 1e6])
    return course


def _burst(seconds: float) -> Figures:
    """Pauses of the event loop when 50 devices answer at the same moment each second, 100 readings each."""
    load = Load(total=5_000, published=5_000, together=True, watch=True)
    with serving("labioc", load) as server, ClientProcess(server.address) as client:
        client.ask("connect", names=names(5_000), deadline=patience(5_000))
        client.ask("subscribe")
        time.sleep(SETTLE)
        server.ask("stats")
        result = counted(server, client, max(seconds, 3.0))
        stats: Figures = json.loads("".join(server.ask("stats")[1:]))
    return {**stats, "event p50 ms": result["delay"]["p50"], "event p99 ms": result["delay"]["p99"]}


def _disturbed(seconds: float, searches: int) -> Figures:
    """Scans and events of 5000 PVs at 1 Hz while a client asks for so many names of others in a second."""
    load = Load(total=5_000, published=5_000, watch=True)
    with (
        serving("labioc", load) as server,
        ClientProcess(server.address) as client,
        ClientProcess(server.address) as seeker,
    ):
        client.ask("connect", names=names(5_000), deadline=patience(5_000))
        client.ask("subscribe")
        time.sleep(SETTLE)
        server.ask("stats")
        answered: Callable[[], dict[str, Any]] = dict
        if searches:
            answered = seeker.start("search", known=names(1)[0], seconds=max(seconds, 3.0), rate=searches)
        result = counted(server, client, max(seconds, 3.0))
        stats: Figures = json.loads("".join(server.ask("stats")[1:]))
        return {**stats, **answered(), "event p50 ms": result["delay"]["p50"], "event p99 ms": result["delay"]["p99"]}
