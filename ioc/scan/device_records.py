"""The records of one device: those that show its signals, and what the server itself knows about it.

The signals of the server (COMM, COMM.AGE, DISABLE, PUT.MSG and so on) have no counterpart on the wire, stay valid while
the device is lost, and are posted once a second and whenever something happens, whatever their SCAN field says.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from devices.model import Cause, Driver, Level, Limits, Ranged, Reading, Value
from ioc.clock import Clock, local_time
from ioc.records import Record, alarm_status, as_text

log = logging.getLogger("labioc.puts")

ALARM_STATUS = {cause: alarm_status(cause.value) for cause in Cause}
"""Channel Access alarm status of each cause that a driver may give."""

PRECISION_PERIOD = 5.0
"""Seconds after which a change of the decimals that a device shows is followed at the latest."""

_AGE_MAJOR = 10.0
"""Seconds without an answer that are a MAJOR alarm, unless three polls take longer."""

_READ_BACK = ".RBV"


def is_command(signal: str) -> bool:
    """Return whether a signal is a one-shot: it rests at 0, is never read, and writing 1 acts."""
    return signal.endswith(".CMD")


class DeviceRecords:
    """Posts readings to the records of a device; ``readable`` are the signals that can be read, in their order.

    ``note_change`` gets a sentence when a setting has become another than was asked for: a program beside this one, or
    the front panel, has changed it.
    """

    def __init__(self, driver: Driver, records: Iterable[Record], note_change: Callable[[str], object]) -> None:
        self._driver = driver
        self._note_change = note_change
        self._changed: set[str] = set()
        by_signal: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_signal[record.signal or ""].append(record)
        self._by_signal = dict(by_signal)
        outputs = {signal: [one for one in mine if one.is_output] for signal, mine in self._by_signal.items()}
        self._outputs = {signal: mine for signal, mine in outputs.items() if mine}
        self.readable = dict.fromkeys(signal for signal in self._by_signal if not is_command(signal))
        self._limits: dict[str, Limits] = {}
        self._digits: dict[str, int] = {}
        self._ranges: dict[str, tuple[float, float]] = {}
        self._refreshed = -math.inf
        self.shown: dict[str, Callable[[Reading], Reading]] = {}

    def __iter__(self) -> Iterator[Record]:
        return (record for records in self._by_signal.values() for record in records)

    def __contains__(self, signal: object) -> bool:
        return signal in self._by_signal

    def post(self, name: str, reading: Reading) -> None:
        """Show a reading in every record of its signal."""
        if name in self.shown:
            reading = self.shown[name](reading)
        # nearly always the first; looking up an enum member is slow
        status = 0 if reading.cause is Cause.NONE else ALARM_STATUS[reading.cause]
        for record in self._by_signal.get(name, ()):
            record.post(reading.value, reading.time, reading.level, status)
        if name.endswith(_READ_BACK):
            self._compare(name, reading)

    def _compare(self, name: str, reading: Reading) -> None:
        """Report once that a read-back differs from its demand for as long as the driver makes it an alarm."""
        if reading.level is not Level.MINOR:
            self._changed.discard(name)
            return
        base = name.removesuffix(_READ_BACK)
        for demand in self._outputs.get(base, ())[:1]:
            if name not in self._changed and reading.value is not None and reading.value != demand.val:
                self._changed.add(name)
                found, asked = as_text(demand, reading.value), as_text(demand, demand.val)
                self._note_change(
                    f"{base.replace('.', ':')} is {found}, not {asked} as asked for: it was changed elsewhere"
                )

    def settle_commands(self, now: float) -> None:
        """Let commands rest at 0, since this Unix time: they do as soon as the device is there."""
        for name in self._by_signal:
            if is_command(name):
                self.post(name, Reading(0, now))

    def refresh(self, now: float, anew: bool) -> None:
        """Hand limits in force and precision to the records, where they have changed.

        Limits follow every poll and put; precision and display range, which hardly ever change, follow every few
        seconds by the monotonic time ``now``, or ``anew`` at once, since asking for those of a thousand signals takes
        as long as posting some of them.
        """
        for name, records in self._outputs.items():
            limits = self._driver.limits(name)
            if limits is not None and limits != self._limits.get(name):
                self._limits[name] = limits
                for record in records:
                    record.set_drive_limits(limits.low, limits.high)
        if anew or now - self._refreshed >= PRECISION_PERIOD:
            self._refreshed = now
            self._refresh_precision()
            if isinstance(self._driver, Ranged):
                self._refresh_ranges(self._driver)

    def _refresh_precision(self) -> None:
        for name, records in self._by_signal.items():
            digits = self._driver.precision(name)
            if digits is not None and digits != self._digits.get(name):
                self._digits[name] = digits
                for record in records:
                    record.set_precision(digits)

    def _refresh_ranges(self, driver: Ranged) -> None:
        for name in self.readable:
            shown = driver.display_range(name)
            if shown is not None and shown != self._ranges.get(name):
                self._ranges[name] = shown
                for record in self._by_signal[name]:
                    if not record.is_output:
                        record.set_display_range(*shown)


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
        self.scan_seconds = 0.0
        """Longest scan in the last second, in seconds."""
        self._driver_error = driver.stats.last_error
        self._explained = ""
        switches = [record for signal, record in self._records if signal == "DISABLE"]
        self.disabled = any(record.val for record in switches if not record.udf)  # the value that was kept
        """Whether the device must not be talked to."""
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

    def disable(self, off: bool) -> None:
        """Note that the device must not be talked to, or may be again."""
        self.disabled = off
        self._enabled_at = self._clock.monotonic()

    @property
    def losses(self) -> int:
        """How often the device was lost since the start."""
        return self.reconnects + self._driver.stats.reconnects

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
        self.refusal = f"{text} [{local_time(self._clock.time())}]"
        self.post("PUT.MSG")
        self.note_change(text)

    def note_change(self, text: str) -> None:
        """Show that a setting has changed when no put was under way."""
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
            self.scan_seconds = max(self._cycles)
            self._cycles.clear()
        self.post()

    def _values(self) -> dict[str, tuple[Value, Level, Cause]]:
        settings, stats = self._driver.settings, self._driver.stats
        fine = Level.OK, Cause.NONE
        slow_reply = stats.rtt > settings.timeout / 2
        slow_cycle = self.scan_seconds > settings.period
        return {
            "COMM": (int(self.connected), *((Level.MAJOR, Cause.STATE) if self._lost else fine)),
            "COMM.AGE": (self.age, *self._age_alarm()),
            "COMM.RTT": (stats.rtt * 1e3, *((Level.MINOR, Cause.HIGH) if slow_reply else fine)),
            "COMM.ERRORS": (stats.errors, *fine),
            "COMM.RECONN": (self.losses, *fine),
            "COMM.MSG": (self.message, *fine),
            "SCAN.TIME": (self.scan_seconds * 1e3, *((Level.MINOR, Cause.HIGH) if slow_cycle else fine)),
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
