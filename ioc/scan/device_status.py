"""What the server itself knows about a device: the signals COMM, COMM.AGE, DISABLE, PUT.MSG and so on.

They have no counterpart on the wire, stay valid while the device is lost, and are posted once a second and
whenever something happens, whatever their SCAN field says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from devices.model import Cause, Driver, Level, Value
from ioc.clock import Clock, local_time
from ioc.records import Record, alarm_status

log = logging.getLogger("labioc.puts")

ALARM_STATUS = {cause: alarm_status(cause.value) for cause in Cause}
"""Channel Access alarm status of each cause that a driver may give."""

_AGE_MAJOR = 10.0
"""Seconds without an answer that are a MAJOR alarm, unless three polls take longer."""


class DeviceStatus:
    """State of the conversation with one device, and its records.

    Silence that was asked for is no alarm, and neither is that of a first attempt, after the start or after enabling,
    as long as it is under way: an alarm handler would keep it until it is acknowledged, for what was nothing.
    """

    def __init__(self, driver: Driver, records: Iterable[Record], clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._records = [(record.signal or "", record) for record in records]
        self._last_answer = clock.monotonic()
        self._cycles: list[float] = []
        self._cycle = 0.0
        self._driver_error = driver.stats.last_error
        self._explained = ""
        switches = [record for signal, record in self._records if signal == "DISABLE"]
        self._disabled = any(record.val for record in switches if not record.udf)  # the value that was kept
        self._enabled_at = self._last_answer
        self._failed = False
        self.connected = False
        self.message = ""
        self.late = 0
        self.reconnects = 0
        self.refused = 0
        self.refusal = ""

    @property
    def age(self) -> float:
        """Seconds since the last good answer, or since the start when there was none."""
        return self._clock.monotonic() - self._last_answer

    @property
    def disabled(self) -> bool:
        """Whether the device must not be talked to."""
        return self._disabled

    @disabled.setter
    def disabled(self, off: bool) -> None:
        self._disabled = off
        self._enabled_at = self._clock.monotonic()

    @property
    def losses(self) -> int:
        """How often the device was lost since the start."""
        return self.reconnects + self._driver.stats.reconnects

    @property
    def scan_seconds(self) -> float:
        """Longest scan in the last second, in seconds."""
        return self._cycle

    def answered(self) -> None:
        """Note that the device has just answered."""
        self._last_answer = self._clock.monotonic()

    def cycle(self, seconds: float) -> None:
        """Note how long a poll cycle took; SCAN.TIME shows the longest one since it was last posted."""
        self._cycles.append(seconds)

    def found(self) -> None:
        """Note that the device is there and has been read."""
        self.connected = True
        self._failed = False
        self._explained = ""
        if notice := self._driver.stats.notice:
            self._driver_error = self._driver.stats.last_error  # of before
            self.message = f"{local_time(self._clock.time())} {notice}"

    def explain(self, text: str) -> None:
        """Put a text into COMM.MSG with the time at which it was first true since the device was there.

        It explains why nothing comes from the device; one that is not disabled has failed then.
        """
        self._failed = not self.disabled
        if text == self._explained:
            return
        self._explained = text
        self.message = f"{local_time(self._clock.time())} {text}"

    def note_refusal(self, text: str) -> None:
        """Count a refused put and show why."""
        self.refused += 1
        self.refusal = text
        self.post("PUT.MSG", "PUT.REFUSED")

    def note_late(self, text: str) -> None:
        """Show that a write whose outcome was unknown has come true."""
        log.warning("%s: %s", self._driver.settings.name, text)
        now = local_time(self._clock.time())
        self.refusal, self.message = f"{text} [{now}]", f"{now} {text}"
        self.post("PUT.MSG", "COMM.MSG")

    def note_change(self, text: str) -> None:
        """Show that a setting has changed without a put."""
        log.warning("%s: %s", self._driver.settings.name, text)
        self.message = f"{local_time(self._clock.time())} {text}"
        self.post("COMM.MSG")

    def post(self, *signals: str) -> None:
        """Post these signals to their records; all of them when none is named."""
        now = self._clock.time()
        values = self._values()
        for signal, record in self._records:
            if not signals or signal in signals:
                value, level, cause = values[signal]
                record.post(value, now, level, ALARM_STATUS[cause])

    def report(self) -> None:
        """Post everything; called once a second."""
        stats = self._driver.stats
        while stats.late:
            self.note_late(stats.late.pop(0))
        if stats.last_error != self._driver_error:
            self._driver_error = stats.last_error
            if stats.last_error and stats.last_error not in self.message:
                self.explain(stats.last_error)
        if self._cycles:
            self._cycle = max(self._cycles)
            self._cycles.clear()
        self.post()

    def _values(self) -> dict[str, tuple[Value, Level, Cause]]:
        settings, stats = self._driver.settings, self._driver.stats
        fine = Level.OK, Cause.NONE
        slow_reply = stats.rtt > settings.timeout / 2
        slow_cycle = self._cycle > settings.period
        return {
            "COMM": (int(self.connected), *((Level.MAJOR, Cause.STATE) if self._lost else fine)),
            "COMM.AGE": (self.age, *self._age_alarm()),
            "COMM.RTT": (stats.rtt * 1e3, *((Level.MINOR, Cause.HIGH) if slow_reply else fine)),
            "COMM.ERRORS": (stats.errors, *fine),
            "COMM.RECONN": (self.losses, *fine),
            "COMM.MSG": (self.message, *fine),
            "SCAN.TIME": (self._cycle * 1e3, *((Level.MINOR, Cause.HIGH) if slow_cycle else fine)),
            "SCAN.LATE": (self.late, *fine),
            "DISABLE": (1, Level.MINOR, Cause.STATE) if self.disabled else (0, *fine),
            "SIM": (1, Level.MINOR, Cause.STATE) if settings.simulated else (0, *fine),
            "READONLY": (int(settings.readonly), *fine),
            "PUT.MSG": (self.refusal, *fine),
            "PUT.REFUSED": (self.refused, *fine),
        }

    @property
    def _lost(self) -> bool:
        return self._failed and not self.connected and not self.disabled

    def _age_alarm(self) -> tuple[Level, Cause]:
        """Three missed polls are MINOR, ten seconds MAJOR; silence that was asked for does not count."""
        silent = min(self.age, self._clock.monotonic() - self._enabled_at)
        polls = 3 * self._driver.settings.period
        if self.disabled or silent <= polls:
            return Level.OK, Cause.NONE
        return (Level.MAJOR, Cause.HIHI) if silent > _AGE_MAJOR else (Level.MINOR, Cause.HIGH)
