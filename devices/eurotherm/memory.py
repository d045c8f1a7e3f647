"""What a Eurotherm driver remembers on disk: power interruptions, the last reading, writes to the instrument.

Also what it has to know for that of the computer that it runs on: since when, and whether its clock is right.

The last reading is written once a minute, and when a setting, a mode or the mains flag has changed, but never twice
within five seconds; a reading that is kept for the case of a common power failure is thus a minute old at most. Each
write is one small file (about 300 bytes, one block of the disk and its directory entry): some 1500 a day, which a
cheap memory card stands for decades. The history is written when something has happened, and at most once a minute
while the temperature is recovering.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from devices.errors import Refused
from devices.eurotherm.power_record import PowerRecord, Sample
from devices.eurotherm.power_report import moment, report
from devices.eurotherm.registers import BY_ADDRESS, ENDURANCE
from devices.model import Cause, DeviceSettings, Level, Reading
from devices.rules.state_file import StateFile, default_folder

log = logging.getLogger("labioc.eurotherm")

EVERY = 60.0  # seconds between two saved readings of a furnace where nothing happens
LEAST = 5.0  # seconds between two saved readings at least
SILENT_POLLS = 3  # periods without a reading that are silence
SHORTEST_SILENCE = 5.0  # seconds, however short the period is

WARN_AT = 50_000  # writes
HOUR = 3600.0
SHOWN = 3  # registers in the report

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_FROM_HOST = ("kvm", "hyperv", "xen")  # clock sources of virtual machines, whose clock the host sets
_TIME_ERROR = 5  # what adjtimex returns for a clock that is not synchronised (adjtimex(2))
_TIMEX_SIZE = 512  # bytes, more than struct timex of any architecture


class Computer:
    """``boot`` is another text after each start of the computer, empty where the system has none.

    A computer without a clock chip starts with the time at which it was switched off, or an older one, and is set some
    time later over the network.
    """

    def __init__(self) -> None:
        self.boot = ""
        self._set = False
        with suppress(OSError):
            self.boot = _BOOT_ID.read_text(encoding="ascii").strip()

    def uptime(self) -> float:
        """Return the seconds since the computer started, those of suspension included."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def clock_is_set(self) -> bool:
        """Whether the clock was set since the start: from a clock chip, by the host or over the network."""
        self._set = self._set or _clock_is_set()
        return self._set


def _clock_is_set() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    with suppress(OSError):
        if any(name in _CLOCK_SOURCE.read_text(encoding="ascii") for name in _FROM_HOST):
            return True
    for chip in Path("/sys/class/rtc").glob("rtc*/hctosys"):
        with suppress(OSError):
            if chip.read_text(encoding="ascii").strip() == "1":
                return True
    if _TIMESYNCD.exists():
        return True
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE)))
    except (OSError, AttributeError):
        return True  # nothing tells
    return 0 <= state < _TIME_ERROR


