"""The server's own statistics: the pseudo device ``IOC``, after the usual IOC statistics records.

With them goes what this process takes of its computer: processor, memory, descriptors.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import psutil

from devices.model import Cause, Level, Value
from ioc.clock import Clock, local_time
from ioc.records import PutRefused, Record
from ioc.scan.device_records import ALARM_STATUS
from ioc.services.journal import Journal, LastPuts
from ioc.site.config import Site
from ioc.version import release

LAG_MINOR, LAG_MAJOR = 250.0, 1000.0
"""Pauses of the event loop in ms above which LAG alarms."""

FEW_DESCRIPTORS = 0.9
"""Share of the permitted descriptors above which FD_CNT alarms: without one no client and no device gets in."""

_PROBE = 0.05
"""Seconds between two looks at the event loop."""

_LOOK_EVERY = 10
"""Seconds over which loads are averaged."""

_ACCESS_LEVELS = (Level.OK, Level.MINOR, Level.MINOR, Level.MAJOR)
"""Severity of each state of ACCESS: Running, Maintenance, Test, OFFLINE."""

_SWITCHES = frozenset({"ARMED", "ACCESS"})


NOT_GIVEN = "<not available>"
"""What the usual IOC statistics show for a text that there is none of."""


def about(site: Site) -> dict[str, str]:
    """Return the texts of a site that do not change, by signal."""
    return {
        "CFG.ID": site.identity,
        "ENGINEER": site.engineer or NOT_GIVEN,
        "LOCATION": site.location or NOT_GIVEN,
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """Loads in % of all processors of the computer, memory in MB, descriptors as counts."""

    computer_load: float
    own_load: float
    memory: float
    descriptors: int
    most_descriptors: int


class ProcessMeter:
    """Looks at this process; a load is the mean since the last look, 0 at the first one."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._processors = psutil.cpu_count() or 1
        psutil.cpu_percent()

    def look(self) -> Usage:
        """Return what is used now. A thousand descriptors take about a millisecond to count."""
        return Usage(
            computer_load=psutil.cpu_percent(),
            own_load=self._process.cpu_percent() / self._processors,
            memory=self._process.memory_info().rss / 1e6,
            descriptors=self._process.num_fds(),
            most_descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )


