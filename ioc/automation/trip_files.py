"""Trips on the disk: a file for each, the newest of each channel are kept.

A file is there whole or not at all. Written by one thread, one file after the other, so that a hundred channels that
trip together delay nothing else; while the disk does not take them, trips are dropped, and the log says so.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Final

from devices.model import DeviceSettings
from devices.rules.state_file import in_thread, write_json
from ioc.site.config import Site

log = logging.getLogger("labioc.trips")

KEPT: Final = 20
"""Trips that are kept of each channel."""

MOST_WAITING: Final = 1000
"""Trips that wait for a disk that hangs, about 80 kB each; the oldest are dropped then."""

COLUMNS: Final = ("T", "VMON", "IMON", "STAT", "VSET:RBV", "ISET:RBV")
"""What each sample has: seconds from the trip, then the value of the PV of this name, None where it was INVALID."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One trip: ``pv`` is the channel, ``time`` Unix seconds, ``count`` the value of its ``TRIP:COUNT``.

    ``volts`` and ``current`` (uA) are TRIP:V and TRIP:I. ``state`` is the text of STATE, and ``bits`` the names of the
    status bits that were set, when the trip was seen.
    """

    pv: str
    time: float
    count: int
    volts: float | None
    current: float | None
    state: str
    bits: tuple[str, ...]
    samples: Mapping[str, tuple[float | None, ...]]


def folder_of(state_folder: Path) -> Path:
    """Return where the trips of a site are, in the folder for what must survive a restart."""
    return state_folder / "trips"


def stem(site: Site, device: DeviceSettings, channel: str) -> str:
    """Return how the files of a channel (``CH00``) begin; a simulated device has its own."""
    name = f"{device.name}-simulated" if device.simulated else device.name
    return f"{site.prefix.replace(':', '.')}.{name}.{channel}"


def stored(folder: Path, start: str) -> list[Path]:
    """Return the files of a channel, the oldest first."""
    return sorted(folder.glob(f"{start}.*.json"))


def load(path: Path) -> Trip | None:
    """Read one file; None, and a line in the log, when it is none. Raises OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        samples = {name: tuple(map(_number, found["samples"][name])) for name in COLUMNS}
        if len({len(column) for column in samples.values()}) != 1 or not samples["T"]:
            raise ValueError("its columns are empty or have different lengths")
        datetime.fromtimestamp(found["time"], UTC)
        values = {name: _number(found[name]) for name in ("volts", "current")}
        return Trip(**{**found, **values, "bits": tuple(map(str, found["bits"])), "samples": samples})
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        log.warning("%s is no trip that can be read: %s", path, error)
        return None


def _number(value: object) -> float | None:
    """Return what a file may have as a number. Raises ValueError."""
    if value is not None and not isinstance(value, int | float):
        raise ValueError(f"found {value!r}, which is no number")
    return value


class TripFiles:
    """Keeps trips; ``folder`` None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._waiting: dict[Path, tuple[str, Trip]] = {}
        self._lock = Lock()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    async def newest(self, starts: Iterable[str]) -> dict[str, Trip]:
        """Return the last trip of each channel that has one, by the start of its files."""
        if self._folder is None:
            return {}
        return dict(await asyncio.to_thread(lambda folder: list(_newest(folder, starts)), self._folder))

    def save(self, start: str, trip: Trip) -> None:
        """Have a trip written soon; the same trip again replaces what was written of it."""
        if self._folder is None:
            return
        stamp = datetime.fromtimestamp(trip.time, UTC)
        path = self._folder / f"{start}.{stamp:%Y%m%dT%H%M%S.%fZ}.json"
        with self._lock:
            self._waiting[path] = start, trip
            if len(self._waiting) > MOST_WAITING:
                dropped = next(iter(self._waiting))
                del self._waiting[dropped]
                log.error("%s is dropped: %d trips wait for the disk", dropped, MOST_WAITING)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(self._folder), name="trips")

    async def close(self) -> None:
        """Wait until everything is written, or could not be.

        When that is cancelled since the disk is slow, the thread still writes all that waits: the process does not end
        before its threads do.
        """
        if self._task is not None:
            await self._task
        if self._folder is not None:
            await self._write(self._folder)

    async def _write(self, folder: Path) -> None:
        try:
            while self._waiting:
                await asyncio.shield(in_thread(self._keep_all, folder))
        except RuntimeError as error:  # no thread can be had: the next trip, or the end, tries again
            log.error("%d trips cannot be written: %s", len(self._waiting), error)

    def _keep_all(self, folder: Path) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                path = next(iter(self._waiting))
                start, trip = self._waiting.pop(path)
            try:
                _keep(folder, path, start, trip)
                self._failing = False
            except OSError as error:
                if not self._failing:
                    log.error("%s cannot be written: %s; trips are not kept", path, error.strerror or error)
                self._failing = True


def _keep(folder: Path, path: Path, start: str, trip: Trip) -> None:
    """Write a trip and remove those that are too many. Raises OSError."""
    write_json(path, asdict(trip))
    for old in stored(folder, start)[:-KEPT]:
        old.unlink(missing_ok=True)


def _newest(folder: Path, starts: Iterable[str]) -> Iterator[tuple[str, Trip]]:
    for start in starts:
        for path in reversed(stored(folder, start)):
            with suppress(OSError):
                if (trip := load(path)) is not None:
                    yield start, trip
                    break
