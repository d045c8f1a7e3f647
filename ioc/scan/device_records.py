"""The records of one device, by signal: what becomes of a reading, and of what the driver knows without asking."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from devices.model import Cause, Driver, Level, Limits, Ranged, Reading
from ioc.records import Record, as_text
from ioc.scan.device_status import ALARM_STATUS

PRECISION_PERIOD = 5.0
"""Seconds after which a change of the decimals that a device shows is followed at the latest."""


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
        self.readable = [signal for signal in self._by_signal if not is_command(signal)]
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
