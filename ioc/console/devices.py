"""Commands of the console about devices: how they are, what limits hold, and access past their PVs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from devices.errors import DeviceError
from devices.model import RawAccess, RawRequest
from ioc.console.pvs import CommandError
from ioc.scan.scanner import DeviceScanner


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
