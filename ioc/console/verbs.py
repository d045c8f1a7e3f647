"""Short commands for devices and channels, ``set HV1.0 vset 500``: each is a put to a PV, with all rules of puts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ioc.console.pvs import CommandError
from ioc.database.support import PERIODS
from ioc.records import Record, RecordSet
from ioc.scan.scanner import DeviceScanner

_CHANNEL = re.compile(r"CH0*(\d+)\.")


@dataclass(frozen=True, slots=True)
class Put:
    """A put to a PV, or one of its fields."""

    name: str
    value: str


class Places:
    """The devices and channels of a site as people call them: ``HV1`` and ``HV1.0``, in any case; or an alias."""

    def __init__(self, records: RecordSet, scanners: Mapping[str, DeviceScanner]) -> None:
        self._records = records
        self._scanners = scanners
        self._places: defaultdict[str, dict[str, Record]] = defaultdict(dict)
        for record in records.values():
            signal = record.signal or ""
            if record.device is not None and record.device in scanners:
                self._place(record.device, signal)[_short(signal)] = record

    def _place(self, device: str, signal: str) -> dict[str, Record]:
        match = _CHANNEL.match(signal)
        return self._places[f"{device}.{int(match[1])}" if match else device]

    def names(self, channels: bool = True) -> list[str]:
        """Return the names of devices, and of channels."""
        return [name for name in self._places if channels or name in self._scanners]

    def settings(self, place: str) -> list[str]:
        """Return the names of what can be set at a place. Raises CommandError."""
        return [name for name, record in self._signals(place).items() if record.is_output]

    def record(self, place: str, name: str) -> Record:
        """Return what can be set at a place by its name, in any case. Raises CommandError."""
        record = self._signals(place).get(name.upper())
        if record is None or not record.is_output:
            raise CommandError(f"{place} has no setting {name}; it has {', '.join(self.settings(place)) or 'none'}")
        return record

    def set(self, place: str, name: str, value: str) -> Put:
        """Return the put of ``set HV1.0 vset 500``. Raises CommandError."""
        return Put(self.record(place, name).name, value)

    def switches(self, words: Iterable[str]) -> list[str]:
        """Return the channels that words name; ``HV1.*`` are all of a supply, ``HV1.1?`` some. Raises CommandError."""
        found: list[str] = []
        for word in words:
            device, _, channel = word.partition(".")
            wanted = [word]
            if {"*", "?", "["} & set(channel):
                start = f"{device.upper()}."
                wanted = [name for name in self._places
                          if name.startswith(start) and fnmatchcase(name.removeprefix(start), channel)]  # fmt: skip
            if not wanted:
                raise CommandError(f"{device} has no channels {channel}")
            for place in wanted:
                if "ON" not in self._signals(place):
                    raise CommandError(f"{place} cannot be switched; expected a channel, {self._example()}")
            found += wanted
        return found

    def kill(self, place: str) -> list[Put]:
        """Return the puts that switch a channel off without a ramp, whatever its supply calls that.

        With a power-down mode that is set first; OFF comes last, and is to be put though the mode was refused.
        """
        signals = self._signals(place)
        if "PDWN" in signals:
            return [Put(signals["PDWN"].name, "KILL"), Put(signals["ON"].name, "OFF")]
        if "EMCY:CMD" in signals:
            return [Put(signals["EMCY:CMD"].name, "1")]
        raise CommandError(f"{place} cannot be switched off without its ramp; off {place} ramps it down")

    def disable(self, word: str, off: bool) -> Put:
        """Return the put that stops the scan of a device, and all that is sent to it, or starts it again."""
        return Put(self._places[self.device(word)]["DISABLE"].name, "1" if off else "0")

    def period(self, word: str, seconds: str | None) -> Iterator[Put]:
        """Yield the puts that scan the fast readings of a device at another rate. Raises CommandError."""
        choices = {f"{period:g}": scan for scan, period in PERIODS.items()}
        scan = choices.get(_plain(seconds)) if seconds is not None else None
        if seconds is not None and scan is None:
            raise CommandError(f"{seconds} is no period; there are {', '.join(choices)} s")
        for record in self._fast(word):
            yield Put(f"{record.name}.SCAN", scan or record.scan)

    def periods(self, word: str) -> list[str]:
        """Return the rates at which the fast readings of a device are scanned now. Raises CommandError."""
        return sorted({record.scan.removesuffix("econd") for record in self._fast(word)})

    def _fast(self, word: str) -> list[Record]:
        """Return the readings of a device that the database scans at its highest rate."""
        device = self.device(word)
        by_rate: defaultdict[float, list[Record]] = defaultdict(list)
        for place, signals in self._places.items():
            for record in signals.values() if place.partition(".")[0] == device else ():
                if (rate := PERIODS.get(record.defn.fields.get("SCAN", ""))) is not None:
                    by_rate[rate].append(record)
        if not by_rate:
            raise CommandError(f"{device} has no reading that is scanned")
        return by_rate[min(by_rate)]

    def device(self, word: str) -> str:
        """Return a device by its name in any case. Raises CommandError."""
        for name in self._scanners:
            if name.upper() == word.upper():
                return name
        raise CommandError(f"there is no device {word}; there are {', '.join(self._scanners) or 'none'}")

    def _signals(self, place: str) -> dict[str, Record]:
        for name, signals in self._places.items():
            if name.upper() == place.upper():
                return signals
        for alias, name in self._records.aliases.items():
            record = self._records[name]
            if alias == f"{place}:{_short(record.signal or '')}" and record.device in self._scanners:
                return self._place(record.device or "", record.signal or "")
        raise CommandError(f"there is no device or channel {place}; expected {self._example()}")

    def _example(self) -> str:
        channels = [name for name in self._places if name not in self._scanners]
        return f"{channels[0]} for example" if channels else f"one of {', '.join(self._scanners) or 'none'}"


def _short(signal: str) -> str:
    """Return what a signal is called at its place: the end of its PV name."""
    return _CHANNEL.sub("", signal).replace(".", ":")


def _plain(seconds: str) -> str:
    try:
        return f"{float(seconds):g}"
    except ValueError:
        return ""