class IocStatistics:
    """Statistics of this process, posted once a second, and the switch that stops all writes.

    ``about`` has the texts that do not change: CFG.ID, ENGINEER, LOCATION. ``clients`` returns how many there are, and
    how many channels they have. ``note_put`` shows an accepted put in PUTS.
    """

    def __init__(
        self,
        records: Iterable[Record],
        clock: Clock,
        about: Mapping[str, str],
        journal: Journal | None = None,
        clients: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self._records = [(record.signal or "", record) for record in records]
        self._clock = clock
        self._started = clock.monotonic()
        self._started_at = local_time(clock.time())
        self._about = about
        self._beats = 0
        self.lag = 0.0
        """Longest pause of the event loop in ms, in the last second."""
        self._puts = LastPuts([one for signal, one in self._records if signal == "PUTS"], clock, journal)
        self.note_put = self._puts.add
        self._meter = ProcessMeter()
        self._usage = self._meter.look()
        kept = {signal: record for signal, record in self._records if signal in _SWITCHES and not record.udf}
        self._access = int(str(kept["ACCESS"].val)) if "ACCESS" in kept else 0
        self.armed = "ARMED" not in kept or bool(kept["ARMED"].val)
        switch = next((record for signal, record in self._records if signal == "ARMED"), None)
        self.armed_name = switch.name if switch is not None else "ARMED"
        self._values: dict[str, Callable[[], Value]] = {
            "HEARTBEAT": lambda: self._beats,
            "STARTTOD": lambda: self._started_at,
            "TOD": lambda: local_time(self._clock.time()),
            "HOSTNAME": socket.gethostname,
            "PROCESS_ID": os.getpid,
            "MEM_USED": lambda: self._usage.memory,
            "SYS_CPU_LOAD": lambda: self._usage.computer_load,
            "IOC_CPU_LOAD": lambda: self._usage.own_load,
            "FD_MAX": lambda: self._usage.most_descriptors,
            "CA_CLNT_CNT": lambda: clients()[0],
            "CA_CONN_CNT": lambda: clients()[1],
            "VERSION": release,
            "EPICS_VERS": protocol_version,
        }

    @property
    def memory(self) -> float:
        """Resident memory of this process in MB."""
        return self._usage.memory

    async def run(self) -> None:
        """Post all statistics each second, on absolute deadlines, until cancelled."""
        self.post()
        while True:
            self.lag = await self._watch(self._started + self._beats + 1)
            before, self._beats = self._beats, max(self._beats + 1, int(self._clock.monotonic() - self._started))
            if before // _LOOK_EVERY != self._beats // _LOOK_EVERY:
                self._usage = self._meter.look()
            self.post()

    def post(self, *signals: str) -> None:
        """Post these signals; all of them when none is named."""
        now = self._clock.time()
        for signal, record in self._records:
            if not signals or signal in signals:
                value, level, cause = self._value(signal, record)
                record.post(value, now, level, ALARM_STATUS[cause])

    def put(self, signal: str, value: Value) -> None:
        """Take a put to the pseudo device. Raises PutRefused for a signal that can't be set."""
        if signal not in _SWITCHES:
            raise PutRefused(f"{signal} can't be set")
        if signal == "ARMED":
            self.armed = bool(value)
        elif isinstance(value, int):
            self._access = value
        self.post(signal)

    async def _watch(self, until: float) -> float:
        """Return the longest time in ms by which the event loop was late until that moment."""
        worst = 0.0
        while (left := until - self._clock.monotonic()) > 0:
            nap = min(_PROBE, left)
            begun = self._clock.monotonic()
            await self._clock.sleep(nap)
            worst = max(worst, self._clock.monotonic() - begun - nap)
        return worst * 1e3

    def _value(self, signal: str, record: Record) -> tuple[Value, Level, Cause]:
        if signal == "LAG":
            return (self.lag, *_lag_alarm(self.lag))
        if signal == "ARMED":
            return (1, Level.OK, Cause.NONE) if self.armed else (0, Level.MINOR, Cause.STATE)
        if signal == "PUTS":
            return self._puts.shown()
        if signal == "FD_CNT":
            few = self._usage.descriptors > FEW_DESCRIPTORS * self._usage.most_descriptors
            return (self._usage.descriptors, *((Level.MINOR, Cause.HIGH) if few else (Level.OK, Cause.NONE)))
        if signal == "ACCESS":
            level = _ACCESS_LEVELS[self._access]
            return self._access, level, Cause.STATE if level is not Level.OK else Cause.NONE
        if signal == "UPTIME":
            return self._uptime(record), Level.OK, Cause.NONE
        value = self._about[signal] if signal in self._about else self._values[signal]()
        return value, Level.OK, Cause.NONE

    def _uptime(self, record: Record) -> Value:
        """Seconds for a numeric record, ``3 days, 4:05:06`` for a text."""
        seconds = int(self._clock.monotonic() - self._started)
        if not record.rtyp.startswith(("string", "ls")):
            return seconds
        days, rest = divmod(seconds, 86400)
        return f"{days} days, {rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def _lag_alarm(lag: float) -> tuple[Level, Cause]:
    if lag > LAG_MAJOR:
        return Level.MAJOR, Cause.HIHI
    return (Level.MINOR, Cause.HIGH) if lag > LAG_MINOR else (Level.OK, Cause.NONE)


@cache
def protocol_version() -> str:
    """Return what speaks Channel Access here, where a C IOC has the release of EPICS base."""
    return f"labioc, caproto {version('caproto')}"
