"""The servers under comparison, each as a process of its own that publishes the same PVs in the same way.

``TOTAL`` analog input records ``BENCH:00000`` ... with units, precision and alarm limits; the first ``PUBLISHED`` of
them count up by one every ``PERIOD`` seconds; ``BENCH:SET`` is a setting for puts. Every server stamps a value when it
has it, so a client can tell how long the way was.

Run as ``python -m bench.ca_servers KIND JSON``, the JSON being the fields of ``Load``. Prints ``ready PORT``, answers
the line ``stats`` with ``done JSON`` and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import selectors
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.softioc import ServerProcess, free_port

FIELDS = {"EGU": "V", "PREC": "3", "HIHI": "1e9", "HIGH": "1e8", "LOW": "-1e8", "LOLO": "-1e9"}
SEVERITIES = {"HHSV": "MAJOR", "HSV": "MINOR", "LSV": "MINOR", "LLSV": "MAJOR"}
PER_DEVICE = 100
SCANS = {0.1: ".1 second", 0.2: ".2 second", 1.0: "1 second", 5.0: "5 second"}
SETTING = "BENCH:SET"

_LOCAL = {
    "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
    "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
    "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    "EPICS_CA_ADDR_LIST": "127.0.0.1",
    "EPICS_CA_AUTO_ADDR_LIST": "NO",
}


@dataclass(frozen=True)
class Load:
    """What a server publishes.

    For labioc, ``together`` makes all devices answer at one moment instead of spreading them over the period;
    ``watch`` times the event loop, at some cost.
    """

    port: int = 0
    total: int = 100
    published: int = 0
    period: float = 1.0
    together: bool = False
    watch: bool = False


def names(count: int) -> list[str]:
    return [f"BENCH:{number:05d}" for number in range(count)]


def start(kind: str, load: Load, deadline: float = 180.0) -> ServerProcess:
    """Start a server; raises RuntimeError when it ends at once, as one does that is not installed."""
    port = free_port()
    settings = json.dumps({**load.__dict__, "port": port})
    environment = {**_LOCAL, "EPICS_CA_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    return ServerProcess(kind, [sys.executable, "-m", "bench.ca_servers", kind, settings], environment, deadline)


def _ready(load: Load) -> None:
    print("ready", load.port, flush=True)


def _serve_stats(stats: Callable[[], dict[str, float]]) -> None:
    """Answer on standard output until standard input ends."""
    for line in sys.stdin:
        if line.strip() == "stats":
            print("done", json.dumps(stats(), separators=(",", ":")), flush=True)


# ---- labioc: scan engine, records, put path and server, as `labioc run` joins them; only the driver is made up


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Watch:
    """Scan jitter of all devices, and how long each turn of the event loop kept clients waiting; ms.

    ``pauses`` are the computer's time from one look at the sockets to the next, ``held`` the CPU time in it, which
    other programs do not lengthen.
    """

    def __init__(self) -> None:
        self.jitter: list[float] = []
        self.pauses: list[float] = []
        self.held: list[float] = []

    def loop(self) -> asyncio.AbstractEventLoop:
        """Make an event loop that is watched."""
        watch = self

        class Watched(selectors.DefaultSelector):
            begun = busy = 0.0

            def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
                if self.begun:
                    watch.pauses.append((time.perf_counter() - self.begun) * 1e3)
                    watch.held.append((time.thread_time() - self.busy) * 1e3)
                ready = super().select(timeout)
                self.begun, self.busy = time.perf_counter(), time.thread_time()
                return ready

        return asyncio.SelectorEventLoop(Watched())

    def stats(self) -> dict[str, float]:
        jitter, pauses, held = self.jitter, self.pauses, self.held
        self.jitter, self.pauses, self.held = [], [], []
        return {
            "jitter_p99": _percentile(jitter, 0.99),
            "pause_p99": _percentile(pauses, 0.99),
            "pause_max": max(pauses, default=0.0),
            "held_max": max(held, default=0.0),
        }


def _labioc(load: Load) -> None:
    from devices.model import DeviceSettings, Kind, Limits, LinkStats, Reading, Signal, Value, Way  # noqa: PLC0415
    from ioc.clock import SystemClock  # noqa: PLC0415
    from ioc.database.dbfile import RecordDef, parse_text  # noqa: PLC0415
    from ioc.puts import PutPath  # noqa: PLC0415
    from ioc.records import RecordSet  # noqa: PLC0415
    from ioc.scan.scanner import DeviceScanner  # noqa: PLC0415
    from ioc.scan.schedule import Turns, phase  # noqa: PLC0415
    from ioc.server import Server  # noqa: PLC0415
    from ioc.services.statistics import IocStatistics  # noqa: PLC0415

    watch = _Watch()

    class MadeUp:
        """A device that answers at once."""

        def __init__(self, name: str, signals: list[str]) -> None:
            self.settings = DeviceSettings(name, "bench", period=load.period)
            self.stats = LinkStats()
            self._names = signals
            self._count = 0.0
            self._last = 0.0

        def signals(self) -> Mapping[str, Signal]:
            return {name: Signal(name, Kind.FLOAT) for name in self._names}

        async def connect(self) -> None:
            pass

        async def close(self) -> None:
            pass

        async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
            begun = time.perf_counter()
            if load.watch and self._count > 2:
                watch.jitter.append(abs(begun - self._last - load.period) * 1e3)
            self._last = begun
            self._count += 1.0
            now = time.time()
            return {name: Reading(self._count, now) for name in names}

        def way(self, name: str, value: Value) -> Way:
            return Way(self.settings.name)

        async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
            return {name: Reading(value, time.time())}

        def limits(self, name: str) -> Limits | None:
            return None

        def precision(self, name: str) -> int | None:
            return 3

    fields = "".join(f'field({name}, "{text}")' for name, text in (FIELDS | SEVERITIES).items())
    link = 'field(DTYP, "labioc") field(INP, "@$(D) $(N)") field(SCAN, "$(S)")'
    template = parse_text(f'record(ai, "BENCH:$(N)") {{ {link} {fields} info(archive, "monitor") }}', "bench")
    setting = parse_text(f'record(ao, "{SETTING}") {{ field(DTYP, "labioc") field(OUT, "@D000 SET") }}', "bench")

    def make() -> RecordSet:
        definitions: list[RecordDef] = setting.expand({})
        for number in range(load.total):
            scan = SCANS[load.period] if number < load.published else "Passive"
            macros = {"D": f"D{number // PER_DEVICE:03d}", "N": f"{number:05d}", "S": scan}
            definitions += template.expand(macros)
        return RecordSet.build(definitions)

    async def serve() -> None:
        records, clock = make(), SystemClock()
        turns = Turns(clock)
        devices: dict[str, list[str]] = {}
        for record in records.values():
            devices.setdefault(record.device or "", []).append(record.name)
        scanners = {}
        for number, (name, owned) in enumerate(devices.items()):
            driver = MadeUp(name, [one.partition(":")[2] for one in owned])
            begin = 0.0 if load.together else phase(number)
            scanners[name] = DeviceScanner(driver, [records[one] for one in owned], clock, turns, begin)
        puts = PutPath(scanners, IocStatistics([], clock, "bench"), clock)
        puts.attach(records[SETTING])
        server = Server(records, interfaces=["127.0.0.1"], port=load.port)
        await server.start()
        tasks = [asyncio.create_task(scanner.run()) for scanner in scanners.values()]
        gc.collect()
        gc.freeze()
        _ready(load)
        try:
            await asyncio.get_running_loop().run_in_executor(None, _serve_stats, watch.stats)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop()

    with asyncio.Runner(loop_factory=watch.loop if load.watch else None) as runner:
        runner.run(serve())


# ---- the others


def _softioc(load: Load) -> None:
    from epicscorelibs.ioc import start_ioc  # noqa: PLC0415

    fields = "".join(f'field({name}, "{text}")' for name, text in (FIELDS | SEVERITIES).items())
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "bench.db")
        lines = [f'record(ao, "{SETTING}") {{ }}']
        for number, name in enumerate(names(load.total)):
            scan = SCANS[load.period] if number < load.published else "Passive"
            counter = f'field(CALC, "VAL+1") field(SCAN, "{scan}")'
            lines.append(f'record(calc, "{name}") {{ {counter} {fields} }}')
        database.write_text("\n".join(lines), encoding="ascii")
        start_ioc(database=str(database))
    _ready(load)
    _serve_stats(dict)


def _every(period: float, publish: Callable[[], None]) -> None:
    """Publish on absolute deadlines in a thread; a round that takes too long is followed at once by the next one."""

    def run() -> None:
        due = time.monotonic()
        while True:
            publish()
            due = max(due + period, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0005))

    threading.Thread(target=run, daemon=True).start()


def _pythonsoftioc(load: Load) -> None:
    from softioc import asyncio_dispatcher, builder, softioc  # noqa: PLC0415

    builder.SetDeviceName("BENCH")
    records = [
        builder.aIn(name.partition(":")[2], initial_value=0.0, **FIELDS, **SEVERITIES) for name in names(load.total)
    ]
    builder.aOut("SET", initial_value=0.0, always_update=True)
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher(), enable_pva=False)
    value = 0.0

    def publish() -> None:
        nonlocal value
        value += 1.0
        for record in records[: load.published]:
            record.set(value)

    if load.published:
        _every(load.period, publish)
    _ready(load)
    _serve_stats(dict)
    os._exit(0)


def _pcaspy(load: Load) -> None:
    from pcaspy import Driver, SimpleServer  # noqa: PLC0415

    limits = {"hihi": 1e9, "high": 1e8, "low": -1e8, "lolo": -1e9}
    database: dict[str, dict[str, Any]] = {
        name.partition(":")[2]: {"prec": 3, "unit": "V", **limits} for name in names(load.total)
    }
    database["SET"] = {"prec": 3}
    server = SimpleServer()
    server.createPV("BENCH:", database)
    driver = Driver()
    reasons = [name.partition(":")[2] for name in names(load.published)]

    def watch_input() -> None:
        _serve_stats(dict)
        os._exit(0)

    threading.Thread(target=watch_input, daemon=True).start()
    _ready(load)
    due, value = time.monotonic(), 0.0
    while True:
        if reasons and time.monotonic() >= due:
            value += 1.0
            for reason in reasons:
                driver.setParam(reason, value)
            driver.updatePVs()
            due = max(due + load.period, time.monotonic())
        server.process(max(min(due - time.monotonic(), 0.01), 0.0005) if reasons else 0.01)


def _caproto(load: Load, record: str | None = None) -> None:
    from caproto.asyncio.server import start_server  # noqa: PLC0415
    from caproto.server import PVGroup, pvproperty  # noqa: PLC0415

    limits: dict[str, Any] = {
        "upper_alarm_limit": 1e9,
        "upper_warning_limit": 1e8,
        "lower_warning_limit": -1e8,
        "lower_alarm_limit": -1e9,
    }

    def prop(name: str) -> Any:
        extra: dict[str, Any] = {"record": record} if record else {}
        return pvproperty(name=name, value=0.0, units="V", precision=3, **limits, **extra)

    body = {f"pv{number}": prop(name) for number, name in enumerate(names(load.total))}
    body["setting"] = pvproperty(name=SETTING, value=0.0)
    group = type("Bench", (PVGroup,), body)(prefix="")
    published = [group.pvdb[name] for name in names(load.published)]

    async def publish() -> None:
        due, value = time.monotonic(), 0.0
        while True:
            value += 1.0
            for channel in published:
                await channel.write(value)
            due = max(due + load.period, time.monotonic())
            await asyncio.sleep(max(due - time.monotonic(), 0.001))

    async def startup(_: Any) -> None:
        _ready(load)
        loop = asyncio.get_running_loop()
        task = loop.create_task(publish())
        await loop.run_in_executor(None, _serve_stats, dict)
        task.cancel()
        os._exit(0)

    asyncio.run(start_server(group.pvdb, interfaces=["127.0.0.1"], log_pv_names=False, startup_hook=startup))


SERVERS: dict[str, Callable[[Load], None]] = {
    "labioc": _labioc,
    "caproto": _caproto,
    "caproto ai": lambda load: _caproto(load, "ai"),
    "pythonSoftIOC": _pythonsoftioc,
    "pcaspy": _pcaspy,
    "C softIoc": _softioc,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](Load(**json.loads(sys.argv[2])))
