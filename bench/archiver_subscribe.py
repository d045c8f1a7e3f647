"""How many monitor events a second the archiver's front half takes, and what each costs in CPU time.

A C softIoc (of epicscorelibs) counts up in N records at ten a second each; every client subscribes to all of them
and checks that each value comes once. Beside ours alone, with points made, and with the durable log, the two ready
libraries take the same load, one after the other, each in a process of its own. CPU time is that of the client's whole
process, divided by the events it got; "missing" are the values it never saw.

Run: python -m bench.archiver_subscribe [RECORDS] [SECONDS] [CLIENT...]
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from archiver.config import PvSpec, Schema
from archiver.log.segments import SegmentLog
from archiver.points.builder import PointBuilder
from labioc_ca.client import Subscriber
from labioc_ca.events import Event, Kind
from tests.softioc import start_softioc

CLIENTS = ("ours", "ours+points", "ours+points+log", "pyepics", "caproto threading")
CONNECT_DEADLINE, STARTED = 30.0, 2.0
MEMORY_LIMIT = 3 << 30
"""Bytes of address space for a client: caproto's threads were seen to take 22 GB in a minute."""


def names(count: int) -> list[str]:
    return [f"BENCH:{number:05d}" for number in range(count)]


def database(count: int, folder: Path) -> Path:
    path = folder / "bench.db"
    record = (
        'record(calc, "{0}") {{ field(INPA, "{0}.VAL NPP NMS") field(CALC, "A+1") field(SCAN, ".1 second") '
        'field(MDEL, "-1") }}\n'
    )
    path.write_text("".join(record.format(name) for name in names(count)), encoding="ascii")
    return path


class Checker:
    """Counts events and the values between them that are missing."""

    def __init__(self) -> None:
        self.events = self.missing = 0
        self.last: dict[str, float] = {}

    def take(self, pv: str, value: float) -> None:
        self.events += 1
        last = self.last.get(pv)
        if last is not None and value != last + 1:
            self.missing += int(abs(value - last - 1))
        self.last[pv] = value


async def measure(checker: Checker, connected: Callable[[], int], count: int, seconds: float) -> None:
    """Wait for all connections, then for the time given, and print what it cost."""
    begun = time.perf_counter()
    while connected() < count and time.perf_counter() - begun < CONNECT_DEADLINE:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    connect = time.perf_counter() - begun
    await asyncio.sleep(STARTED)
    cpu, events, start = time.process_time(), checker.events, time.perf_counter()
    await asyncio.sleep(seconds)
    events, cpu, passed = checker.events - events, time.process_time() - cpu, time.perf_counter() - start
    print(
        json.dumps(
            {
                "connect_s": round(connect, 2),
                "events_per_s": round(events / passed),
                "cpu_us_per_event": round(cpu / max(events, 1) * 1e6, 2),
                "cpu_percent": round(cpu / passed * 100),
                "missing": checker.missing,
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        ),
        flush=True,
    )


async def ours(count: int, seconds: float, points: bool, log: bool) -> None:
    checker = Checker()
    specs = [PvSpec(name, "BENCH", "bench", "", name.partition(":")[2], "monitor", "calc") for name in names(count)]
    builder = PointBuilder(specs, Schema())
    with tempfile.TemporaryDirectory() as folder:
        durable = SegmentLog(Path(folder), max_bytes=500_000_000) if log else None
        task = asyncio.create_task(durable.run()) if durable else None

        def batch(events: list[Event]) -> None:
            take = checker.take
            for event in events:
                if event.kind == Kind.DOUBLE:
                    take(event.pv, event.value)  # type: ignore[arg-type]
            if points:
                lines, number = builder.build(events)
                if durable is not None:
                    durable.append(lines, number)

        subscriber = Subscriber([spec.name for spec in specs], batch)
        await subscriber.start()
        await measure(checker, lambda: subscriber.connected, count, seconds)
        await subscriber.stop()
        if task is not None and durable is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            durable.close()


async def pyepics(count: int, seconds: float) -> None:
    import epics  # noqa: PLC0415 -- loads the C library

    checker = Checker()
    pvs = [
        epics.PV(name, auto_monitor=True, form="time", callback=lambda pvname, value, **_: checker.take(pvname, value))
        for name in names(count)
    ]
    await measure(checker, lambda: len(checker.last), count, seconds)
    del pvs


async def caproto_threading(count: int, seconds: float) -> None:
    from caproto.threading.client import Context  # noqa: PLC0415 -- only here

    checker = Checker()
    context = Context()
    pvs = context.get_pvs(*names(count))
    kept = []
    for pv in pvs:
        subscription = pv.subscribe(data_type="time")
        subscription.add_callback(callback := (lambda sub, response: checker.take(sub.pv.name, response.data[0])))
        kept.append(callback)
    await measure(checker, lambda: len(checker.last), count, seconds)


def client(name: str, count: int, seconds: float) -> None:
    """Be one client, in this process, and leave without ceremony: some libraries cannot end under load."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    if name == "pyepics":
        asyncio.run(pyepics(count, seconds))
    elif name == "caproto threading":
        asyncio.run(caproto_threading(count, seconds))
    else:
        asyncio.run(ours(count, seconds, "points" in name, "log" in name))
    os._exit(0)


def main(count: int, seconds: float, wanted: list[str]) -> None:
    print(f"{count} records at 10 Hz, {seconds:.0f} s, {os.cpu_count()} cores; Python {sys.version.split()[0]}")
    columns = ("connect_s", "events_per_s", "cpu_us_per_event", "cpu_percent", "missing", "rss_mb")
    print(f"{'client':>20}", *(f"{column:>17}" for column in columns))
    with tempfile.TemporaryDirectory() as folder:
        path = database(count, Path(folder))
        for name in wanted:
            server = start_softioc([(path, {})], deadline=60.0)
            environment = {"EPICS_CA_ADDR_LIST": server.address, "EPICS_CA_AUTO_ADDR_LIST": "NO"}
            command = [sys.executable, "-m", "bench.archiver_subscribe", "--client", name, str(count), str(seconds)]
            try:
                done = subprocess.run(
                    command,
                    env={**os.environ, **environment},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=CONNECT_DEADLINE + STARTED + 3 * seconds + 60,
                )
                figures = json.loads(done.stdout) if done.stdout else {}
                print(f"{name:>20}", *(f"{figures.get(column, '-'):>17}" for column in columns), flush=True)
                if not figures:
                    print(done.stderr[-2000:], file=sys.stderr)
            except subprocess.TimeoutExpired:
                print(f"{name:>20} did not end in time", flush=True)
            finally:
                server.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5000,
        float(sys.argv[2]) if len(sys.argv) > 2 else 10.0,
        sys.argv[3:] or list(CLIENTS),
    )