class FurnaceMemory:
    """Power record and write counters of one controller, kept in files named after the device.

    The folder is ``state_dir`` of the site file, or the user's folder for such things. A simulated device keeps
    nothing unless a folder is given.
    """

    def __init__(self, settings: DeviceSettings, computer: Computer | None = None) -> None:
        self._computer = computer or Computer()
        folder = settings.options.get("state_dir")
        where = Path(str(folder)) if folder else (None if settings.simulated else default_folder())
        self.wear = Wear(int(settings.options.get("writes_per_hour", 30)))
        self.power = PowerRecord(quiet=max(SILENT_POLLS * settings.period, SHORTEST_SILENCE))
        self._files = {
            part: StateFile(None if where is None else where / f"{settings.name}-{part}.json")
            for part in ("power", "sample", "writes")
        }
        self._name = settings.name
        self._loaded = False
        self._saved: Sample | None = None

    async def load(self) -> None:
        """Read the files, the first time it is called."""
        if self._loaded:
            return
        # The sample first: the last event may tell of a newer one.
        for part, take in (
            ("sample", self._take_sample), ("power", self.power.restore), ("writes", self.wear.restore)
        ):  # fmt: skip
            file = self._files[part]
            stored = await file.load()
            try:
                if stored:
                    take(stored)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                await file.put_aside(error)
        self._loaded = True

    def _take_sample(self, data: dict[str, Any]) -> None:
        self.power.last = self._saved = Sample.from_json(data)

    async def flush(self) -> None:
        """Write the last reading, and wait until all is on the disk."""
        if self.power.last is not None and self.power.last is not self._saved:
            self._save(self.power.last)
        for file in self._files.values():
            await file.flush()

    def observe(self, sample: Sample, now: float) -> None:
        """Take one reading; ``now`` is monotonic time in seconds."""
        computer, count = self._computer, self.power.count
        sample = replace(sample, boot=computer.boot, uptime=computer.uptime(), dated=computer.clock_is_set())
        self.power.observe(sample, now)
        if self.power.count != count:
            log.warning("%s: %s", self._name, self.message)
        if self.power.changed:
            self._save_power()
        if self._files["power"].busy:
            return  # a reading with the flag set must not be on the disk before the interruption that it ends
        age = None if self._saved is None else sample.time - self._saved.time
        due = age is None or not 0 <= age < EVERY
        if due or (self._saved is not None and sample.differs(self._saved) and (age or 0.0) >= LEAST):
            self._save(sample)

    @property
    def message(self) -> str:
        """The report on the last interruption or lost link."""
        event = self.power.shown
        return "" if event is None else report(event)

    def acknowledge(self) -> None:
        """Clear the latch of the power record."""
        self.power.acknowledge()
        self._save_power()

    def note_write(self, address: int, now: float) -> None:
        """Count a write to a non-volatile register; ``now`` is monotonic time in seconds."""
        self.wear.note(address, now)
        self._files["writes"].save(self.wear.as_json())

    def _save(self, sample: Sample) -> None:
        self._saved = sample
        self._files["sample"].save(asdict(sample))
        if self.power.moved:
            self._save_power()
        for part in ("power", "writes"):
            self._files[part].again()

    def _save_power(self) -> None:
        self.power.changed = self.power.moved = False
        self._files["power"].save(self.power.as_json())

    def readings(self, time: float, now: float) -> dict[str, Reading]:
        """Return the PWR and WRITES signals; ``time`` is Unix time, ``now`` monotonic."""
        event, latched = self.power.event, self.power.latched
        alarm = (Level.MAJOR, Cause.STATE) if latched else (Level.OK, Cause.NONE)
        before = None if event is None else event.before
        start = "" if event is None else (moment(before.time) if before is not None and before.dated else "unknown")
        temperatures = {
            "PWR.TBEFORE": None if before is None else before.temp,
            "PWR.TMIN": None if event is None else event.lowest,
            "PWR.TAFTER": None if event is None else event.after.temp,
        }
        duration = None if event is None else event.lasted
        return {
            "PWR.COUNT": Reading(self.power.count, time, *alarm),
            "PWR.START": Reading(start, time),
            "PWR.DUR": _unless_unknown(duration, time, event is None),
            "PWR.MSG": Reading(self.message, time),
            **{name: _unless_unknown(value, time, event is None) for name, value in temperatures.items()},
            **self.wear.readings(time, now),
        }


class Wear:
    """Writes to the non-volatile memory of an instrument: counted for ever, and not too many at a time.

    The memory survives about 100,000 changes of each parameter; beyond that the instrument stops working (handbook
    HA028651, 2000 Series Communications Handbook HA026230). ``per_hour`` is how often one register may be written
    within an hour.
    """

    def __init__(self, per_hour: int) -> None:
        self.counts: Counter[int] = Counter()
        self._per_hour = per_hour
        self._recent: defaultdict[int, deque[float]] = defaultdict(deque)
        self._stopped_at: float | None = None

    def check(self, address: int, what: str, now: float) -> None:
        """Raise Refused when this register has been written often enough for the present; ``now`` is monotonic."""
        recent = self._recent[address]
        while recent and recent[0] <= now - HOUR:
            recent.popleft()
        if len(recent) >= self._per_hour:
            self._stopped_at = now
            minutes = (recent[0] + HOUR - now) / 60
            raise Refused(
                f"{what}: written {len(recent)} times within an hour, which wears out the memory of the instrument; "
                f"possible again in {minutes:.0f} min (the remote setpoint RSP may be written at any rate)"
            )

    def note(self, address: int, now: float) -> None:
        """Count a write that is about to be sent."""
        self._recent[address].append(now)
        self.counts[address] += 1

    def readings(self, time: float, now: float) -> dict[str, Reading]:
        """Return the WRITES signals; ``time`` is Unix time."""
        total = sum(self.counts.values())
        most = max(self.counts.values(), default=0)
        limited = self._stopped_at is not None and now - self._stopped_at < HOUR
        alarm = (Level.MINOR, Cause.HIGH) if total > WARN_AT or limited else (Level.OK, Cause.NONE)
        text = ", ".join(f"{_name(address)} {count}" for address, count in self.counts.most_common(SHOWN))
        return {
            "WRITES": Reading(total, time, *alarm),
            "WRITES.MAX": Reading(most, time, *((Level.MAJOR, Cause.HIHI) if most > 0.9 * ENDURANCE else alarm)),
            "WRITES.MSG": Reading(text, time),
        }

    def as_json(self) -> dict[str, Any]:
        """Return what ``restore`` takes."""
        return {str(address): count for address, count in self.counts.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take the counts of former times. Raises ValueError or TypeError when they are none."""
        self.counts = Counter({int(address): int(count) for address, count in data.items()})


def _name(address: int) -> str:
    register = BY_ADDRESS.get(address)
    return f"register {address}" if register is None else f"{register.name} ({address})"


def _unless_unknown(value: float | None, now: float, never: bool) -> Reading:
    """Before the first interruption there is nothing to worry about; afterwards what is not known says so."""
    if value is not None or never:
        return Reading(value or 0.0, now)
    return Reading(None, now, Level.INVALID, Cause.READ)
