"""The trip memory: what a high-voltage channel did in the minutes before a trip and the seconds after it.

Each time when readings of a device have been posted, what its records show is added to a ring for each channel. When
``TRIP:COUNT`` grows, the ring is copied: into ``BBOX:V``, ``BBOX:I`` and ``BBOX:T`` at once and once more when the
seconds after have passed, and to the disk. It only looks: nothing of this reaches a device, so it needs no switch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Final

from ioc.automation.trip_files import COLUMNS, Trip, TripFiles, folder_of, stem
from ioc.clock import Clock, Timer
from ioc.records import Record
from ioc.records.status import INVALID
from ioc.scan.scanner import DeviceScanner
from ioc.site.config import Site

BEFORE: Final = 180.0
"""Seconds before a trip that are kept."""

AFTER: Final = 10.0
"""Seconds after a trip that are kept."""

MOST_SAMPLES: Final = 1000
"""Samples that a ring holds at most, and the number of elements of the arrays."""

ROOM: Final = 2
"""How many times the samples of a regular scan a ring holds, for those of a device that announces changes."""

_NOTHING = (math.nan,) * MOST_SAMPLES
_SAMPLE = Struct(f"{len(COLUMNS)}d")


class Ring:
    """The last samples, ``room`` of them; each is a monotonic time in seconds and the values of COLUMNS."""

    __slots__ = ("_bytes", "_count", "_room")

    def __init__(self, room: int) -> None:
        self._room = room
        self._bytes = bytearray()
        self._count = 0

    def add(self, *values: float) -> None:
        """Add a sample in place of the oldest."""
        if self._count < self._room:
            self._bytes += _SAMPLE.pack(*values)
        else:
            _SAMPLE.pack_into(self._bytes, self._count % self._room * _SAMPLE.size, *values)
        self._count += 1

    def since(self, time: float) -> list[tuple[float, ...]]:
        """Return the samples from a time on, the oldest first."""
        found = list(_SAMPLE.iter_unpack(self._bytes))
        split = self._count % self._room if self._count > self._room else 0
        return [sample for sample in found[split:] + found[:split] if sample[0] >= time]


class Channel:
    """The memory of one channel.

    ``base`` is its name with the colon behind it, ``bits`` are those of its status, ``room`` is that of its ring.
    """

    def __init__(
        self,
        base: str,
        records: Mapping[str, Record],
        bits: Sequence[Record],
        clock: Clock,
        room: int,
        save: Callable[[Trip], None],
    ) -> None:
        self.base = base
        self._arrays = {name: records[f"{base}BBOX:{name}"] for name in "VIT"}
        self._columns = [records[base + name] for name in COLUMNS[1:]]
        self._stamped = self._columns[:3]  # those of the fast scan: a sample is taken when one of them is new
        self._counter, self._volts, self._current, self._state = (
            records[base + name] for name in ("TRIP:COUNT", "TRIP:V", "TRIP:I", "STATE")
        )
        self._bits = bits
        self._clock = clock
        self._save = save
        self._ring = Ring(room)
        self._stamps: list[tuple[int, int]] = []
        self._count = -1  # not read yet
        self._finish: tuple[Timer, Callable[[], None]] | None = None
        for array in self._arrays.values():
            array.post(_NOTHING, clock.time())

    def look(self) -> None:
        """Take a sample if there is a new one, and find out whether the channel has tripped."""
        stamps = [(record.seconds, record.nanoseconds) for record in self._stamped]
        if stamps == self._stamps:
            return
        self._stamps = stamps
        now, age = self._clock.monotonic(), self._clock.time() - self._columns[0].stamp
        self._ring.add(now - age, *map(_number, self._columns))
        count = self._counter.val
        if self._counter.udf or not isinstance(count, int):
            return
        before, self._count = self._count, count
        if 0 <= before < count:
            self._tripped(now - (self._clock.time() - self._counter.stamp))

    def show(self, trip: Trip) -> None:
        """Put a trip into the arrays."""
        samples = trip.samples
        for name, column in zip("VIT", ("VMON", "IMON", "T"), strict=True):
            values = [math.nan if value is None else value for value in samples[column][-MOST_SAMPLES:]] or [math.nan]
            self._arrays[name].post((*values, *values[-1:] * (MOST_SAMPLES - len(values))), trip.time)

    def close(self) -> None:
        """Keep a trip whose seconds after have not passed, as far as it is known."""
        if self._finish is not None:
            timer, finish = self._finish
            timer.cancel()
            finish()

    def _tripped(self, moment: float) -> None:
        """Keep what is known of a trip at a monotonic time, and once more after AFTER."""
        self.close()
        stamp, count, state = self._counter.stamp, self._count, self._state.enum_strings()[int(str(self._state.val))]
        volts, current = (None if math.isnan(one) else one for one in map(_number, (self._volts, self._current)))
        bits = tuple(self._set_bits())

        def keep() -> None:
            samples = [
                (round(time - moment, 3), *(None if math.isnan(value) else value for value in values))
                for time, *values in self._ring.since(moment - BEFORE)
            ]
            columns: Mapping[str, tuple[float | None, ...]]
            columns = dict(zip(COLUMNS, zip(*samples, strict=True), strict=True))
            trip = Trip(self.base.rstrip(":"), stamp, count, volts, current, state, bits, columns)
            self.show(trip)
            self._save(trip)

        def finish() -> None:
            self._finish = None
            keep()

        keep()
        self._finish = self._clock.call_later(AFTER, finish), finish

    def _set_bits(self) -> Iterator[str]:
        for record in self._bits:
            if record.val and not record.udf:
                yield record.name.removeprefix(self.base)


def _number(record: Record) -> float:
    """Return the value of a record as a number, NaN where there is none that counts."""
    value = record.val
    return float(value) if isinstance(value, int | float) and record.sevr < INVALID else math.nan


class TripMemory:
    """The memory of all channels of a site that have the arrays; ``folder`` None keeps nothing over a restart."""

    def __init__(self, site: Site, records: Mapping[str, Record], clock: Clock, folder: Path | None) -> None:
        self._files = TripFiles(None if folder is None else folder_of(folder))
        self._channels: dict[str, tuple[str, Channel]] = {}
        devices = {settings.name: settings for settings in site.devices}
        bits: defaultdict[str, list[Record]] = defaultdict(list)
        for name, record in records.items():
            base, found, _ = name.partition("STAT:")
            if found and record.rtyp == "bi":
                bits[base].append(record)
        for name, record in records.items():
            channel, _, signal = (record.signal or "").partition(".")
            if signal == "BBOX.T" and record.device in devices:
                settings = devices[record.device]
                start = stem(site, settings, channel)
                room = min(MOST_SAMPLES, int(ROOM * (BEFORE + AFTER) / settings.period))
                base = name.removesuffix("BBOX:T")
                one = Channel(base, records, bits[base], clock, room, partial(self._files.save, start))
                self._channels[start] = record.device, one

    async def start(self, scanners: Mapping[str, DeviceScanner]) -> None:
        """Show the last trip of each channel that is on the disk, and look at all that is read from now on."""
        for start, trip in (await self._files.newest(self._channels)).items():
            self._channels[start][1].show(trip)
        for device, channel in self._channels.values():
            scanners[device].on_posted.append(channel.look)

    async def close(self) -> None:
        """Keep the trips whose seconds after have not passed; returns when everything is on the disk."""
        for _, channel in self._channels.values():
            channel.close()
        await self._files.close()
