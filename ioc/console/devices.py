"""Commands of the console about devices and channels: how they are, access past their PVs, and short forms of puts.

``set HV1.0 vset 500`` is a put to a PV, with all rules of puts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from devices.errors import DeviceError
from devices.model import RawAccess, RawRequest
from ioc.console.pvs import CommandError
from ioc.database.support import PERIODS
from ioc.records import Record, RecordSet
from ioc.scan.scanner import DeviceScanner

_CHANNEL = re.compile(r"CH0*(\d+)\.")


def overview(scanners: Iterable[DeviceScanner]) -> Iterator[str]:
    """Yield a line for each device: state, age of its last answer in seconds, errors, reconnections, its message."""
    yield f"{'device':<10}{'type':<16}{'state':<11}{'age/s':>8}{'errors':>8}{'reconn':>8}  message"
    for scanner in scanners:
        status, settings, stats = scanner.status, scanner.driver.settings, scanner.driver.stats
        line = f"{scanner.name:<10}{settings.type:<16}{_state(scanner):<11}{status.age:>8.1f}"
        yield f"{line}{stats.errors:>8}{status.reconnects + stats.reconnects:>8}  {status.message}".rstrip()


def details(scanner: DeviceScanner) -> Iterator[str]:
    """Yield what is known of one device, with the limits in force of its settings and whose they are."""
    yield from overview([scanner])
    driver, status = scanner.driver, scanner.status
    settings = driver.settings
    place = settings.address or " ".join(f"{key}={value}" for key, value in settings.options.items())
    flags = [flag for flag, on in (("read only", settings.readonly), ("simulated", settings.simulated)) if on]
    yield "  ".join((f"at {place}", f"period {settings.period:g} s", f"timeout {settings.timeout:g} s", *flags))
    yield f"puts refused: {status.refused}" + (f"; the last one: {status.refusal}" if status.refusal else "")
    limits = {
        signal: found
        for signal in driver.signals().values()
        if signal.settable and (found := driver.limits(signal.name)) is not None
    }
    yield "limits in force:" if limits else "limits in force: none known yet"
    for signal, found in limits.items():
        span = f"{found.low:.10g} to {found.high:.10g} {signal.unit}".rstrip()
        yield f"  {signal.name.replace('.', ':'):<16}{span:<26}{found.low_from}; {found.high_from}"


def _state(scanner: DeviceScanner) -> str:
    if scanner.status.disabled:
        return "disabled"
    return "connected" if scanner.status.connected else "LOST"


def raw_request(scanner: DeviceScanner, words: Sequence[str]) -> RawRequest:
    """Understand ``ITEM [INDEX] [= VALUE]``. Raises CommandError with what is expected."""
    driver = scanner.driver
    if not isinstance(driver, RawAccess):
        raise CommandError(f"{scanner.name} has nothing but its PVs")
    if not words:
        raise CommandError(f"expected raw {scanner.name} {driver.raw_usage}")
    place, value = _split(words)
    try:
        return driver.raw_request(place, value)
    except DeviceError as error:
        raise CommandError(str(error)) from error


def _split(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Divide the words at the first ``=``, wherever it stands; without one nothing is to be written."""
    place: list[str] = []
    for number, word in enumerate(words):
        before, equals, after = word.partition("=")
        place += [before] if before else []
        if equals:
            return place, " ".join(([after] if after else []) + list(words[number + 1 :]))
    return place, None


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

    def period(self, word: str, seconds: str) -> list[Put]:
        """Return the puts that scan the fast readings of a device at another rate. Raises CommandError."""
        scans = {f"{period:g}": scan for scan, period in PERIODS.items()}
        scan = scans.get(_plain(seconds))
        if scan is None:
            raise CommandError(f"{seconds} is no period; there are {', '.join(scans)} s")
        return [Put(f"{record.name}.SCAN", scan) for record in self._fast(word)]

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
