"""The server's own statistics: the pseudo device ``IOC``, after the usual IOC statistics records."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from devices.model import Cause, Level, Value
from ioc.clock import Clock, local_time
from ioc.records import PutRefused, Record
from ioc.scan.device_status import ALARM_STATUS
from ioc.version import release

LAG_MINOR, LAG_MAJOR = 250.0, 1000.0
"""Pauses of the event loop in ms above which LAG alarms."""

_PROBE = 0.05
"""Seconds between two looks at the event loop."""


class IocStatistics:
    """Statistics of this process, posted once a second, and the switch that stops all writes."""

    def __init__(
        self, records: Iterable[Record], clock: Clock, config_id: str, journal_fails: Callable[[], bool] = lambda: False
    ) -> None:
        self._records = [(record.signal or "", record) for record in records]
        self._clock = clock
        self._started = clock.monotonic()
        self._started_at = local_time(clock.time())
        self._config_id = config_id
        self._beats = 0
        self._lag = 0.0
        self._last_put = ""
        self._journal_fails = journal_fails
        self.armed = True
        self.armed_name = next((record.name for signal, record in self._records if signal == "ARMED"), "ARMED")

    async def run(self) -> None:
        """Post all statistics each second, on absolute deadlines, until cancelled."""
        self.post()
        while True:
            self._lag = await self._watch(self._started + self._beats + 1)
            self._beats = max(self._beats + 1, int(self._clock.monotonic() - self._started))
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
        if signal != "ARMED":
            raise PutRefused(f"{signal} can't be set")
        self.armed = bool(value)
        self.post("ARMED")

    def note_put(self, text: str) -> None:
        """Show the last accepted put."""
        self._last_put = text
        self.post("PUTS")

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
            return (self._lag, *_lag_alarm(self._lag))
        if signal == "ARMED":
            return (1, Level.OK, Cause.NONE) if self.armed else (0, Level.MINOR, Cause.STATE)
        if signal == "PUTS" and self._journal_fails():
            return self._last_put, Level.MINOR, Cause.WRITE
        values: dict[str, Callable[[], Value]] = {
            "HEARTBEAT": lambda: self._beats,
            "UPTIME": lambda: self._uptime(record),
            "STARTTOD": lambda: self._started_at,
            "HOSTNAME": socket.gethostname,
            "PROCESS_ID": os.getpid,
            "MEM_USED": memory_used,
            "VERSION": release,
            "CFG.ID": lambda: self._config_id,
            "PUTS": lambda: self._last_put,
        }
        return values[signal](), Level.OK, Cause.NONE

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


def memory_used() -> float:
    """Resident memory of this process in MB; 0 where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
